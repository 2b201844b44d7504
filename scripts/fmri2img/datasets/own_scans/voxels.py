"""The mask and the regions of a subject, on the grid of its betas."""

from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.artifacts.arrays import read_array
from fmri2img.datasets.nifti import read_nifti
from fmri2img.datasets.own_scans import layout
from fmri2img.datasets.own_scans.settings import Settings
from fmri2img.errors import UserError

REMEDY = "correct or replace it"
ABSENT = "put it there, or correct own_scans.voxels"


def read_volume(path: Path) -> np.ndarray:
    """Values of a NIfTI or .npy file: (X, Y, Z), or (voxels,) of an .npy file. Raises UserError."""
    is_npy = path.name.lower().endswith(".npy")
    values = read_array(path, REMEDY, ABSENT) if is_npy else read_nifti(path, REMEDY, ABSENT)
    volume = values[..., 0] if values.ndim == 4 and values.shape[3] == 1 else values
    if volume.ndim not in (1, 3) or volume.dtype.kind not in "biuf":
        raise UserError(f"{path}: is {values.shape} {values.dtype}, expected numbers (X, Y, Z); save one volume")
    return volume


def read_inside(path: Path) -> np.ndarray:
    """Voxels that a mask or region includes, bool of its shape: those that are 1, or a whole number above 0.

    NaN counts as outside. Raises UserError when values are not labels (probabilities), or no voxel is inside.
    """
    values = np.nan_to_num(np.asarray(read_volume(path), np.float64), nan=0.0)
    if (values != np.round(values)).any():
        raise UserError(
            f"{path}: holds values that are not whole numbers; a map of probabilities needs a threshold first"
        )
    if not (values > 0).any():
        raise UserError(f"{path}: has no voxel inside (no value above 0); {REMEDY}")
    return values > 0


def read_mask(root: Path, subject: str, settings: Settings) -> np.ndarray | None:
    """The mask of a subject, bool; None where the study has none. Raises UserError."""
    if settings.voxels.mask is None:
        return None
    return read_inside(layout.one_file(root, settings.voxels.mask, subject))


def selected(mask: np.ndarray | None, grid: tuple[int, ...], source: str) -> np.ndarray | None:
    """The voxels to read of betas with this grid, bool of the grid; None for all. source: file of the mask, as messages
    name it. Raises UserError when mask and betas do not fit."""
    if mask is None or (len(grid) == 1 and mask.ndim == 3 and int(mask.sum()) == grid[0]):
        return None  # betas of the mask's voxels alone
    if mask.shape == grid:
        return mask
    if len(grid) == 1:
        what = f"{int(mask.sum())} voxels inside, but the betas have {grid[0]} voxels"
        raise UserError(f"{source}: has {what}; give the mask with which the voxels were chosen")
    raise UserError(
        f"{source}: has shape {mask.shape}, but the betas have the grid {grid}; resample it to the grid of the betas, "
        "without interpolation between labels"
    )


def places_of(mask: np.ndarray | None, grid: tuple[int, ...], order: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """Where the voxels that are read lie: int (voxels, axes), and the shape of the volume that these are indices of.

    Betas (voxels, trials) with a volume as mask list its voxels in `order` ("C" or "F"); without one, a place is the
    number of a voxel.
    """
    if mask is None or (mask.ndim == 1 and mask.shape != grid):
        return np.argwhere(np.ones(grid, bool)), grid
    if mask.ndim == 3 and len(grid) == 1 and order == "F":
        return np.argwhere(mask.T)[:, ::-1], mask.shape
    return np.argwhere(mask), mask.shape


def voxel_table(places: np.ndarray) -> pd.DataFrame:
    """x, y and z of voxels; the number along x where positions are not known."""
    full = np.zeros((len(places), 3), np.int64)
    full[:, : places.shape[1]] = places
    return pd.DataFrame(full, columns=["x", "y", "z"])


def region_column(path: Path, places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Whether each voxel is in a region, bool (voxels,).

    places, shape: of `places_of`; a region of betas (voxels, trials) may list these voxels in place of a volume. Raises
    UserError when the region has another shape, or none of its voxels is read.
    """
    inside = read_inside(path)
    if inside.shape == shape:
        column = inside[tuple(places.T)]
    elif inside.shape == (len(places),):
        column = inside
    else:
        raise UserError(
            f"{path}: has shape {inside.shape}, but mask and betas have {shape}; resample it to the grid of the betas, "
            "without interpolation between labels"
        )
    if not column.any():
        raise UserError(f"{path}: none of its {int(inside.sum())} voxels is in the mask; correct one of both")
    return column
