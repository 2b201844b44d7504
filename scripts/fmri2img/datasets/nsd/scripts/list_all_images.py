"""List all images of a split as the test images of one subject, for studies that have only images."""

from dataclasses import replace

import numpy as np

from fmri2img import job
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.test_images import TestImages
from fmri2img.datasets.nsd.numberings import KID73, kid73


def main(snakemake) -> None:
    split = Split.open(snakemake.input.split)
    ids = np.array(split.test_ids, np.int64)
    found = TestImages.of(snakemake.wildcards.subject, split, ids, np.ones_like(ids))
    found = replace(found, numberings={KID73: kid73(ids)})
    found.save(snakemake.output[0])


if __name__ == "__main__":
    job.run(main)
