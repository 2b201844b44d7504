"""Measure trained networks of the demo on unseen scenes, without training them.

    export PYTHONPATH=scripts:tools
    python -m demo_networks.measure resources/demo_backbones/unclip
    python -m demo_networks.measure --development resources/demo_backbones/*

Without --development the figures are those of the final scenes and are written into the networks' cards; nothing may be
decided on them. With it, figures of the development scenes are printed and no file is changed. Networks that build on
others look for them next to their own folder.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path

import torch

from demo_networks.bank import DEVELOPMENT_STREAM, FINAL_STREAM
from demo_networks.card import rewrite_fidelity
from demo_networks.stages import working_device
from fmri2img.errors import UserError


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders with a card.json")
    parser.add_argument("--development", action="store_true", help="development scenes; print only")
    parser.add_argument("--note", action="append", help="replaces the card's notes; may be repeated")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    for folder in options.folders:
        if not (folder / "card.json").is_file():
            raise UserError(f"{folder / 'card.json'}: no such file; give the folder of a trained network")
        name = json.loads((folder / "card.json").read_text())["network"]
        network = importlib.import_module(f"demo_networks.{name}")
        stream = DEVELOPMENT_STREAM if options.development else FINAL_STREAM
        fidelity = network.measure(folder, folder.parent, stream, working_device())
        print(f"{name}: {json.dumps(fidelity)}", flush=True)
        if not options.development:
            rewrite_fidelity(folder, fidelity, options.note)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
