"""Arrays larger than memory, as .npy files: created with all of their disk space or written a block of rows at a time,
opened as memory maps."""

import errno
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from fmri2img.errors import UserError
from fmri2img.integrity import again
from fmri2img.reading import PICKLED, readable

BLOCK_BYTES = 2**25  # of rows that are copied at a time


def new_array(path: str | Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """A writable memory map of a new file of zeros of `dtype` and `shape`, whose disk space is reserved.

    Raises OSError when there is too little space. (If the disk filled up later, a write into the map would kill the
    process without a message.)
    """
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with open(path, "rb+") as file:
            _reserve(file.fileno(), os.path.getsize(path))
    return array


def _reserve(file: int, size: int) -> None:
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        # Some file systems cannot reserve space; there the file grows as it is written.
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


class ArrayWriter:
    """Writes an array to a new file, one block of rows after the other, without a map of it.

    Pages of a map that were written count as the process's memory, and of a large array that is all of it. The disk
    space is reserved as by `new_array`.
    """

    def __init__(self, path: str | Path, dtype: type, shape: tuple[int, ...]) -> None:
        array = new_array(path, dtype, shape)
        self._dtype, self._row, offset = array.dtype, shape[1:], array.offset
        del array
        self._file = open(path, "rb+")  # noqa: SIM115  (lives as long as the writer)
        self._file.seek(offset)

    def write(self, block: np.ndarray) -> None:
        """Raises ValueError for rows of another shape."""
        if block.shape[1:] != self._row:
            raise ValueError(f"rows of shape {block.shape[1:]} in a file of {self._row}")
        self._file.write(np.ascontiguousarray(block, self._dtype).data)

    def close(self) -> None:
        self._file.close()


def read_array(path: str | Path, remedy: str = "", absent: str = "") -> np.memmap:
    """A read-only map of a file.

    remedy, absent: what to do about a file that is damaged, or missing, if it is not of a study. Raises UserError
    for either, and for a file of Python objects.
    """
    with readable(path, "a complete NumPy array", remedy, absent):
        try:
            array: np.memmap = np.lib.format.open_memmap(path, "r")
        except ValueError as error:
            if "Python objects" in str(error):
                raise UserError(f"{path}: {PICKLED}") from None
            raise
    return array


def read_rows(array: np.ndarray, rows: np.ndarray, columns: slice = slice(None)) -> np.ndarray:
    """Some rows of an array, flattened to (rows, values), or a range of their values.

    array: as `read_array` opens it, or in memory. A map is not read through its pages but from its file: pages that
    were read count as the process's memory until the map is closed, and of a large array that is all of it.
    """
    flat = array.reshape(len(array), -1)
    if not _is_whole_file(array) or array.filename is None:
        return np.array(flat[rows, columns])
    start, stop, _ = columns.indices(flat.shape[1])
    found = np.empty((len(rows), stop - start), array.dtype)
    with open(array.filename, "rb", 0) as file:
        for row, values in zip(rows, found, strict=True):
            file.seek(array.offset + (int(row) * flat.shape[1] + start) * array.itemsize)
            if file.readinto(values.data) != values.nbytes:
                raise UserError(f"{array.filename}: ends before row {row}; {again(array.filename)}")
    return found


def _is_whole_file(array: np.ndarray) -> TypeGuard[np.memmap]:
    """Whether it is the map that `read_array` opened: a part of a map has the offset of the whole."""
    return isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap)


@dataclass(frozen=True)
class Rows:
    """Some rows of an array, which are read when they are used, so that copies of large arrays take no memory.

    array: as `read_array` opens it, or in memory; rows: int (rows,). flat: whether each row is a vector of its values.
    """

    array: np.ndarray
    rows: np.ndarray
    flat: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        inner = self.array.shape[1:]
        return len(self.rows), *((int(np.prod(inner)),) if self.flat else inner)

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: slice | np.ndarray) -> np.ndarray:
        rows = self.rows[positions]
        found = read_rows(self.array, rows) if _is_whole_file(self.array) else self.array[rows]
        return found.reshape(len(rows), *self.shape[1:])

    def columns(self, columns: slice) -> np.ndarray:
        """A range of the values of each row, flattened: (rows, columns)."""
        return read_rows(self.array, self.rows, columns)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


@dataclass(frozen=True)
class Parts:
    """Arrays one after the other along the first axis, which are read when they are used."""

    arrays: list[np.ndarray]

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), *self.arrays[0].shape[1:]

    @property
    def dtype(self) -> np.dtype:
        return self.arrays[0].dtype

    def __len__(self) -> int:
        return sum(map(len, self.arrays))

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        """Rows at ascending positions."""
        starts = np.cumsum([0, *map(len, self.arrays)])
        bounds = np.searchsorted(positions, starts)
        parts = zip(self.arrays, starts[:-1], bounds[:-1], bounds[1:], strict=True)
        return np.concatenate([Rows(array, positions[low:high] - start)[:] for array, start, low, high in parts])


def check_finite(values: np.ndarray, what: str) -> None:
    """Raise UserError when values that are about to be stored hold NaN or infinities. what: what they are.

    Artifacts hold finite numbers, so that no score is made of others; `Prediction.responses`, which has NaN for images
    that were shown once, is the exception.
    """
    if not np.isfinite(values).all():
        raise UserError(
            f"{what} hold NaN or infinities in {values.dtype.name}; the network or the data that they come from are "
            "damaged, or leave the range of that type: check these first, then run again"
        )


def save_array(
    path: str | Path, values: np.ndarray | Rows | Parts, dtype: type, order: np.ndarray | None = None, finite: str = ""
) -> None:
    """Write rows of `values` as np.save does, a block of them at a time.

    order: int, the rows in the order in which they are written, by default all. finite: what the values are, where all
    of them must be finite in `dtype`; raises UserError as `check_finite`.
    """
    rows = values if isinstance(values, Rows | Parts) else Rows(np.asanyarray(values), np.arange(len(values)))
    order = np.arange(len(rows)) if order is None else order
    shape = (len(order), *rows.shape[1:])
    step = max(1, BLOCK_BYTES // max(1, int(np.prod(shape[1:])) * rows.dtype.itemsize))
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, len(order), step):
            with np.errstate(over="ignore"):
                block: np.ndarray = np.ascontiguousarray(rows[order[first : first + step]], dtype)
            if finite:
                check_finite(block, finite)
            file.write(block.data)
