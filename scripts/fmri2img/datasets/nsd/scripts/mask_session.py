"""One session of betas inside the mask: betas_sessionNN.hdf5 or .nii.gz -> (trials, voxels), int16 or float32."""

from collections.abc import Sequence

import numpy as np

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_file
from fmri2img.datasets.nsd.betas import count_trials, read_masked_session
from fmri2img.datasets.nsd.volumes import read_mask
from fmri2img.errors import UserError


def mask_session(betas: str, mask: str, responses: str, session: int, output: str, labels: Sequence[int] = ()) -> None:
    """Write the betas of a mask's voxels, (trials, voxels in C order over X, Y, Z), see `read_masked_session`.

    mask: a region file; labels: those that are used, none for all. Raises UserError.
    """
    n_trials = count_trials(responses).get(session)
    if n_trials is None:
        raise UserError(
            f"{responses}: lists no trial of session {session}; replace it, or state how many sessions there are in "
            "nsd.sessions"
        )
    masked = read_masked_session(betas, read_mask(mask, labels), n_trials)
    with atomic_file(output) as temporary, open(temporary, "wb") as file:
        np.save(file, masked)
    print(f"session {session}: {masked.shape[0]} trials x {masked.shape[1]} voxels")


def main(snakemake) -> None:
    mask_session(
        snakemake.input.betas,
        snakemake.input.mask,
        snakemake.input.responses,
        int(snakemake.wildcards.session),
        snakemake.output[0],
        snakemake.params.labels,
    )


if __name__ == "__main__":
    job.run(main)
