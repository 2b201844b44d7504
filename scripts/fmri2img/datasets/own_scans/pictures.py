"""The folder of pictures: their names, which of them an event means, and which are the same under two names."""

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from fmri2img.datasets.own_files import visible
from fmri2img.datasets.pictures import SUFFIXES, read_picture
from fmri2img.errors import UserError
from fmri2img.settings.base import nearest

THUMBNAIL = 16  # side at which pictures are compared
ALIKE = 2.0  # grey levels that thumbnails of one picture may differ by, in the mean: after another compression or size


class Folder:
    """The pictures below a folder. files: name -> path, in order; the name is the path in the folder without suffix.

    An event names a picture by its path or by its name alone, with or without suffix; folders in front of it that are
    not part of the folder (stimuli/...) do not count.
    """

    def __init__(self, path: Path) -> None:
        """Raises UserError when there is no picture, or two have the same name."""
        found = [file for file in visible(path.rglob("*")) if file.suffix.lower() in SUFFIXES]
        if not found:
            raise UserError(f"{path}: no picture in this folder; put them there, or set own_scans.pictures.folder")
        self.path, self.files = path, {}
        for file in found:
            name = file.relative_to(path).with_suffix("").as_posix()
            if name in self.files:
                raise UserError(f"{self.files[name]}: {file.name} has the same name; rename or remove one of them")
            self.files[name] = file
        self.names = sorted(self.files)
        self._meant: dict[str, set[str]] = {}
        for name, file in self.files.items():
            relative = PurePosixPath(file.relative_to(path))
            for parts in (relative.parts[start:] for start in range(len(relative.parts))):
                spelled = PurePosixPath(*parts)
                for key in {str(spelled), str(spelled.with_suffix("")), _without_zeros(spelled)}:
                    self._meant.setdefault(key.casefold(), set()).add(name)

    def meant(self, value: str) -> set[str]:
        """Names of the pictures that a value of an events table may mean: one, none, or several."""
        parts = PurePosixPath(value.replace("\\", "/")).parts
        for start in range(len(parts)):
            key = str(PurePosixPath(*parts[start:])).casefold()
            if found := self._meant.get(key):
                exact = {name for name in found if name == str(PurePosixPath(*parts[start:]).with_suffix(""))}
                return exact or found
        return set()

    def named(self, value: str) -> str:
        """The picture that a value means. Raises UserError when it is none, or not clear."""
        found = self.meant(value)
        if len(found) != 1:
            raise UserError(f"{self.path}: {self.wrong(value)}")
        return next(iter(found))

    def wrong(self, value: str) -> str:
        """What is wrong with a value that does not mean one picture, and the remedy."""
        found = sorted(self.meant(value))
        if found:
            return f"'{value}' may be {found[0]} or {found[1]}; write the folder too"
        near = nearest(PurePosixPath(value).name, [file.name for file in self.files.values()], "it has")
        return f"has no picture '{value}' ({near}); put it there, or name the value in own_scans.events.blanks"

    def source(self, name: str) -> str:
        """The source of a picture: its own folder, or the folder of all."""
        return PurePosixPath(name).parts[0] if "/" in name else self.path.name


def _without_zeros(path: PurePosixPath) -> str:
    """The name of a numbered picture as tables that read it as a number have it: 12 for 0012.png."""
    return path.stem.lstrip("0") or "0" if path.stem.isdecimal() and len(path.parts) == 1 else str(path)


def fingerprint(pixels: np.ndarray) -> tuple[str, np.ndarray]:
    """Hash of a picture uint8 (size, size, 3), and its thumbnail, float32 (values,)."""
    size = len(pixels)
    edges = np.linspace(0, size, THUMBNAIL + 1).astype(int)[:-1]
    rows = np.add.reduceat(pixels.astype(np.float32), edges, axis=0)
    blocks = np.add.reduceat(rows, edges, axis=1) / (size / THUMBNAIL) ** 2
    return hashlib.sha256(pixels.tobytes()).hexdigest(), blocks.ravel()


class Compared:
    """Pictures that are compared with each other: those with the same pixels, and those that look the same."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)
        self.hashes: list[str] = []
        self.thumbnails: list[np.ndarray] = []

    def add(self, pixels: np.ndarray) -> None:
        """Add the next picture, uint8 (size, size, 3)."""
        digest, thumbnail = fingerprint(pixels)
        self.hashes.append(digest)
        self.thumbnails.append(thumbnail)

    def same(self) -> list[list[str]]:
        """Groups of names with the same pixels."""
        groups: dict[str, list[str]] = {}
        for name, digest in zip(self.names, self.hashes, strict=True):
            groups.setdefault(digest, []).append(name)
        return [group for group in groups.values() if len(group) > 1]

    def alike(self, tested: set[str]) -> list[tuple[str, str]]:
        """(tested, trained) pairs whose thumbnails hardly differ, though their pixels do."""
        test = [row for row, name in enumerate(self.names) if name in tested]
        rest = [row for row, name in enumerate(self.names) if name not in tested]
        if not test or not rest:
            return []
        others, pairs = np.stack([self.thumbnails[row] for row in rest]), []
        for row in test:
            difference = np.abs(others - self.thumbnails[row]).mean(axis=1)
            for place in np.flatnonzero(difference < ALIKE):
                if self.hashes[row] != self.hashes[rest[place]]:
                    pairs.append((self.names[row], self.names[rest[place]]))
        return pairs


def leaked(same: list[list[str]], tested: set[str]) -> list[list[str]]:
    """Groups of the same picture of which some are tested and others trained on."""
    return [group for group in same if 0 < len(tested.intersection(group)) < len(group)]


def message_of_leak(folder: Path, group: list[str], tested: set[str], count: int) -> str:
    """The problem of pictures that are tested under one name and trained on under another."""
    test = next(name for name in group if name in tested)
    train = next(name for name in group if name not in tested)
    return (
        f"{folder}: {test}, which is tested, and {train}, which is trained on, have the same pixels ({count} pictures "
        "are in both parts); name one file in all events, or list all its names in a file of own_scans.held_out.lists"
    )


def read_compared(folder: Folder, names: Iterable[str], size: int, fit: str, background: int) -> Compared:
    """Read pictures and compare them. Raises UserError when one is damaged."""
    compared = Compared(names)
    for name in compared.names:
        compared.add(read_picture(folder.files[name], size, fit, background))
    return compared
