"""Volumes of one NSD subject: the mask, regions of interest, noise ceilings, validity maps.

All are NIfTI files in the subject's own 1.8 mm functional grid, axes (X, Y, Z). Their affines only centre the grid and
hold no anatomy, so voxels are matched by index and nothing is resampled. Inside a mask, voxels are listed in C order
over (X, Y, Z): the order of every published NSD array.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.datasets.nifti import open_nifti, read_nifti
from fmri2img.datasets.own_files import renew
from fmri2img.errors import UserError

LISTED = 20  # labels that a message shows


OUTSIDE = -1  # label of voxels that are not cortex


def grid_of_volume(path: str | Path) -> tuple[int, ...]:
    """Voxels along X, Y and Z, by the header alone. Raises UserError when it is damaged."""
    return tuple(map(int, open_nifti(path, renew(path)).shape[:3]))


def read_volume(path: str | Path, shape: tuple[int, int, int] | None = None) -> np.ndarray:
    """Voxel values of a NIfTI file, (X, Y, Z), in the dtype of the file; it may be 4-D with one volume.

    shape: the grid the volume must have. Raises UserError when the file is damaged or has another shape.
    """
    values = read_nifti(path, renew(path))
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3 or (shape is not None and values.shape != shape):
        raise UserError(
            f"{path}: volume of shape {values.shape}, expected {shape or '(X, Y, Z)'}, the grid of the subject's "
            f"func1pt8mm folder; {renew(path)}"
        )
    return values


def read_labels(path: str | Path, shape: tuple[int, int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a region file, int16 (X, Y, Z): -1 not cortex, 0 cortex outside the regions, 1.. the regions.

    NaN, which some tools write outside of regions, is read as -1; bool (X, Y, Z) says where it was. Raises UserError as
    `read_volume`, or when another value is not a whole number (a probability, an infinity).
    """
    values = read_volume(path, shape).astype(np.float64)
    missing = np.isnan(values)
    values[missing] = OUTSIDE
    with np.errstate(invalid="ignore"):
        labels = values.astype(np.int16)
    if (labels != values).any():
        raise UserError(
            f"{path}: holds values that are not labels (whole numbers); a map of probabilities needs a threshold "
            f"first; {renew(path)}"
        )
    return labels, missing


def read_mask(path: str | Path, labels: Collection[int] = ()) -> np.ndarray:
    """Voxels of these regions of a region file, or of all of them: bool (X, Y, Z).

    labels: their labels; none mean all above 0. Raises UserError when there is no such voxel.
    """
    found, _ = read_labels(path)
    # The truth value of the raw labels would include -1, which is everything outside the cortex.
    mask = np.isin(found, list(labels)) if labels else found > 0
    if not mask.any():
        wanted = f"with label {', '.join(map(str, labels))}" if labels else "with a label above 0"
        held = ", ".join(map(str, np.unique(found[found > 0])[:LISTED])) or "none"
        raise UserError(
            f"{path}: has no voxel {wanted} (labels above 0: {held}); choose another nsd.betas.mask or nsd.betas.labels"
        )
    return mask


def read_valid(paths: list[str | Path], mask: np.ndarray) -> np.ndarray:
    """Whether each voxel of `mask` had data in every run of every session given, bool (voxels,).

    A map has 1 there; anything else, NaN included, means that data are missing.
    """
    valid = np.ones(int(mask.sum()), bool)
    for path in paths:
        valid &= read_volume(path, mask.shape)[mask] == 1
    return valid


def voxel_columns(
    mask: np.ndarray,
    ncsnr: str | Path,
    regions: dict[str, str | Path],
    labels: dict[str, dict[str, tuple[int, ...]]],
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The voxel table of `mask`: x, y, z (0-based), ncsnr (float32), each region (bool).

    ncsnr: path; regions: name of a region file -> path; labels: name of a region file -> region -> its labels. Regions
    that extend beyond the mask are cut off there. NaN and infinities are read as a ncsnr of 0 (no signal is known), and
    NaN as outside of the regions; the second value counts them: "ncsnr" or the name of a region file -> voxels.
    """
    x, y, z = np.nonzero(mask)
    ceiling = read_volume(ncsnr, mask.shape)[mask].astype(np.float32)
    known = np.isfinite(ceiling)
    if not known.any():
        raise UserError(f"{ncsnr}: NaN or infinite in every voxel of the mask; {renew(ncsnr)}")
    columns = {"x": x, "y": y, "z": z, "ncsnr": np.where(known, ceiling, 0)}
    not_finite = {"ncsnr": int((~known).sum())}
    for name, path in regions.items():
        whole, missing = read_labels(path, mask.shape)
        columns |= {region: np.isin(whole[mask], codes) for region, codes in labels[name].items()}
        not_finite[name] = int(missing[mask].sum())
    return pd.DataFrame(columns), {name: count for name, count in not_finite.items() if count}
