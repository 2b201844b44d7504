"""Files that a user put there, as they are found: what no rule makes can be replaced at any time, by anything."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path


def found(paths: Iterable[str | Path]) -> str:
    """Hash of name, size and time (nanoseconds) of files and of all files below folders: 16 hex digits of SHA-256.

    It is a parameter of the rules that read them. Snakemake itself compares times only, so it misses a file that is
    replaced by an older one (from an archive, or with its time kept), and one that is changed while a job reads it.
    What is missing counts as such: Snakemake says so.
    """
    return digest([(str(file), *state(file)) for path in paths for file in _files(Path(path))])


def digest(content: list) -> str:
    """Hash of what JSON can hold: 16 hex digits of SHA-256."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def state(file: Path) -> tuple[int, int]:
    """Size and time (nanoseconds) of a file; -1 if there is none.

    The number of the inode is left out: a copy that moves to another disk, or is mounted again, is the same copy.
    """
    try:
        status = file.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(Path(folder, name) for folder, _, names in os.walk(path, followlinks=True) for name in names)
