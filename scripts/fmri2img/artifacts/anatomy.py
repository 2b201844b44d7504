"""Anatomy: the positions of one subject's voxels, for maps.

brain.npy  bool (X, Y, Z): the brain mask in the grid of the recording's voxels
mni.npy    float (X', Y', Z', 3), optional: for every millimetre of the MNI152 template the position in that grid,
           counted from 1, or 9999 outside it; the first axis runs from right to left
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri2img.artifacts.arrays import read_array
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.errors import UserError
from fmri2img.integrity import again

NOWHERE = 9999  # position of what lies outside of the grid


@dataclass(frozen=True)
class Anatomy:
    """An opened anatomy; mni is None where there is no map to the template."""

    path: Path
    brain: np.ndarray
    mni: np.ndarray | None

    @classmethod
    def open(cls, path: str | Path) -> "Anatomy":
        """Open and validate. Raises UserError naming the file that is missing or has another shape or type."""
        path = Path(path)
        brain = read_array(path / "brain.npy")
        if brain.ndim != 3 or brain.dtype != bool:
            raise UserError(
                f"{path / 'brain.npy'}: {brain.shape} {brain.dtype} is not a bool volume (X, Y, Z); {again(path)}"
            )
        mni = read_array(path / "mni.npy") if (path / "mni.npy").is_file() else None
        if mni is not None and (mni.ndim != 4 or mni.shape[3] != 3):
            raise UserError(f"{path / 'mni.npy'}: {mni.shape} is not a map (X, Y, Z, 3); {again(path)}")
        return cls(path, brain, mni)


def save_anatomy(path: str | Path, brain: np.ndarray, mni: np.ndarray | None = None) -> None:
    """Write the directory `path` and check it by opening it. brain: bool (X, Y, Z); mni: (X', Y', Z', 3) or None."""
    with atomic_directory(path) as directory:
        np.save(directory / "brain.npy", brain)
        if mni is not None:
            np.save(directory / "mni.npy", mni)
        Anatomy.open(directory)
