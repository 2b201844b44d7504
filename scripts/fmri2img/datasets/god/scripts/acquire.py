"""Download one file of GOD to its folder: rule god_acquire. By hand:

    PYTHONPATH=scripts python -m fmri2img.datasets.god.scripts.acquire --root data/god Subject1.h5

It is called from `shell:`, because Snakemake would delete the file and run a `script:` rule again as soon as the script
is newer.
"""

import argparse
import os
import sys
from pathlib import Path

from fmri2img import job
from fmri2img.datasets.acquisition import acquire
from fmri2img.datasets.god import layout
from fmri2img.datasets.remote import WebObject


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, type=Path, help="folder of the dataset")
    parser.add_argument("--log", default=os.devnull)
    parser.add_argument("key", choices=sorted(layout.ADDRESSES), help="file below the root")
    arguments = parser.parse_args()
    job.start_download(arguments.log, "god_acquire")
    why = f"it is not in {arguments.root} (god.root), so it is requested from there (god.source: download)"
    acquire(WebObject(layout.ADDRESSES[arguments.key]), arguments.key, arguments.root, why, terminal=sys.stderr)


if __name__ == "__main__":
    main()
