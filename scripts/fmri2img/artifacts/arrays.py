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
