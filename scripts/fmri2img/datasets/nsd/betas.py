"""One session of NSD betas, read inside a mask.

`betas_sessionNN.hdf5` was written by MATLAB: dataset `betas`, int16, percent signal change x 300. In h5py its axes are
(trials, Z, Y, X), and each chunk holds all trials of one voxel. Reading one trial therefore touches every chunk of the
file, while reading a plane of the mask's bounding box touches few voxels outside the mask.
"""

import csv
from pathlib import Path

import h5py
import numpy as np

from fmri2img.errors import UserError

AGAIN = "delete it and rerun, so that it is made or downloaded again"


def count_trials(responses: str | Path) -> dict[int, int]:
    """Number of trials of each session (1-based) that a subject's responses.tsv lists.

    Raises UserError when the file is missing or damaged, or has no SESSION column.
    """
    counts: dict[int, int] = {}
    try:
        with open(responses, newline="", encoding="utf-8") as handle:
            table = csv.reader(handle, delimiter="\t")
            header = next(table, [])
            if "SESSION" not in header:
                raise UserError(f"{responses}: no column SESSION; {AGAIN}")
            column = header.index("SESSION")
            for row in table:
                if row:  # blank lines are also ignored when the trials are read
                    session = int(float(row[column]))
                    counts[session] = counts.get(session, 0) + 1
    except FileNotFoundError:
        raise UserError(f"{responses}: no such file; rerun the step that downloads or simulates it") from None
    except (ValueError, IndexError, OverflowError, csv.Error) as error:
        raise UserError(f"{responses}: line {table.line_num}: no session number ({error}); {AGAIN}") from None
    return counts


def read_masked_session(path: str | Path, mask: np.ndarray, n_trials: int) -> np.ndarray:
    """Betas of one session inside a mask.

    path: betas_sessionNN.hdf5; mask: bool (X, Y, Z); n_trials: number of trials of this session in responses.tsv.
    Returns int16 (trials, voxels), percent signal change x 300, voxels in C order over (X, Y, Z). Memory: the result
    and one plane of the bounding box. Raises UserError when the file is truncated or its shape is not that of the mask.
    """
    try:
        with h5py.File(path, "r") as file:
            betas = _check(path, file, mask.shape, n_trials)
            x, y, z = np.nonzero(mask)
            masked = np.empty((n_trials, len(x)), np.int16)
            for plane in np.unique(z):
                voxels = np.flatnonzero(z == plane)
                x0, y0 = x[voxels].min(), y[voxels].min()
                block = betas[:, plane, y0 : y[voxels].max() + 1, x0 : x[voxels].max() + 1]
                masked[:, voxels] = block[:, y[voxels] - y0, x[voxels] - x0]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; rerun the step that downloads or simulates it") from None
    except (OSError, RuntimeError) as error:  # as h5py raises them
        raise UserError(f"{path}: not a complete HDF5 file ({error}); {AGAIN}") from None
    return masked


def _check(path: str | Path, file: h5py.File, mask_shape: tuple[int, ...], n_trials: int) -> h5py.Dataset:
    betas = file.get("betas")
    if not isinstance(betas, h5py.Dataset):
        raise UserError(f"{path}: no dataset 'betas' (found: {', '.join(file) or 'none'}); {AGAIN}")
    if betas.dtype != np.int16:
        raise UserError(f"{path}: betas are {betas.dtype}, expected int16 (percent signal change x 300); {AGAIN}")
    if betas.ndim != 4 or betas.shape[:0:-1] != mask_shape:
        raise UserError(
            f"{path}: betas of shape {betas.shape} (trials, Z, Y, X) do not match the mask {mask_shape} (X, Y, Z); "
            "take both from the same subject and the func1pt8mm folder"
        )
    if len(betas) != n_trials:
        raise UserError(f"{path}: {len(betas)} trials, but responses.tsv lists {n_trials} for this session; {AGAIN}")
    return betas


def open_masked_session(path: str | Path, shape: tuple[int, int]) -> np.ndarray:
    """A masked session as stored: read-only memory map int16 (trials, voxels).

    Raises UserError when the file is missing, is damaged or has another shape.
    """
    try:
        block = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; rerun the step that masks the session") from None
    except Exception as error:  # NumPy's parsers raise many types
        raise UserError(f"{path}: not a complete NumPy array ({error}); {AGAIN}") from None
    if block.shape != shape or block.dtype != np.int16:
        raise UserError(f"{path}: {block.shape} {block.dtype}, expected {shape} int16; {AGAIN}")
    return block
