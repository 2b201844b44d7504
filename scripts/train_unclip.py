"""Train an unCLIP generator, which draws pictures from image tokens, and write its folder (unet/ and scheduler/).

    python scripts/train_unclip.py --config config/unclip_demo.yaml --output resources/demo_backbones/unclip
    torchrun --nproc-per-node 8 scripts/train_unclip.py --config config/unclip_sdxl.yaml --output models/unclip_sdxl

The demo's network finds `clip` and `vae` beside its own output folder, is measured on unseen scenes and gets a card. A
killed run goes on from its last checkpoint in the work folder when started again.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import torch

from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.backbones.registry import load_registry
from fmri2img.backbones.training import unclip
from fmri2img.backbones.training.bank import DEVELOPMENT_STREAM, FINAL_STREAM
from fmri2img.backbones.training.card import write_card
from fmri2img.backbones.training.fitting import processes
from fmri2img.backbones.training.pictures import open_pictures
from fmri2img.backbones.training.unet import INTERFACE
from fmri2img.errors import UserError

COMMAND = "python scripts/train_unclip.py --config config/unclip_demo.yaml --output resources/demo_backbones/unclip"
HEARD = "encoder_hidden_states: the encoder's {} tokens; all zeros stand for 'no condition' (guidance)"


def finish(options: argparse.Namespace, recipe: unclip.Recipe, pictures, fitted) -> None:
    """Write the folder; the demo's network is measured as well."""
    device, siblings = pictures.device, options.output.parent
    with atomic_directory(options.output) as folder:
        unclip.save(folder, fitted.module, recipe)
        (folder / "recipe.json").write_text(json.dumps(dataclasses.asdict(recipe), indent=1) + "\n")
        result = {"parameters": sum(p.numel() for p in fitted.module.parameters()), "seconds": fitted.seconds}
        if "drawn_scenes" in recipe.pictures:
            development, final = (
                unclip.measure(folder, siblings, stream, device) for stream in (DEVELOPMENT_STREAM, FINAL_STREAM)
            )
            result["notes"] = [HEARD.format(pictures.tokens), *INTERFACE]
            bank = recipe.pictures["drawn_scenes"]
            write_card(folder, "unclip", dataclasses.asdict(recipe), bank, result, final, COMMAND, device)
            print(f"unclip: on development scenes {development}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="recipe, config/unclip_*.yaml")
    parser.add_argument("--output", type=Path, required=True, help="folder to write; replaced when training is done")
    parser.add_argument("--work", type=Path, default=Path("results/demo_backbones"), help="bank and checkpoints")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    options = parser.parse_args(arguments)
    recipe, registry = unclip.Recipe.read(options.config), load_registry()
    torch.set_num_threads(options.threads)
    group = processes(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    with group.main_process_first():
        pictures = open_pictures(recipe.pictures, options.output.parent, options.work, group.device, registry)
    unet = unclip.first_weights(recipe, pictures.latent_shape, pictures.token_width, registry)
    if group.is_main_process:
        count = sum(p.numel() for p in unet.parameters()) / 1e6
        print(f"unclip: {len(pictures)} pictures, {count:.1f} million parameters, {group.device}", flush=True)
    fitted = unclip.train(recipe, pictures, unet, options.work / "unclip")
    if group.is_main_process:
        finish(options, recipe, pictures, fitted)
    group.end_training()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
