"""One session of NSD betas, read inside a mask.

`betas_sessionNN.hdf5` was written by MATLAB: dataset `betas`, int16, percent signal change x 300. In h5py its axes are
(trials, Z, Y, X), and each chunk holds all trials of one voxel. Reading one trial therefore touches every chunk of the
file, while reading a plane of the mask's bounding box touches few voxels outside the mask. `betas_sessionNN.nii.gz`
holds the same numbers with axes (X, Y, Z, trials).

Users' own betas (GLMsingle's, for example) may be floats, in percent signal change. NaN and infinities are kept here;
`datasets.normalise` says what becomes of them.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import h5py
import nibabel
import numpy as np

from fmri2img.archives import check_hdf5
from fmri2img.artifacts.arrays import read_array
from fmri2img.datasets.nifti import NIFTI, open_nifti
from fmri2img.datasets.nsd.volumes import grid_of_volume
from fmri2img.datasets.own_files import renew
from fmri2img.errors import UserError
from fmri2img.integrity import ABSENT
from fmri2img.reading import readable


def count_trials(responses: str | Path) -> dict[int, int]:
    """Number of trials of each session (1-based) that a subject's responses.tsv lists.

    Raises UserError when the file is missing or damaged, or has no SESSION column.
    """
    counts: dict[int, int] = {}
    try:
        with open(responses, newline="", encoding="utf-8-sig") as handle:
            table = csv.reader(handle, delimiter="\t")
            header = next(table, [])
            if "SESSION" not in header:
                raise UserError(f"{responses}: no column SESSION; {renew(responses)}")
            column = header.index("SESSION")
            for row in table:
                if row:  # blank lines are also ignored when the trials are read
                    session = int(float(row[column]))
                    counts[session] = counts.get(session, 0) + 1
    except FileNotFoundError:
        raise UserError(f"{responses}: no such file; {ABSENT}") from None
    except (ValueError, IndexError, OverflowError, csv.Error) as error:
        raise UserError(
            f"{responses}: line {table.line_num}: no session number ({error}); {renew(responses)}"
        ) from None
    return counts


def read_masked_session(
    path: str | Path, mask: np.ndarray, n_trials: int, listed_in: str = "responses.tsv"
) -> np.ndarray:
    """Betas of one session inside a mask.

    path: betas_sessionNN.hdf5 or .nii.gz; mask: bool (X, Y, Z); n_trials: number of trials of this session in the file
    `listed_in`. Returns (trials, voxels), voxels in C order over (X, Y, Z): int16 (percent signal change x 300) as
    NSD stores them, float32 (percent signal change) where the file has floats or a scale factor. Memory: the result and
    one plane or volume. Raises UserError when the file is truncated or its shape is not that of the mask.
    """
    reader = _read_nifti if str(path).endswith(".nii.gz") else _read_hdf5
    return reader(path, mask, n_trials, listed_in)


def grid_of_betas(path: str | Path) -> tuple[int, ...]:
    """Voxels along X, Y and Z of a session's betas, by the header alone. Raises UserError when it is damaged."""
    if str(path).endswith(".nii.gz"):
        return grid_of_volume(path)
    with readable(path, "a complete HDF5 file", renew(path), ABSENT), h5py.File(path, "r") as file:
        return tuple(_dataset(path, file).shape[:0:-1])


def _dataset(path: str | Path, file: h5py.File) -> h5py.Dataset:
    betas = file.get("betas")
    if not isinstance(betas, h5py.Dataset):
        raise UserError(f"{path}: no dataset 'betas' (found: {', '.join(file) or 'none'}); {renew(path)}")
    return betas


def _read_hdf5(path: str | Path, mask: np.ndarray, n_trials: int, listed_in: str) -> np.ndarray:
    with readable(path, "a complete HDF5 file", renew(path), ABSENT), h5py.File(path, "r") as file:
        betas = _dataset(path, file)
        check_hdf5(path, betas)
        _check(path, betas.dtype, betas.shape, betas.shape[:0:-1] == mask.shape, "(trials, Z, Y, X)", mask)
        _check_trials(path, len(betas), n_trials, listed_in)
        x, y, z = np.nonzero(mask)
        masked = np.empty((n_trials, len(x)), _stored(betas.dtype))
        for plane in np.unique(z):
            voxels = np.flatnonzero(z == plane)
            x0, y0 = x[voxels].min(), y[voxels].min()
            block = betas[:, plane, y0 : y[voxels].max() + 1, x0 : x[voxels].max() + 1]
            masked[:, voxels] = block[:, y[voxels] - y0, x[voxels] - x0]
    return masked


def _read_nifti(path: str | Path, mask: np.ndarray, n_trials: int, listed_in: str) -> np.ndarray:
    with readable(path, NIFTI, renew(path), ABSENT):
        # Volumes are read in their order in the file, because a compressed one can only be read forwards.
        proxy = open_nifti(path, renew(path))
        _check(path, proxy.dtype, proxy.shape, proxy.shape[:3] == mask.shape, "(X, Y, Z, trials)", mask)
        _check_trials(path, proxy.shape[3], n_trials, listed_in)
        scaled = (proxy.slope, proxy.inter) != (1, 0)
        masked = np.empty((n_trials, int(mask.sum())), np.float32 if scaled else _stored(proxy.dtype))
        for trial, volume in enumerate(_volumes(proxy)):
            masked[trial] = volume[mask]
    return masked


def _volumes(proxy: nibabel.arrayproxy.ArrayProxy) -> Iterator[np.ndarray]:
    for trial in range(proxy.shape[3]):
        yield np.asanyarray(proxy[..., trial])


def _stored(dtype: np.dtype) -> type:
    return np.int16 if _is_int16(dtype) else np.float32


def _is_int16(dtype: np.dtype) -> bool:
    return bool(dtype.newbyteorder("=") == np.int16)


def _check(path: str | Path, dtype: np.dtype, shape: tuple[int, ...], fits: bool, axes: str, mask: np.ndarray) -> None:
    if dtype.kind != "f" and not _is_int16(dtype):
        raise UserError(
            f"{path}: betas are {dtype}, expected int16 (percent signal change x 300) or floats (percent signal "
            f"change); {renew(path)}"
        )
    if len(shape) != 4 or not fits:
        raise UserError(
            f"{path}: betas of shape {shape} {axes} do not match the mask {mask.shape} (X, Y, Z); take both from the "
            "same subject and the func1pt8mm folder"
        )


def _check_trials(path: str | Path, found: int, listed: int, listed_in: str) -> None:
    if found != listed:
        raise UserError(
            f"{path}: {found} trials, but {listed_in} lists {listed} for this session; take both from the same "
            f"subject and release; {renew(path)}"
        )


def open_masked_session(path: str | Path, shape: tuple[int, int]) -> np.ndarray:
    """A masked session as stored: read-only memory map (trials, voxels), int16 or float32.

    Raises UserError when the file is missing, is damaged or has another shape.
    """
    block = read_array(path)
    if block.shape != shape or block.dtype not in (np.int16, np.float32):
        raise UserError(f"{path}: {block.shape} {block.dtype}, expected {shape} int16 or float32; delete it and rerun")
    return block
