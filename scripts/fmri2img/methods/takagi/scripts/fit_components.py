"""Fit voxel-wise encoding models of one subject from each component of the diffusion model."""

from fmri2img import job
from fmri2img.artifacts.recording import Recording
from fmri2img.methods.takagi.components import Components
from fmri2img.methods.takagi.encoding import analyse, save
from fmri2img.methods.takagi.settings import EncodingSettings

SEED = 0  # of permutations and resamples


def main(snakemake) -> None:
    params = snakemake.params
    found = analyse(
        Recording.open(snakemake.input.recording),
        Components.open(snakemake.input.components),
        EncodingSettings.read(params.settings),
        params.resamples,
        SEED,
    )
    save(snakemake.output[0], *found)


if __name__ == "__main__":
    job.run(main)
