"""Write to a temporary name next to the target, then rename it, so that a killed job leaves no plausible output."""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from fmri2img import integrity
from fmri2img.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
PART = ".part"  # at the end of a temporary name


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}{PART}")


def _is_part(path: Path) -> bool:
    """Whether a path is inside an artifact that is being written, whose record will hold it."""
    return any(part.startswith(".") and part.endswith(PART) for part in path.parent.parts)


def _number(error: Exception) -> int | None:
    """The operating system's number of an error. Libraries in other languages give it in their message ("I/O error: ...
    (os error 28)", "errno = 28")."""
    stated = re.search(r"(?:os error|errno =) (\d+)", str(error))
    return int(stated[1]) if stated else getattr(error, "errno", None)


def is_full(error: Exception) -> bool:
    """Whether a write failed for lack of space. NumPy reports a write that was cut short without a number ("1048576
    requested and 524224 written")."""
    number = _number(error)
    return number in FULL or (number is None and str(error).endswith(" written"))


def raise_refused(path: Path, error: Exception) -> None:
    """Raise UserError when the operating system refused a write: no space, no permission, or a disk that fails."""
    number = _number(error)
    if is_full(error):
        free_mb = shutil.disk_usage(path.parent).free // 2**20
        raise UserError(
            f"{path}: the disk is full ({free_mb} MB free) or a quota is used up; free some space or put the results "
            "elsewhere, then rerun"
        ) from error
    if number in REFUSED:
        raise UserError(
            f"{path}: cannot be written ({os.strerror(number)}); get the right to write to {path.parent}, or run "
            "elsewhere with `snakemake --directory FOLDER`"
        ) from error
    if number == errno.EIO:
        raise UserError(f"{path}: the disk failed to write ({os.strerror(number)}); check it, then rerun") from error


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the directory of `path`; rename it to `path` when the block succeeds.

    Its size and hash are recorded (fmri2img.integrity).
    Raises UserError when the disk is full or the folder may not be written to. The temporary file is removed on any
    error.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()  # some libraries hide why they cannot open a file
        temporary.unlink()
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        if not _is_part(path):
            integrity.record_file(path, temporary)
        os.replace(temporary, path)
    except UserError:
        raise
    except Exception as error:
        raise_refused(path, error)
        raise
    finally:
        with contextlib.suppress(PermissionError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary directory next to `path`, which replaces `path` when the block succeeds.

    Sizes and hashes of its files are recorded, unless the block copied a folder with its record. Raises UserError as
    `atomic_file`.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        if not _is_part(path) and not (temporary / integrity.RECORD).exists():
            integrity.record_folder(temporary)
        if path.exists():
            shutil.rmtree(path)
        os.rename(temporary, path)
    except UserError:
        raise
    except Exception as error:
        raise_refused(path, error)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
