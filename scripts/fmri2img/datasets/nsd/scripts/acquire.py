"""Download or link one file of the dataset's tree: rules acquire, acquire_betas and acquire_annotations.

It is called from `shell:` and not as `script:`, because Snakemake reruns a `script:` rule, and first deletes its
outputs, as soon as the script is newer than they are. A new checkout would then download the whole dataset again. By
hand:

    PYTHONPATH=scripts python -m fmri2img.datasets.nsd.scripts.acquire --root data/nsd \\
        --source '{"terms_accepted": true}' KEY
"""

import argparse
import json
import os
import sys

from fmri2img import job
from fmri2img.datasets.nsd.acquisition import Source, acquire, acquire_annotations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="folder of the dataset's tree")
    parser.add_argument("--source", required=True, type=json.loads, help="nsd.bucket of the configuration, as JSON")
    parser.add_argument("--log", default=os.devnull)
    parser.add_argument("key", nargs="?", help="file below the root; if it is left out, COCO's annotation files")
    arguments = parser.parse_args()
    terminal = sys.stderr
    job.start_download(arguments.log, "acquire")
    source = Source.read(arguments.source, key="nsd.bucket")
    if arguments.key:
        acquire(arguments.key, arguments.root, source, terminal)
    else:
        acquire_annotations(arguments.root, source, terminal)


if __name__ == "__main__":
    main()
