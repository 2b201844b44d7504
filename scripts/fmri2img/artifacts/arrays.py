"""Arrays as .npy files that are larger than memory: made with all their room on the disk, opened as maps."""

import errno
import os
from pathlib import Path

import numpy as np

from fmri2img.errors import UserError


def new_array(path: str | Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """A writable map of a new file, zeros of `dtype` and `shape`, whose room on the disk is reserved.

    Raises OSError when there is not so much room. (A disk that filled up later would kill the process at a write into
    the map, without a message.)
    """
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with open(path, "rb+") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
        except OSError as error:
            # Some file systems cannot reserve anything; there the array is made as the disk has room.
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
    return array


def read_array(path: str | Path) -> np.memmap:
    """A read-only map of a file. Raises UserError when it is missing or damaged."""
    try:
        return np.lib.format.open_memmap(path, "r")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; rerun the step that writes it") from None
    except Exception as error:  # numpy raises whatever its parsers stumble over
        raise UserError(
            f"{path}: not a complete NumPy array ({error}); delete it and rerun the step that writes it"
        ) from None
