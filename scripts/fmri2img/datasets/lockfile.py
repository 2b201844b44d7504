"""Locks of downloaded files: one small JSON per object with size, ETag and SHA-256, checked whenever a file is used.

The record of `<key>` is `<root>/.lock/<key>.json`. There is one file per object, so that parallel jobs never write the
same one. It stays when the object is deleted, and is compared when the object is downloaded again.
"""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fmri2img.errors import UserError
from fmri2img.integrity import sha256
from fmri2img.locks import lock

if TYPE_CHECKING:  # the client of S3 is not needed to compare files
    from fmri2img.datasets.remote import Version

MARK = "user.fmri2img.downloaded"  # extended attribute


@dataclass(frozen=True)
class Record:
    """Lock of one object.

    source: where it came from; etag: the server's tag, "" if there is none; inode: inode number of the downloaded file,
    which renaming and touching do not change.
    """

    source: str
    size: int
    etag: str
    sha256: str
    inode: int


def record_path(root: Path, key: str) -> Path:
    return Path(root) / ".lock" / f"{key}.json"


def read(root: Path, key: str) -> Record | None:
    """The lock of `key`, or None before its first download. Raises UserError when the file is not a lock."""
    path = record_path(root, key)
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: not a readable lock ({error}); delete it to record {key} again") from error


def write(root: Path, key: str, file: Path, source: str, etag: str, sha256: str) -> None:
    """Lock `file`, complete and checked, which the caller then renames to `key`."""
    # File systems reuse the inode numbers of deleted files, ext4 at once, and a copy that the user puts in place of
    # deleted betas has the same size too. So the file is also marked, if the file system supports it: cp and similar
    # tools do not copy the mark.
    with suppress(OSError, AttributeError):  # Python on macOS has no extended attributes
        os.setxattr(file, MARK, b"1")
    found = file.stat()
    record = Record(source, found.st_size, etag, sha256, found.st_ino)
    _write(record_path(root, key), json.dumps(asdict(record), indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def linked(root: Path, key: str) -> list[int] | None:
    """Size and time (nanoseconds) of the user's own file when `key` was linked to it; None if it was not."""
    try:
        found: list[int] = json.loads(_link_path(root, key).read_text(encoding="utf-8"))
        return found
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{_link_path(root, key)}: not readable ({error}); delete it to link {key} again") from error


def write_linked(root: Path, key: str, state: tuple[int, int] | None) -> None:
    """Record this, or that `key` is not a link: a session of betas is gone from the tree once it is masked."""
    path = _link_path(root, key)
    if state is None:
        path.unlink(missing_ok=True)
    else:
        _write(path, json.dumps(state))


def _link_path(root: Path, key: str) -> Path:
    return record_path(root, key).with_suffix(".linked")


def check_version(root: Path, key: str, version: "Version") -> None:
    """Raise UserError when the server's object is not the one that was recorded."""
    record = read(root, key)
    if record is not None and (record.etag, record.size) != (version.etag, version.size):
        raise UserError(
            f"{key}: the object on the server has changed: recorded ETag {record.etag}, {record.size} bytes; now ETag "
            f"{version.etag}, {version.size} bytes; to accept the new one, delete {record_path(root, key)}"
        )


@contextmanager
def alone(root: Path, key: str) -> Iterator[None]:
    """Reserve `key` for this process; another one that downloads it into the same tree waits until this one is done."""
    path = record_path(root, key).with_suffix(".busy")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        if lock(file) is False:
            print(f"{key}: waiting for another process that downloads it", flush=True)
            lock(file, wait=True)
        yield  # where the file system has no locks, only one workflow may use a tree at a time


def verify(root: Path, key: str) -> Record:
    """Compare a file of the tree with its lock, byte for byte by SHA-256; return the lock.

    Raises UserError when the file or its lock is missing, or when size or content differ.
    """
    path, record = Path(root) / key, read(root, key)
    if record is None:
        raise UserError(f"{path}: no record of its download in {record_path(root, key)}; nothing to verify it against")
    if not path.is_file():
        raise UserError(f"{path}: recorded in the lock but missing; run the workflow again to download it")
    if path.stat().st_size != record.size or sha256(path) != record.sha256:
        raise UserError(f"{path}: differs from what was downloaded (damaged or edited); delete it to download it again")
    return record


def verify_downloaded(files: dict[str, str | Path]) -> None:
    """`verify` those of `files` that have a lock; the others are the user's own or simulated.

    files: key of layout.py -> path, which ends with the key.
    """
    for key, path in files.items():
        root = Path(path).parents[len(Path(key).parts) - 1]
        if read(root, key) is not None:
            verify(root, key)


def is_own(root: Path, key: str) -> bool:
    """Whether the file at `key` is the very one that was downloaded, judged by its size, inode and mark.

    Raises FileNotFoundError when it is missing.
    """
    path, record = Path(root) / key, read(root, key)
    found = path.stat()
    return record is not None and (found.st_size, found.st_ino) == (record.size, record.inode) and _marked(path)


def _marked(path: Path) -> bool:
    """Whether `write` marked the file; also True where the system or the file system does not support marks."""
    if not hasattr(os, "getxattr"):
        return True
    try:
        os.getxattr(path, MARK)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.ENOTSUP):
            raise
        return error.errno == errno.ENOTSUP
    return True
