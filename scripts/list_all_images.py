"""All images of a split as the test images of one subject, where a study has images alone."""

import numpy as np

from fmri2img.artifacts.splits import Split
from fmri2img.job import start
from fmri2img.submissions.record import TestImages

if __name__ == "__main__":
    start(snakemake)
    split = Split.open(snakemake.input.split)
    ids = np.array(split.test_ids, np.int64)
    TestImages(snakemake.wildcards.subject, split.name, split.sha256, ids).save(snakemake.output[0])
