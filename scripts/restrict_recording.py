"""Restrict a recording to a bottleneck: the first few directions of its voxel space."""

import numpy as np
from safetensors.numpy import load_file

from fmri2img import job
from fmri2img.artifacts.recording import Recording
from fmri2img.linear.bottleneck import restrict


def main(snakemake) -> None:
    learned, dimensions = load_file(snakemake.input.directions), int(snakemake.wildcards.dimensions)
    directions = np.ascontiguousarray(learned["directions"][:, :dimensions])
    restrict(Recording.open(snakemake.input.recording), directions, learned["centre"], snakemake.output[0])


if __name__ == "__main__":
    job.run(main)
