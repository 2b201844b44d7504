"""Import a published MindEye2 checkpoint: weights and sizes, in the form that this project's MindEye2 reads.

    python scripts/import_mindeye2.py last.pth --subjects subj01 --output models/mindeye2_subj01

A model that was pretrained without subject 1 has the ridge layers of the seven others, in this order:
--subjects subj02 subj03 subj04 subj05 subj06 subj07 subj08
"""

import argparse
import hashlib
import sys
from pathlib import Path

from fmri2img.decoders.mindeye2.model import save_model
from fmri2img.decoders.mindeye2.released import import_checkpoint
from fmri2img.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="last.pth of the published training")
    parser.add_argument("--subjects", nargs="+", required=True, help="subject of each ridge layer, in order")
    parser.add_argument("--output", type=Path, required=True, help="directory to write")
    options = parser.parse_args(arguments)
    try:
        model = import_checkpoint(options.checkpoint, options.subjects)
        with open(options.checkpoint, "rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        save_model(options.output, model, {"origin": options.checkpoint.name, "origin_sha256": digest})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{options.output}: {parameters:,} parameters, {len(options.subjects)} subject(s), {model.config}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
