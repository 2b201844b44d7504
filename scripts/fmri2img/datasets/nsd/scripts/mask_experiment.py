"""Betas of NSD-Imagery or NSD-Synthetic inside the mask -> (volumes, voxels), int16 or float32."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_file
from fmri2img.datasets.nsd.betas import read_masked_session
from fmri2img.datasets.nsd.layout import IMAGERY
from fmri2img.datasets.nsd.transfer_trials import imagery_volumes, read_synthetic
from fmri2img.datasets.nsd.volumes import read_mask


def mask_experiment(
    experiment: str, betas: str, mask: str, design: str, output: str, labels: Sequence[int] = ()
) -> None:
    """Write the betas of a mask's voxels, as `mask_session` does for a session of NSD. design: the experiment's.

    Raises UserError when the file is damaged, or has another number of volumes than the experiment.
    """
    volumes = imagery_volumes() if experiment == IMAGERY else read_synthetic(design)
    masked = read_masked_session(betas, read_mask(mask, labels), len(volumes), Path(design).name)
    with atomic_file(output) as temporary, open(temporary, "wb") as file:
        np.save(file, masked)
    print(f"{experiment}: {masked.shape[0]} volumes x {masked.shape[1]} voxels")


def main(snakemake) -> None:
    given = snakemake.input
    mask_experiment(
        snakemake.wildcards.experiment,
        given.betas,
        given.mask,
        given.design,
        snakemake.output[0],
        snakemake.params.labels,
    )


if __name__ == "__main__":
    job.run(main)
