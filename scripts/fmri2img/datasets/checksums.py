"""Checksums of source files, by which a result says what it was made from."""

import hashlib
from pathlib import Path


def checksums(files: dict[str, str | Path]) -> dict[str, str]:
    """SHA-256 in hex of each file; keyed by layout key in and out, so that no path of a machine appears."""
    return {key: sha256(path) for key, path in sorted(files.items())}


def by_key(root: str | Path, paths: list[str]) -> dict[str, str]:
    """Paths by their layout key: their place below `root`, where the dataset lies."""
    return {Path(path).relative_to(root).as_posix(): path for path in paths}


def sha256(path: str | Path) -> str:
    """SHA-256 in hex of one file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
