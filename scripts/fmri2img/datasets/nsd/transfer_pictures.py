"""Pictures of NSD-Imagery and NSD-Synthetic, as rows of Stimuli.

NSD-Imagery's targets are files. NSD-Synthetic's pictures, 714 x 1360 pixels, fill the screen as they were shown, on a
display whose brightness is linear in the pixel. NSD's photographs were squared before they were shown and published
without that, so the root of these pixels is what compares with them. NSD's photographs took the central square of the
screen, 8.4 degrees wide. Decoders were trained on no more, so the square is cut out, as the authors do. Words that were
shown left and right of it leave an empty square: such an image has the flag OUTSIDE.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from fmri2img.archives import check_hdf5
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.layout import IMAGERY, SYNTHETIC, SYNTHETIC_SHARED
from fmri2img.datasets.nsd.transfer_sets import TARGETS, image_ids, synthetic_id, target_id
from fmri2img.datasets.own_files import renew
from fmri2img.datasets.pictures import read_picture, square
from fmri2img.errors import UserError
from fmri2img.integrity import ABSENT
from fmri2img.reading import readable

OUTSIDE = "outside the usual crop"
NO_COCO = -1  # coco_id of a picture that is not COCO's
# As published: rounded down.
AS_PHOTOGRAPH = (np.sqrt(np.arange(256) / 255) * 255).astype(np.uint8)
INFORMATION = ["Image", "Image class"]  # columns of nsdsyntheticimageinformation.csv
Picture = tuple[int, str, str, bool, np.ndarray]  # image_id, name, source, outside, uint8 (size, size, 3)


def transfer_pictures(
    test_sets: Sequence[str], subjects: Sequence[str], files: dict[str, str | Path], size: int
) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows of Stimuli for all pictures of the test sets, image_id ascending, and the pictures.

    subjects: those whose colours are needed; files: key of layout.py -> path, with those of `picture_keys`; size: side
    of NSD's photographs in pixels. Returns the table and uint8 (images, size, size, 3). `captions` is null, because no
    one wrote any; `flag` says OUTSIDE or is null. Raises UserError when a file is damaged.
    """
    found: list[Picture] = []
    for test_set in test_sets:
        if test_set == "synthetic":
            found += _synthetic(subjects, files, size)
        else:
            found += _targets(test_set, files, size)
    found.sort(key=lambda picture: picture[0])
    ids, names, sources, outside, pictures = zip(*found, strict=True)
    assert list(ids) == sorted(i for name in test_sets for i in image_ids(name, subjects))
    table = pd.DataFrame(
        {
            "image_id": np.array(ids, np.int64),
            "name": names,
            "source": sources,
            "coco_id": NO_COCO,
            "captions": None,
            "categories": [[] for _ in ids],
            "cluster": None,
            "shared": False,
            "flag": [OUTSIDE if one else None for one in outside],
        }
    )
    return table, np.stack(pictures)


def _targets(test_set: str, files: dict[str, str | Path], size: int) -> Iterator[Picture]:
    for group, name in TARGETS:
        path = files[layout.imagery_picture(group, name)]
        yield target_id(test_set, name), name, f"{IMAGERY}_{group}", False, read_picture(path, size)


def _synthetic(subjects: Sequence[str], files: dict[str, str | Path], size: int) -> Iterator[Picture]:
    information = _information(files[layout.SYNTHETIC_INFO])
    coloured = [(layout.coloured_stimuli(subject), subject, SYNTHETIC_SHARED) for subject in subjects]
    for key, subject, first in [(layout.SYNTHETIC_STIMULI, subjects[0], 0), *coloured]:
        wanted = layout.SYNTHETIC_COLOURED if first else SYNTHETIC_SHARED
        for number, shown in enumerate(_bricks(files[key], wanted), start=first):
            name, source = information[number]
            whole = AS_PHOTOGRAPH[shown]
            seen = square(whole, size)
            outside = bool(np.ptp(seen) == 0 and np.ptp(whole) > 0)
            yield synthetic_id(subject, number), name, source, outside, seen


def _information(path: str | Path) -> list[tuple[str, str]]:
    """Name and source of each of the 284 images."""
    wanted = SYNTHETIC_SHARED + layout.SYNTHETIC_COLOURED
    with readable(path, "an nsdsyntheticimageinformation.csv", renew(path), ABSENT):
        table = pd.read_csv(path, usecols=INFORMATION)
        if len(table) != wanted:
            raise ValueError(f"{len(table)} images, expected {wanted}")
        kinds = [re.sub(r"\W+", "_", kind.strip().lower()) for kind in table["Image class"]]
        return [(str(name), f"{SYNTHETIC}_{kind}") for name, kind in zip(table["Image"], kinds, strict=True)]


def _bricks(path: str | Path, wanted: int) -> Iterator[np.ndarray]:
    """Pictures of a stimulus file, uint8 (height, width, 3) each."""
    with readable(path, "a complete HDF5 file", renew(path), ABSENT), h5py.File(path, "r") as file:
        bricks = file.get("imgBrick")
        known = isinstance(bricks, h5py.Dataset) and bricks.ndim == 4 and bricks.dtype == np.uint8
        if not known or len(bricks) != wanted or bricks.shape[3] != 3:
            raise UserError(f"{path}: no dataset imgBrick of {wanted} pictures, uint8 RGB; {renew(path)}")
        check_hdf5(path, bricks)
        for row in range(wanted):
            yield bricks[row]
