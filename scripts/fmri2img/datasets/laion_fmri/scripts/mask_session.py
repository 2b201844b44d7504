"""One session of betas inside the mask: the compressed 4-D NIfTI -> float32 (trials, voxels)."""

import numpy as np

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_file
from fmri2img.datasets.laion_fmri.betas import read_masked_session, read_session_trials
from fmri2img.datasets.laion_fmri.volumes import Regions


def mask_session(betas: str, trials: str, regions: Regions, mask: str, session: int, output: str) -> None:
    """Write the betas of a mask's voxels, (trials, voxels in C order over X, Y, Z). Raises UserError."""
    masked = read_masked_session(betas, regions.mask(mask), len(read_session_trials(trials, session)))
    with atomic_file(output) as temporary, open(temporary, "wb") as file:
        np.save(file, masked)
    missing = int(np.isnan(masked).any(axis=0).sum())
    print(f"session {session}: {masked.shape[0]} trials x {masked.shape[1]} voxels, {missing} of them with NaN")


def main(snakemake) -> None:
    given, params = snakemake.input, snakemake.params
    regions = Regions(given.regions, params.root)
    mask_session(given.betas, given.trials, regions, params.mask, int(snakemake.wildcards.session), snakemake.output[0])


if __name__ == "__main__":
    job.run(main)
