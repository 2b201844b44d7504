"""Restrict a recording to a bottleneck: the first few directions of its voxel space."""

import numpy as np

from fmri2img import job
from fmri2img.artifacts.recording import Recording
from fmri2img.linear.bottleneck import restrict
from fmri2img.weights import read_arrays


def main(snakemake) -> None:
    learned = read_arrays(snakemake.input.directions, ("directions", "centre"))
    dimensions = int(snakemake.wildcards.dimensions)
    directions = np.ascontiguousarray(learned["directions"][:, :dimensions])
    restrict(Recording.open(snakemake.input.recording), directions, learned["centre"], snakemake.output[0])


if __name__ == "__main__":
    job.run(main)
