"""Download or link files of LAION-fMRI: rules laion_acquire, laion_acquire_betas and laion_acquire_regions.

It is called from `shell:` and not as `script:`, because Snakemake reruns a `script:` rule, and first deletes its
outputs, as soon as the script is newer than they are. By hand:

    PYTHONPATH=scripts python -m fmri2img.datasets.laion_fmri.scripts.acquire --root data/laion --source '{}' KEY
"""

import argparse
import json
import os
import sys

from fmri2img import job
from fmri2img.datasets.laion_fmri.acquisition import Source, acquire, acquire_regions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="folder of the dataset's tree")
    parser.add_argument(
        "--source", required=True, type=json.loads, help="laion_fmri.bucket of the configuration, as JSON"
    )
    parser.add_argument("--log", default=os.devnull)
    parser.add_argument("--regions", metavar="SUBJECT", help="all region masks of a subject, and their list")
    parser.add_argument("key", nargs="?", help="file below the root")
    arguments = parser.parse_args()
    terminal = sys.stderr
    job.start_download(arguments.log, "laion_acquire")
    source = Source.read(arguments.source, key="laion_fmri.bucket")
    if arguments.regions:
        acquire_regions(arguments.regions, arguments.root, source, terminal)
    else:
        acquire(arguments.key, arguments.root, source, terminal)


if __name__ == "__main__":
    main()
