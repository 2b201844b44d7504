"""Volumes of one NSD subject: the mask, regions of interest, noise ceilings, validity maps.

All are NIfTI files in the subject's own 1.8 mm functional grid, axes (X, Y, Z). Their affines only centre the grid and
hold no anatomy, so voxels are matched by index and nothing is resampled. Inside a mask, voxels are listed in C order
over (X, Y, Z): the order of every published NSD array.
"""

import zlib
from pathlib import Path

import nibabel
import numpy as np

from fmri2img.errors import UserError


def read_volume(path: str | Path, shape: tuple[int, int, int] | None = None) -> np.ndarray:
    """Voxel values of a NIfTI file, (X, Y, Z), in the dtype of the file.

    shape: the grid the volume must have. Raises UserError when the file is damaged or has another shape.
    """
    try:
        values = np.asanyarray(nibabel.load(path).dataobj)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; rerun the step that downloads or simulates it") from None
    except (OSError, EOFError, ValueError, zlib.error, nibabel.filebasedimages.ImageFileError) as error:
        raise UserError(f"{path}: not a complete NIfTI file ({error}); delete it and rerun") from None
    if values.ndim != 3 or (shape is not None and values.shape != shape):
        raise UserError(f"{path}: volume of shape {values.shape}, expected {shape or '(X, Y, Z)'}; delete it and rerun")
    return values


def read_labels(path: str | Path, shape: tuple[int, int, int] | None = None) -> np.ndarray:
    """Labels of a region file, int16 (X, Y, Z): -1 not cortex, 0 cortex outside the regions, 1.. the regions.

    Raises UserError as `read_volume`, or when a value is not a whole number.
    """
    values = read_volume(path, shape)
    labels = values.astype(np.int16)
    if (labels != values).any():
        raise UserError(f"{path}: holds values that are not labels (whole numbers); delete it and rerun")
    return labels


def read_mask(path: str | Path) -> np.ndarray:
    """Voxels of any region of a region file, bool (X, Y, Z). Raises UserError when there are none."""
    # The truth value of the raw labels would include -1, which is everything outside the cortex.
    mask = read_labels(path) > 0
    if not mask.any():
        raise UserError(f"{path}: no voxel has a label above 0; choose another betas.mask or download it again")
    return mask


def read_valid(paths: list[str | Path], mask: np.ndarray) -> np.ndarray:
    """Whether each voxel of `mask` had data in every run of every session given, bool (voxels,)."""
    valid = np.ones(int(mask.sum()), bool)
    for path in paths:
        valid &= read_volume(path, mask.shape)[mask] == 1
    return valid


def voxel_columns(
    mask: np.ndarray,
    ncsnr: str | Path,
    regions: dict[str, str | Path],
    labels: dict[str, dict[str, tuple[int, ...]]],
) -> dict[str, np.ndarray]:
    """Columns of the voxel table for `mask`, each (voxels,): x, y, z (0-based), ncsnr (float32), each region (bool).

    ncsnr: path; regions: name of a region file -> path; labels: name of a region file -> region -> its labels. Regions
    that extend beyond the mask are cut off there.
    """
    x, y, z = np.nonzero(mask)
    columns = {"x": x, "y": y, "z": z, "ncsnr": read_volume(ncsnr, mask.shape)[mask].astype(np.float32)}
    for name, path in regions.items():
        inside = read_labels(path, mask.shape)[mask]
        columns |= {region: np.isin(inside, codes) for region, codes in labels[name].items()}
    return columns
