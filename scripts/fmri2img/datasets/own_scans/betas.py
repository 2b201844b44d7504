"""Betas of single trials in the forms that labs have them: .npy, HDF5, MATLAB, NIfTI.

GLMsingle writes `betasmd` (Python) or `modelmd` (MATLAB): (X, Y, Z, trials), or (voxels, 1, 1, trials) for data that
were given as (voxels, time). With `wanthdf5` its files are HDF5. Its .npy files are pickled dictionaries, which are not
read, because unpickling runs code. Through h5py the axes of MATLAB's arrays come in reverse order.

Files are opened without reading the values; `read` takes those of a mask, a block at a time.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fmri2img.artifacts.arrays import read_array
from fmri2img.datasets.matlab import read_matlab
from fmri2img.datasets.nifti import open_nifti
from fmri2img.errors import UserError
from fmri2img.reading import PICKLED, readable

VARIABLES = ("betasmd", "modelmd", "betas")
SUFFIXES = (".npy", ".hdf5", ".h5", ".mat", ".nii", ".nii.gz")
REMEDY, ABSENT = "correct or replace it", "put it there, or correct own_scans.betas.files"
EXPORT = (
    "GLMsingle's .npy files are pickled dictionaries: save the array alone with numpy.save, as docs/your-own-scans.md "
    "shows, or let GLMsingle write HDF5 (its option wanthdf5)"
)
BLOCK_BYTES = 2**28  # read at a time
MATLAB_HEADER = b"MATLAB 7.3"


@dataclass(frozen=True)
class Betas:
    """Opened betas. array: as its library gives it, indexed but not read; reverse: whether its axes are in reverse
    order; forwards: whether only blocks along the last axis are read in the order of the file."""

    path: Path
    array: Any
    reverse: bool = False
    forwards: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Without axes of length one between the others: (X, Y, Z, trials) or (voxels, trials), or trials first."""
        whole = tuple(reversed(self.array.shape)) if self.reverse else tuple(self.array.shape)
        return (whole[0], whole[3]) if len(whole) == 4 and whole[1:3] == (1, 1) else whole

    def trials_first(self, trials: int) -> bool:
        """Whether the first axis is that of the trials. Raises UserError when neither the first nor the last can be."""
        shape = self.shape
        if len(shape) not in (2, 4):
            raise UserError(
                f"{self.path}: betas of shape {shape}, expected (X, Y, Z, trials) or (voxels, trials); save them so"
            )
        if trials not in (shape[0], shape[-1]):
            raise UserError(f"{self.path}: betas of shape {shape} are not of {trials} trials")
        return shape[-1] != trials

    def grid(self, trials: int) -> tuple[int, ...]:
        """(X, Y, Z) or (voxels,)."""
        return self.shape[1:] if self.trials_first(trials) else self.shape[:-1]

    def read(self, trials: int, mask: np.ndarray | None) -> np.ndarray:
        """Betas in a mask, bool of the grid, or of all voxels: float32 (trials, voxels), voxels in C order of the grid.

        Raises UserError when the file is damaged, or the values are not numbers.
        """
        first, grid = self.trials_first(trials), self.grid(trials)
        inside = np.ones(grid, bool) if mask is None else mask
        found = np.empty((trials, int(inside.sum())), np.float32)
        offsets = np.concatenate([[0], np.cumsum(inside.reshape(len(inside), -1).sum(axis=1))])
        with readable(self.path, "betas that can be read", REMEDY):
            for axis, start, block in self._blocks(first):
                if (axis == 0) == first:  # of some trials, all voxels
                    block = block if first else np.moveaxis(block, -1, 0)
                    found[start : start + len(block)] = block.reshape(len(block), *grid)[:, inside]
                else:  # of some voxels, all trials
                    block = np.moveaxis(block, 0, -1) if first else block
                    block = block.reshape(-1, *grid[1:], trials)
                    part = inside[start : start + len(block)]
                    found[:, offsets[start] : offsets[start + len(block)]] = block[part].T
        return found

    def _blocks(self, trials_first: bool) -> Iterator[tuple[int, int, np.ndarray]]:
        """Blocks with their axes in order: the axis (0 or -1) along which they are taken, where they begin, values.

        They are taken along the axis that is slowest in the file, unless that is Z.
        """
        shape = self.array.shape
        along_last = self.forwards or (isinstance(self.array, np.ndarray) and self.array.flags.f_contiguous)
        axis = len(shape) - 1 if along_last and not (trials_first and len(shape) > 2) else 0
        step = max(1, BLOCK_BYTES // max(1, math.prod(shape) // max(1, shape[axis]) * self.array.dtype.itemsize))
        chunk = (getattr(self.array, "chunks", None) or [1] * len(shape))[axis]
        step = max(chunk, step // chunk * chunk)
        for start in range(0, shape[axis], step):
            part = slice(start, min(start + step, shape[axis]))
            block = np.asarray(self.array[(slice(None),) * axis + (part,)], np.float32)
            if self.reverse:
                block = block.transpose()
            yield -1 if (axis == 0) == self.reverse else 0, start, block


@contextmanager
def open_betas(path: Path, variable: str | None) -> Iterator[Betas]:
    """Open a file of betas. Raises UserError when it is missing, damaged, pickled, or holds no such array."""
    name = path.name.lower()
    if name.endswith(".npy"):
        yield Betas(path, _numbers(path, _npy(path)))
    elif name.endswith((".nii", ".nii.gz")):
        yield Betas(path, _numbers(path, open_nifti(path, REMEDY, ABSENT)), forwards=True)
    elif name.endswith(".mat") and not _starts_with(path, MATLAB_HEADER):
        yield Betas(path, _numbers(path, _matlab(path, variable)))
    elif name.endswith((".hdf5", ".h5", ".mat")):
        with readable(path, "a complete HDF5 file", REMEDY, ABSENT):
            file = h5py.File(path, "r")
        with file:
            array = _numbers(path, _of_hdf5(path, file, variable))
            matlab = "MATLAB_class" in array.attrs or _starts_with(path, MATLAB_HEADER)
            yield Betas(path, array, reverse=matlab)
    else:
        raise UserError(f"{path}: not {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}; save the betas as one of these")


def _starts_with(path: Path, header: bytes) -> bool:
    with readable(path, "a file", REMEDY, ABSENT), open(path, "rb") as file:
        return file.read(len(header)) == header


def _npy(path: Path) -> np.ndarray:
    try:
        return read_array(path, REMEDY, ABSENT)
    except UserError as error:
        if PICKLED in str(error):
            raise UserError(f"{path}: is pickled, and would run code when it is read; {EXPORT}") from None
        raise


def _matlab(path: Path, variable: str | None) -> np.ndarray:
    for name in [variable] if variable else VARIABLES:
        try:
            return read_matlab(path, (name,), REMEDY, ABSENT)[name]
        except UserError as error:
            if f"variable '{name}' is missing" not in str(error):
                raise
    raise UserError(_no_variable(path, variable, "it has others"))


def _of_hdf5(path: Path, file: h5py.File, variable: str | None) -> h5py.Dataset:
    for name in [variable] if variable else VARIABLES:
        if isinstance(found := file.get(name), h5py.Dataset):
            return found
    raise UserError(_no_variable(path, variable, f"it has {', '.join(file) or 'none'}"))


def _no_variable(path: Path, variable: str | None, held: str) -> str:
    wanted = variable or ", ".join(VARIABLES)
    return f"{path}: has no array {wanted} ({held}); name the one with the betas in own_scans.betas.variable"


def _numbers(path: Path, array: Any) -> Any:
    if array.dtype.kind not in "iuf":
        raise UserError(f"{path}: betas are {array.dtype}, not numbers; save them as float32")
    if not array.shape:
        raise UserError(f"{path}: has a single value in place of betas; {EXPORT}")
    return array
