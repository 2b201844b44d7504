"""The public embeddings of all images, which need no agreement, and the list of all names, which they hold.

`task-images_desc-<model>_embeddings.h5`: embedding float16 (25052, width), image_ids (names of the images, the same in
all models' files), valid (bool). On 2026-09-28 the authors replaced the rows of 116 transparent pictures, which had
been embedded without the grey behind them.
"""

from pathlib import Path

import h5py
import numpy as np

from fmri2img.archives import check_hdf5
from fmri2img.datasets.own_files import renew
from fmri2img.errors import UserError
from fmri2img.integrity import ABSENT
from fmri2img.reading import readable

HDF5 = "a complete HDF5 file"


def read_names(path: str | Path) -> list[str]:
    """Names of all images, ascending: the place of a name is its image_id. Raises UserError."""
    names = _names(path)
    if len(set(names)) < len(names):
        raise UserError(f"{path}: image_ids names an image twice; {renew(path)}")
    return sorted(names)


def _names(path: str | Path) -> list[str]:
    with readable(path, HDF5, renew(path), ABSENT), h5py.File(path, "r") as file:
        check_hdf5(path, file["image_ids"])
        return [name.decode() if isinstance(name, bytes) else str(name) for name in file["image_ids"][:]]


def read_embeddings(path: str | Path, names: list[str]) -> np.ndarray:
    """One model's vectors of the named images, in their order: float16 (images, width).

    Raises UserError when an image is missing, or marked as not valid, and for NaN or infinities.
    """
    place = {name: row for row, name in enumerate(_names(path))}
    missing = [name for name in names if name not in place]
    if missing:
        raise UserError(f"{path}: lacks image {missing[0]} ({len(missing)} of {len(names)}); {renew(path)}")
    rows = np.array([place[name] for name in names])
    with readable(path, HDF5, renew(path), ABSENT), h5py.File(path, "r") as file:
        check_hdf5(path, file["embedding"])
        vectors, valid = file["embedding"][:], file["valid"][:].astype(bool)
    if vectors.ndim != 2 or len(vectors) != len(place) or len(valid) != len(place):
        raise UserError(f"{path}: embedding {vectors.shape} does not match {len(place)} names; {renew(path)}")
    wrong = rows[~valid[rows] | ~np.isfinite(vectors[rows]).all(axis=1)]
    if len(wrong):
        name = names[int(np.flatnonzero(rows == wrong[0])[0])]
        raise UserError(f"{path}: the embedding of {name} is not valid ({len(wrong)} are not); {renew(path)}")
    return vectors[rows].astype(np.float16)
