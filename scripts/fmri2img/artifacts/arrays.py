"""Arrays larger than memory, as .npy files: created with all of their disk space, opened as memory maps."""

import errno
import os
from pathlib import Path

import numpy as np

from fmri2img.errors import UserError


def new_array(path: str | Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """A writable memory map of a new file of zeros of `dtype` and `shape`, whose disk space is reserved.

    Raises OSError when there is too little space. (If the disk filled up later, a write into the map would kill the
    process without a message.)
    """
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with open(path, "rb+") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
        except OSError as error:
            # Some file systems cannot reserve space; there the file grows as it is written.
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
    return array


def read_array(path: str | Path) -> np.memmap:
    """A read-only map of a file. Raises UserError when it is missing or damaged."""
    try:
        return np.lib.format.open_memmap(path, "r")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; rerun the step that writes it") from None
    except Exception as error:  # NumPy's parsers raise many types
        raise UserError(
            f"{path}: not a complete NumPy array ({error}); delete it and rerun the step that writes it"
        ) from None


def read_rows(array: np.ndarray, rows: np.ndarray, columns: slice = slice(None)) -> np.ndarray:
    """Some rows of an array, flattened to (rows, values), or a range of their values.

    array: as `read_array` opens it, or in memory. A map is not read through its pages but from its file: pages that
    were read count as the process's memory until the map is closed, and of a large array that is all of it.
    """
    flat = array.reshape(len(array), -1)
    if not isinstance(array, np.memmap) or array.filename is None:
        return np.array(flat[rows, columns])
    start, stop, _ = columns.indices(flat.shape[1])
    found = np.empty((len(rows), stop - start), array.dtype)
    with open(array.filename, "rb", buffering=0) as file:
        for row, values in zip(rows, found, strict=True):
            file.seek(array.offset + (int(row) * flat.shape[1] + start) * array.itemsize)
            if file.readinto(values.data) != values.nbytes:
                raise UserError(f"{array.filename}: ends before row {row}; rerun the step that writes it")
    return found
