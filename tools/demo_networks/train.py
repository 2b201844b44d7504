"""Train one of the demo's frozen networks, measure it on unseen scenes, and write its folder with a card.

    export PYTHONPATH=scripts:tools
    python -m demo_networks.train vae --recipe tools/demo_networks/recipes/demo.yaml \\
      --output resources/demo_backbones/vae

The paper's unCLIP generator is trained by the same command (recipes/unclip_sdxl.yaml) and is not measured here.
Networks that build on others (`clip`, `vae` and `unclip`) look for them next to their own output folder. A killed run
resumes from its last checkpoint in the work folder when started again; torchrun starts it on several GPUs.
"""

import argparse
import importlib
import sys
from pathlib import Path

import torch
import yaml

from demo_networks import unclip
from demo_networks.bank import DEVELOPMENT_STREAM, FINAL_STREAM
from demo_networks.card import write_card
from demo_networks.stages import working_device
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.errors import UserError
from fmri2img.training import distributed
from fmri2img.training.loop import Interrupted

NETWORKS = ("captioner", "clip", "joint2img", "text2img", "unclip", "vae", "vdvae")
COMMAND = "python -m demo_networks.train {name} --recipe tools/demo_networks/recipes/{recipe} --output {output}"


def read_recipe(path: Path, name: str) -> tuple[dict, dict | None]:
    """The recipe of network `name`, and the bank of drawn scenes that it is trained on, if it is."""
    if name == "unclip":
        recipe = unclip.read_recipe(path)
        return recipe, recipe["pictures"].get("drawn_scenes")
    if not path.is_file():
        raise UserError(f"{path}: no such recipe file; give the path of tools/demo_networks/recipes/demo.yaml")
    sections = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in (name, "bank"):
        if key not in sections:
            raise UserError(f"{path}: section '{key}' is missing; add it, or choose a network the file describes")
    recipe = dict(sections[name])
    bank = sections["bank"] | recipe.pop("bank", {})  # a network may have a smaller one of its own
    return recipe, bank | {"context": sections["clip"]["text"]["context_length"]}


def finish(options: argparse.Namespace, recipe: dict, bank: dict | None, seconds: float) -> None:
    """Write the folder; a network of the demo is measured as well."""
    network = importlib.import_module(f"demo_networks.{options.name}")
    siblings, device = options.output.parent, working_device()
    with atomic_directory(options.output) as folder:
        result = network.package(recipe, options.work, siblings, folder) | {"seconds": seconds}
        if bank is None:
            return
        development, final = (
            network.measure(folder, siblings, stream, device) for stream in (DEVELOPMENT_STREAM, FINAL_STREAM)
        )
        command = COMMAND.format(name=options.name, recipe=options.recipe.name, output=options.output)
        write_card(folder, options.name, recipe, bank, result, final, command, device)
    print(f"{options.name}: on development scenes {development}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NETWORKS)
    parser.add_argument("--recipe", type=Path, required=True, help="YAML file, tools/demo_networks/recipes/*.yaml")
    parser.add_argument("--output", type=Path, required=True, help="folder to write; replaced when training is done")
    parser.add_argument("--work", type=Path, default=Path("results/demo_backbones"), help="bank and checkpoints")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    options = parser.parse_args(arguments)
    recipe, bank = read_recipe(options.recipe, options.name)
    torch.set_num_threads(options.threads)
    network = importlib.import_module(f"demo_networks.{options.name}")
    seconds = network.train(recipe, bank, options.work, options.output.parent)
    if distributed.rank() == 0:
        finish(options, recipe, bank, seconds)
    distributed.leave_group()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
    except Interrupted as stop:
        print(stop, file=sys.stderr, flush=True)
        sys.exit(143)
