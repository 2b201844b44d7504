"""Stimuli: the images of a dataset, with their names, captions, categories and clusters.

images.npy       uint8 (images, height, width, 3) RGB; absent where the user does not hold the pictures
stimuli.parquet  image_id (0-based, ascending), name (the dataset's own key of the image), source (where the picture
                 comes from), captions and categories (lists of strings, empty where there are none; captions may be
                 null for test images of which no one wrote any, and metrics of captions are NaN there), cluster (text,
                 or null where the dataset has no clusters); a dataset may add columns. One of them reports
                 read: flag (text or null), why the scores of an image are to be read with care, such as "outside the
                 crop"
metadata.json    the dataset's record of how they were made, e.g. checksums of the source files; `pictures`, false where
                 there are none
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.artifacts.arrays import ArrayWriter, read_array
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.tables import read_json, read_table, write_json
from fmri2img.errors import UserError
from fmri2img.integrity import again

COLUMNS = {"image_id": "iu", "name": "OUT", "source": "OUT", "captions": "O", "categories": "O", "cluster": "OUT"}
PICTURES = "pictures"  # entry of the metadata
FLAG = "flag"  # a column that a dataset may add


@dataclass(frozen=True)
class Stimuli:
    """Opened stimuli; `pictures` is a read-only memory map uint8 (images, height, width, 3), None without pictures."""

    path: Path
    pictures: np.ndarray | None
    table: pd.DataFrame
    metadata: dict

    @classmethod
    def open(cls, path: str | Path) -> "Stimuli":
        """Open and validate. Raises UserError naming the file that is missing or does not fit the others."""
        path = Path(path)
        table = read_table(path / "stimuli.parquet", COLUMNS)
        metadata, images = read_json(path / "metadata.json"), None
        if metadata.get(PICTURES, True):
            images = read_array(path / "images.npy")
            if images.ndim != 4 or images.shape[0] != len(table) or images.shape[3] != 3 or images.dtype != np.uint8:
                raise UserError(
                    f"{path / 'images.npy'}: {images.shape} {images.dtype} does not match {len(table)} uint8 RGB "
                    f"images; {again(path)}"
                )
        if not table["image_id"].is_monotonic_increasing or not table["image_id"].is_unique:
            raise UserError(f"{path / 'stimuli.parquet'}: image_id must be ascending and unique; {again(path)}")
        return cls(path, images, table, metadata)

    @property
    def images(self) -> np.ndarray:
        """The pictures. Raises UserError where the user does not hold them."""
        if self.pictures is None:
            raise UserError(
                f"{self.path}: holds no pictures, only their table; get the dataset's pictures and run again"
            )
        return self.pictures

    @property
    def ids(self) -> np.ndarray:
        return self.table["image_id"].to_numpy(np.int64)

    @property
    def captions(self) -> list[list[str] | None]:
        """Captions of each image, None where no one wrote any."""
        return [None if texts is None else list(texts) for texts in self.table["captions"]]

    @property
    def flags(self) -> pd.Series:
        """Why the scores of an image are to be read with care, by image_id; "" for all others."""
        texts = self.table[FLAG].fillna("") if FLAG in self.table else pd.Series("", self.table.index)
        return texts.astype(str).set_axis(self.table["image_id"])

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Row numbers of `ids` (any order, repeats allowed). Raises UserError for an id that is missing."""
        return rows_of(ids, self.ids, self.path)


def rows_of(ids: np.ndarray, table_ids: np.ndarray, path: Path) -> np.ndarray:
    """Positions of `ids` in the ascending `table_ids`; UserError names `path` and the first id it lacks."""
    ids = np.asarray(ids, np.int64)
    rows = np.minimum(np.searchsorted(table_ids, ids), len(table_ids) - 1)
    missing = ids[table_ids[rows] != ids]
    if len(missing):
        raise UserError(f"{path}: lacks image_id {missing[0]} ({len(missing)} of {len(ids)} ids are missing)")
    return rows


def save_stimuli(
    path: str | Path, images: np.ndarray | Iterable[np.ndarray] | None, table: pd.DataFrame, metadata: dict
) -> None:
    """Write stimuli; `images` is an array or an iterator of uint8 (n, height, width, 3) blocks in table order.

    It is None where the user does not hold the pictures: the table alone says which images there are.
    """
    with atomic_directory(path) as directory:
        if images is None:
            metadata = metadata | {PICTURES: False}
        else:
            _write_images(directory / "images.npy", [images] if isinstance(images, np.ndarray) else images, len(table))
        table.to_parquet(directory / "stimuli.parquet", index=False)
        write_json(directory / "metadata.json", metadata)
        Stimuli.open(directory)


def _write_images(path: Path, blocks: Iterable[np.ndarray], count: int) -> None:
    target, row = None, 0
    for block in blocks:
        if target is None:
            target = ArrayWriter(path, np.uint8, (count, *block.shape[1:]))
        target.write(block)
        row += len(block)
    if target is None or row != count:
        raise ValueError(f"{row} images for {count} table rows")
    target.close()
