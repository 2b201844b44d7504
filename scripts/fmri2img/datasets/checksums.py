"""Checksums of source files, which record what a result was made from."""

from pathlib import Path

from fmri2img.integrity import sha256


def checksums(files: dict[str, str | Path]) -> dict[str, str]:
    """SHA-256 in hex of each file; both dictionaries have layout keys, so that no path of a machine appears."""
    return {key: sha256(path) for key, path in sorted(files.items())}


def by_key(root: str | Path, paths: list[str]) -> dict[str, str]:
    """Layout key -> path; the key is the path relative to the dataset's folder `root`."""
    return {Path(path).relative_to(root).as_posix(): path for path in paths}
