"""A subject's brain mask, and its map from the MNI152 template -> anatomy: brain.npy and mni.npy."""

from pathlib import Path

import numpy as np

from fmri2img import job
from fmri2img.artifacts.anatomy import NOWHERE, save_anatomy
from fmri2img.datasets import lockfile
from fmri2img.datasets.nifti import read_nifti
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.volumes import read_volume
from fmri2img.datasets.own_files import renew


def copy_anatomy(subject: str, brain: str, mask: str, mni: str | None, output: str | Path) -> None:
    """Write the anatomy. Raises UserError when a file is damaged, is not what was downloaded, or is of another subject:
    the volumes of the brain and of the region file `mask` have one shape.

    The brain is where the mask is above 0; NaN is outside of it.
    """
    files = {layout.func(subject, "brainmask.nii.gz"): brain} | ({layout.to_mni(subject): mni} if mni else {})
    lockfile.verify_downloaded(files)
    save_anatomy(output, read_volume(brain, read_volume(mask).shape) > 0, None if mni is None else _template_map(mni))


def _template_map(path: str) -> np.ndarray:
    """The map, in which NaN and infinities mean outside of the volume, as NSD's own value does."""
    values = read_nifti(path, renew(path))
    return np.where(np.isfinite(values), values, NOWHERE)


def main(snakemake) -> None:
    given = snakemake.input
    copy_anatomy(snakemake.wildcards.subject, given.brain, given.mask, given.get("mni"), snakemake.output[0])


if __name__ == "__main__":
    job.run(main)
