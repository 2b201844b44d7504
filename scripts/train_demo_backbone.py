"""Train one of the demo's frozen networks on drawn scenes, measure it on unseen ones, and write its folder.

The unCLIP generator has a script of its own, train_unclip.py.

    python scripts/train_demo_backbone.py vae --recipe config/demo_backbones.yaml --output resources/demo_backbones/vae

Networks that build on others (`vae` and `clip`) look for them beside their own output folder. A killed run goes on
from its last checkpoint in the work folder when started again.
"""

import argparse
import importlib
import sys
from functools import partial
from pathlib import Path

import torch
import yaml

from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.backbones.training.bank import DEVELOPMENT_STREAM, FINAL_STREAM, training_bank
from fmri2img.backbones.training.card import write_card
from fmri2img.backbones.training.fitting import Schedule, fit
from fmri2img.errors import UserError

NETWORKS = ("captioner", "clip", "text2img", "vae")
COMMAND = (
    "python scripts/train_demo_backbone.py {0} --recipe config/demo_backbones.yaml "
    "--output resources/demo_backbones/{0}"
)


def read_recipe(path: Path, name: str) -> tuple[dict, dict]:
    """The recipe file's section of network `name`, and its `bank` section."""
    if not path.is_file():
        raise UserError(f"{path}: no such recipe file; give the path of config/demo_backbones.yaml with --recipe")
    sections = yaml.safe_load(path.read_text())
    for key in (name, "bank"):
        if key not in sections:
            raise UserError(f"{path}: section '{key}' is missing; add it, or choose a network the file describes")
    return sections[name], sections["bank"] | {"context": sections["clip"]["text"]["context_length"]}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NETWORKS)
    parser.add_argument("--recipe", type=Path, required=True, help="YAML file of hyper-parameters")
    parser.add_argument("--output", type=Path, required=True, help="folder to write; replaced when training is done")
    parser.add_argument("--work", type=Path, default=Path("results/demo_backbones"), help="bank and checkpoints")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    options = parser.parse_args(arguments)
    recipe, bank_recipe = read_recipe(options.recipe, options.name)
    schedule = Schedule(**recipe["schedule"])
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bank = training_bank(options.work, **bank_recipe)
    print(f"{options.name}: {len(bank.images)} scenes, {device}, {options.threads} threads", flush=True)
    network = importlib.import_module(f"fmri2img.backbones.training.{options.name}")
    siblings = options.output.parent
    fit_recipe = partial(fit, recipe=recipe | {"bank": bank_recipe})
    with atomic_directory(options.output) as folder:
        result = network.train(
            recipe, bank, options.work / options.name, folder, device, fit_recipe, schedule, siblings=siblings
        )
        development, final = (
            network.measure(folder, siblings, stream, device) for stream in (DEVELOPMENT_STREAM, FINAL_STREAM)
        )
        command = COMMAND.format(options.name)
        write_card(folder, options.name, recipe, bank_recipe, result, final, command, device)
    print(f"{options.name}: on development scenes {development}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
