"""Write to a temporary name next to the target, then rename it, so that a killed job leaves no plausible output."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fmri2img import integrity
from fmri2img.errors import UserError

PART = ".part"  # at the end of a temporary name


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}{PART}")


def _is_part(path: Path) -> bool:
    """Whether a path is inside an artifact that is being written, whose record will hold it."""
    return any(part.startswith(".") and part.endswith(PART) for part in path.parent.parts)


def _raise_disk_full(path: Path, error: OSError) -> None:
    # NumPy reports a write that was cut short only in its message ("1048576 requested and 524224 written").
    cut_short = error.errno is None and str(error).endswith(" written")
    if cut_short or error.errno in (errno.ENOSPC, errno.EDQUOT):
        free_mb = shutil.disk_usage(path.parent).free // 2**20
        raise UserError(
            f"{path}: the disk is full ({free_mb} MB free); free some space or put the results elsewhere, then rerun"
        ) from error


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the directory of `path`; rename it to `path` when the block succeeds.

    Its size and hash are recorded (fmri2img.integrity).
    Raises UserError when the disk is full. The temporary file is removed on any error.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        if not _is_part(path):
            integrity.record_file(path, temporary)
        os.replace(temporary, path)
    except OSError as error:
        _raise_disk_full(path, error)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary directory next to `path`, which replaces `path` when the block succeeds.

    Sizes and hashes of its files are recorded, unless the block copied a folder with its record.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if not _is_part(path) and not (temporary / integrity.RECORD).exists():
            integrity.record_folder(temporary)
        if path.exists():
            shutil.rmtree(path)
        os.rename(temporary, path)
    except OSError as error:
        _raise_disk_full(path, error)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
