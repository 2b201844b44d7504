"""NIfTI files."""

import math
from pathlib import Path

import nibabel
import numpy as np

from fmri2img.archives import check_measure
from fmri2img.integrity import ABSENT
from fmri2img.reading import readable

NIFTI = "a complete NIfTI file"


def read_nifti(path: str | Path, remedy: str, absent: str = ABSENT) -> np.ndarray:
    """Values of a file, in its own dtype or scaled as its header says.

    remedy, absent: what to do about a file that is damaged, or missing. Raises UserError for either.
    """
    values = open_nifti(path, remedy, absent)
    with readable(path, NIFTI, remedy, absent):
        return np.asanyarray(values)


def read_affine(path: str | Path, remedy: str, absent: str = ABSENT) -> np.ndarray:
    """The map from indices of voxels to millimetres, float64 (4, 4). Raises UserError as `read_nifti`."""
    with readable(path, NIFTI, remedy, absent):
        return np.asarray(nibabel.load(path).affine, np.float64)


def open_nifti(path: str | Path, remedy: str, absent: str = ABSENT) -> nibabel.arrayproxy.ArrayProxy:
    """The values of a file, which stays open and is read when they are indexed.

    A compressed file is read once where they are indexed in its order. Raises UserError as `read_nifti`.
    """
    with readable(path, NIFTI, remedy, absent):
        values = nibabel.load(path, keep_file_open=True).dataobj
        check_measure(path, math.prod(values.shape) * values.dtype.itemsize)
        return values
