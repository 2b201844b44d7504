"""The pictures, in a folder for each dataset, as the datasets' authors give them.

A stimulus is looked for by its file name, then by its alias (BOLD5000's COCO pictures have one with a prefix), with any
suffix of a picture. NSD's are taken from nsd_stimuli.hdf5 where that is there: its alias is the 0-based number of a
picture. The middle frame of a video has the video's name, or `<video>_frame-0037_0074.jpg`, as MOSAIC's script names
all frames, of which number 37 of 74 is used.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from fmri2img.archives import check_hdf5
from fmri2img.datasets.mosaic import layout
from fmri2img.datasets.own_files import visible
from fmri2img.datasets.pictures import SUFFIXES, read_picture, square
from fmri2img.errors import UserError
from fmri2img.reading import readable

BLOCK = 64
FRAME = re.compile(r"(?P<video>.+?)_frame-(?P<number>\d+)_(?P<of>\d+)")
BRICK = "imgBrick"


class Pictures:
    """The pictures of one constituent: paths, and NSD's array where there is one."""

    def __init__(self, folder: Path, constituent: str) -> None:
        """folder: of all constituents' pictures."""
        self.constituent, self.one = constituent, layout.CONSTITUENTS[constituent]
        self.folders = [folder / name for name in (constituent, self.one.same_pictures) if name is not None]
        self.by_name: dict[str, Path] = {}
        for place in reversed(self.folders):
            found = [path for path in visible(place.rglob("*")) if path.suffix.lower() in SUFFIXES]
            self.by_name |= {_stem(path, self.one.videos): path for path in found}
            self.by_name |= {path.name: path for path in found}
        brick = self.folders[0] / layout.NSD_BRICK
        self.brick = brick if constituent == "NSD" and brick.is_file() else None

    def path(self, filename: str, alias: str) -> Path | None:
        """The file of a stimulus, or None."""
        for name in filter(None, (filename, alias)):
            for form in (name, _without_suffix(name), name.rpartition("/")[2]):
                if form in self.by_name:
                    return self.by_name[form]
        return None

    def missing(self, lacking: pd.DataFrame, total: int) -> UserError:
        first = lacking["filename"].iloc[0]
        return UserError(
            f"{self.folders[0]}: lacks picture {first} ({len(lacking)} of {total} are missing); get the pictures of "
            f"{self.constituent} from {self.one.address} and put them there"
        )


def _without_suffix(name: str) -> str:
    # Names of videos have points in them, so only suffixes that are known are taken off.
    head, point, suffix = name.rpartition(".")
    return head if point and f".{suffix.lower()}" in (*SUFFIXES, ".mp4") else name


def _stem(path: Path, video: bool) -> str:
    name = _without_suffix(path.name)
    frame = FRAME.fullmatch(name) if video else None
    if frame is None:
        return name
    return frame["video"] if int(frame["number"]) == int(frame["of"]) // 2 else path.name


def read_images(folder: str | Path, stimuli: pd.DataFrame, size: int) -> Iterator[np.ndarray]:
    """Pixels of the stimuli in order, in blocks uint8 (n, size, size, 3), their central squares.

    stimuli: `tables.seen_stimuli`. All are looked for before the first is read. Raises UserError when one is missing or
    damaged.
    """
    folder, places = Path(folder), {}
    for constituent, own in stimuli.groupby("constituent", sort=False):
        pictures = Pictures(folder, constituent)
        found = [pictures.path(name, alias) for name, alias in zip(own["filename"], own["alias"], strict=True)]
        in_brick = (own["source"] == "COCO") & (pictures.brick is not None)
        lacking = own[np.array([place is None for place in found]) & ~in_brick]
        if len(lacking):
            raise pictures.missing(lacking, len(own))
        places[constituent] = pictures, found, in_brick.to_numpy()
    block: list[np.ndarray] = []
    for constituent, own in stimuli.groupby("constituent", sort=False):
        pictures, found, in_brick = places[constituent]
        for pixels in _read(pictures, own, found, in_brick, size):
            block.append(pixels)
            if len(block) == BLOCK:
                yield np.stack(block)
                block = []
    if block:
        yield np.stack(block)


def _read(pictures: Pictures, own: pd.DataFrame, found: list, in_brick: np.ndarray, size: int) -> Iterator[np.ndarray]:
    if not in_brick.any():
        yield from (read_picture(path, size) for path in found)
        return
    path = pictures.brick
    with readable(path, "a complete HDF5 file of NSD's pictures", "replace it"), h5py.File(path, "r") as file:
        brick = file.get(BRICK)
        if brick is None or brick.ndim != 4 or brick.shape[3] != 3 or brick.dtype != np.uint8:
            raise UserError(f"{path}: has no array '{BRICK}' of uint8 RGB pictures; replace it")
        check_hdf5(path, brick)
        for alias, name, place, within in zip(own["alias"], own["filename"], found, in_brick, strict=True):
            if not within:
                yield read_picture(place, size)
                continue
            if not alias.isdecimal() or int(alias) >= len(brick):
                raise UserError(
                    f"{path}: {name} is picture '{alias}' by MOSAIC's table, and there are {len(brick)}; replace the "
                    f"table {layout.table('NSD')}"
                )
            yield square(brick[int(alias)], size)
