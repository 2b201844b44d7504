"""Download one file of MOSAIC to its folder: rule mosaic_acquire. By hand:

    PYTHONPATH=scripts python -m fmri2img.datasets.mosaic.scripts.acquire --root data/mosaic \\
        stimulus_info/b5000_stiminfo.tsv

It is called from `shell:`, because Snakemake would delete the file and run a `script:` rule again as soon as the script
is newer.
"""

import argparse
import json
import os
import sys

from fmri2img import job
from fmri2img.datasets.mosaic.acquisition import acquire
from fmri2img.datasets.mosaic.settings import Bucket


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="folder of the dataset")
    parser.add_argument("--bucket", default={}, type=json.loads, help="mosaic.bucket of the configuration, as JSON")
    parser.add_argument("--accepted", default=[], type=json.loads, help="mosaic.terms_accepted, as JSON")
    parser.add_argument("--log", default=os.devnull)
    parser.add_argument("key", help="file below the root")
    arguments = parser.parse_args()
    job.start_download(arguments.log, "mosaic_acquire")
    bucket = Bucket.read(arguments.bucket, key="mosaic.bucket")
    acquire(arguments.key, arguments.root, bucket, arguments.accepted, sys.stderr)


if __name__ == "__main__":
    main()
