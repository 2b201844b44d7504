"""One subject's responses, from either release of GOD, in one form.

`bdpy` (KamitaniLab): an HDF5 file with `dataset` (samples, columns; older files: `dataSet`) and `metadata` (older:
`metaData`) with `key`, `description` and `value` (keys, columns). A row of `value` marks columns: ROI_V1 has a 1 where
a column is a voxel of V1, DataType a 1 at the column that holds the data type (1 training, 2 test by perception, 3 test
by imagery), voxel_x the position of each voxel in millimetres; other columns have NaN. Rows come in any order.

`npz` (SelfSuperReconst, MinD-Vis): arr_0 training (trials, voxels), arr_1 single test trials, arr_2 test trials
averaged over the repeats, arr_3 the training picture of each trial of arr_0, arr_4 the test picture of each trial of
arr_1, then one mask bool (voxels,) per region. Runs are not recorded.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from fmri2img.archives import check_hdf5
from fmri2img.datasets.god import layout, names
from fmri2img.datasets.numpy_files import ABSENT, REPLACE, Archive, checked_numbers, open_archive, whole_numbers
from fmri2img.errors import UserError
from fmri2img.reading import readable

HDF5 = "a complete HDF5 file"

TRAINING, PERCEPTION, IMAGERY = 1, 2, 3  # DataType
STIMULUS = ("stimulus_id", "Label", "label")  # the column of stimuli, by release


@dataclass(frozen=True)
class Responses:
    """Training and perception trials of one subject, in the order of the file.

    betas: float (trials, voxels); test: bool (trials,); names: str (trials,), pictures; runs: int (trials,), numbered
    from 1, training before test, or None where the release has none; voxels: x, y, z and a boolean column per region;
    positions: int (trials,), 0-based positions in the file; left_out: what else the file holds.
    """

    betas: np.ndarray
    test: np.ndarray
    names: np.ndarray
    runs: np.ndarray | None
    voxels: pd.DataFrame
    positions: np.ndarray
    left_out: dict[str, int]


@dataclass(frozen=True)
class Pictures:
    """Names of the training and of the test pictures, in the order in which they have an image_id."""

    training: list[str]
    test: list[str]


class BData:
    """An opened file in bdpy's format; columns are read by the metadata that marks them."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        """Raises UserError when the file lacks a part, or its parts do not fit each other."""
        self.path = path
        self.data = self._part(file, "dataset", "dataSet")
        metadata = self._part(file, "metadata", "metaData")
        if not isinstance(self.data, h5py.Dataset) or not isinstance(metadata, h5py.Group):
            raise UserError(f"{path}: 'dataset' must be an array and 'metadata' a group; {self._remedy}")
        for name in ("key", "value"):
            if name not in metadata:
                raise UserError(f"{path}: has no 'metadata/{name}'; {self._remedy}")
        for part in (self.data, metadata["key"], metadata["value"]):
            check_hdf5(path, part)
        self.keys = [key.decode("utf-8") if isinstance(key, bytes) else str(key) for key in metadata["key"][()]]
        self.values = np.asarray(metadata["value"][()], np.float64)
        if self.data.ndim != 2 or self.values.shape != (len(self.keys), self.data.shape[1]):
            raise UserError(
                f"{path}: metadata/value has shape {self.values.shape}, but there are {len(self.keys)} keys, and "
                f"dataset has shape {self.data.shape} (samples, columns); {self._remedy}"
            )

    @property
    def _remedy(self) -> str:
        return "it is not a complete file in bdpy's format; download it again"

    def _part(self, file: h5py.File, *spellings: str) -> h5py.Dataset | h5py.Group:
        for name in spellings:
            if name in file:
                return file[name]
        raise UserError(f"{self.path}: has no '{spellings[0]}'; {self._remedy}")

    def row(self, key: str) -> np.ndarray:
        """The row of metadata with this key, float64 (columns,). Raises UserError when there is none."""
        if key not in self.keys:
            regions = ", ".join(sorted(self.keys))
            raise UserError(f"{self.path}: metadata has no key '{key}', only {regions}; download the file again")
        return self.values[self.keys.index(key)]

    def marked(self, key: str) -> np.ndarray:
        """Numbers of the columns that a key marks with 1."""
        return np.flatnonzero(self.row(key) == 1)

    def column(self, *keys: str) -> np.ndarray:
        """The one column that the first of these keys in the file marks, float64 (samples,). Raises UserError."""
        key = next((key for key in keys if key in self.keys), keys[0])
        found = self.marked(key)
        if len(found) != 1:
            raise UserError(f"{self.path}: metadata '{key}' marks {len(found)} columns, not one; download it again")
        return self.read(found)[:, 0]

    def read(self, columns: np.ndarray) -> np.ndarray:
        """Columns (ascending) of the data, float64 (samples, columns)."""
        # One contiguous range is read and then selected from: h5py is slow with long lists of columns.
        first, last = columns[0], columns[-1] + 1
        return np.asarray(self.data[:, first:last], np.float64)[:, columns - first]


def open_bdata(path: str | Path) -> h5py.File:
    """Open an HDF5 file. Raises UserError when it is missing, damaged or truncated."""
    with readable(path, HDF5, REPLACE, ABSENT):
        return h5py.File(path, "r")


def read_bdpy(path: str | Path, region: str) -> Responses:
    """Responses of the voxels of `region`, and which of them belong to the other regions. Raises UserError."""
    path = Path(path)
    with readable(path, HDF5, REPLACE, ABSENT), open_bdata(path) as file:
        bdata = BData(file, path)
        kind, stimulus = _trials(bdata)
        used = np.flatnonzero(np.isin(kind, (TRAINING, PERCEPTION)))
        inside = _regions(bdata)
        columns = np.flatnonzero(inside[region])
        if not len(columns):
            raise UserError(f"{path}: no voxel is in region {region}; choose another god.voxels or replace the file")
        betas = checked_numbers(bdata.read(columns)[used], (None, None), f"{path}: voxels of {region}")
        runs = _runs(bdata, kind)
        voxels = pd.DataFrame(_positions(bdata, columns) | {name: mask[columns] for name, mask in inside.items()})
    names_ = np.array([names.name_of(number) for number in stimulus[used]], object)
    left_out = {"imagery": int((kind == IMAGERY).sum()), "other": int((~np.isin(kind, (1, 2, 3))).sum())}
    return Responses(
        betas, kind[used] == PERCEPTION, names_, runs if runs is None else runs[used], voxels, used, left_out
    )


def pictures_of_bdpy(paths: list[str | Path]) -> Pictures:
    """The pictures that the subjects of these files saw, in alphabetical order of their names. Raises UserError."""
    seen: dict[int, set[str]] = {TRAINING: set(), PERCEPTION: set()}
    for path in paths:
        with open_bdata(path) as file:
            kind, stimulus = _trials(BData(file, Path(path)))
        for part, found in seen.items():
            found |= {names.name_of(number) for number in np.unique(stimulus[kind == part])}
    return Pictures(sorted(seen[TRAINING]), sorted(seen[PERCEPTION]))


def _trials(bdata: BData) -> tuple[np.ndarray, np.ndarray]:
    """DataType and stimulus of every sample; checks that the stimuli of seen pictures are pictures."""
    kind, stimulus = bdata.column("DataType"), bdata.column(*STIMULUS)
    seen = np.isin(kind, (TRAINING, PERCEPTION))
    for part, name in ((TRAINING, "training (DataType 1)"), (PERCEPTION, "perception test (DataType 2)")):
        if not (kind == part).any():
            raise UserError(f"{bdata.path}: holds no {name} sample; download it again")
    whole = np.isfinite(stimulus[seen]) & (stimulus[seen] != np.round(stimulus[seen]))
    # A picture's six digits do not fit into float32, which rounds 1443537.022563 to a multiple of 0.125.
    if not whole.all() or bdata.data.dtype.itemsize < 8:
        raise UserError(
            f"{bdata.path}: column of stimuli: {'stored as ' + str(bdata.data.dtype) if whole.all() else 'some'} ids "
            "have lost the digits that number the picture (1443537.022563); use a file with 64-bit numbers"
        )
    return kind, stimulus


def _regions(bdata: BData) -> dict[str, np.ndarray]:
    """Region -> bool (columns,). Unions that the file does not have are made; other missing regions are empty."""
    found = {name: bdata.row(f"ROI_{name}") == 1 for name in layout.REGIONS if f"ROI_{name}" in bdata.keys}
    if not found:
        raise UserError(f"{bdata.path}: metadata has no region (keys ROI_V1, ROI_VC, ...); download it again")
    nowhere = np.zeros(len(bdata.values[0]), bool)
    for name in layout.REGIONS:
        if name not in found and name in layout.UNIONS:
            found[name] = np.any([found.get(part, nowhere) for part in layout.UNIONS[name]], axis=0)
        elif name not in found:
            print(f"{bdata.path}: has no region {name}")
    return {name: found.get(name, nowhere) for name in layout.REGIONS}


def _positions(bdata: BData, columns: np.ndarray) -> dict[str, np.ndarray]:
    """Voxel positions as whole steps of the grid, from 0; their number in the file where it has no positions."""
    axes = {}
    for axis in "xyz":
        key = f"voxel_{axis}"
        millimetres = bdata.row(key)[columns] if key in bdata.keys else np.full(len(columns), np.nan)
        if not np.isfinite(millimetres).all():
            return numbered(len(columns))
        levels = np.unique(np.round(millimetres, 3))
        step = np.diff(levels).min() if len(levels) > 1 else 1.0
        axes[axis] = np.round((millimetres - levels[0]) / step).astype(np.int64)
    return axes


def numbered(voxels: int) -> dict[str, np.ndarray]:
    """x, y and z of voxels without known positions: their number along x."""
    nothing = np.zeros(voxels, np.int64)
    return {"x": np.arange(voxels), "y": nothing, "z": nothing}


def _runs(bdata: BData, kind: np.ndarray) -> np.ndarray | None:
    """Number of each sample's run, from 1: training runs in their order, then those of the perception test."""
    if "Run" not in bdata.keys:
        return None
    raw, runs, last = bdata.column("Run"), np.zeros(len(kind), np.int64), 0
    for part in (TRAINING, PERCEPTION):
        numbers, place = np.unique(raw[kind == part], return_inverse=True)
        runs[kind == part] = place + 1 + last
        last += len(numbers)
    return runs


def read_npz(path: str | Path, region: str, pictures: Pictures) -> Responses:
    """Responses of the voxels of `region`. pictures: those of images_256.npz. Raises UserError."""
    path = Path(path)
    with open_archive(path) as arrays:
        training = arrays.numbers("arr_0", (None, None))
        n_voxels = training.shape[1]
        shown = _picture_numbers(arrays, "arr_3", len(training), len(pictures.training))
        tests, tested = _tests(arrays, n_voxels, len(pictures.test))
        inside = {name: _mask(arrays, name, n_voxels) for name in layout.REGIONS if name in arrays}
    for name in layout.REGIONS:
        parts = [inside[part] for part in layout.UNIONS.get(name, ()) if part in inside]
        inside.setdefault(name, np.any(parts, axis=0) if parts else np.zeros(n_voxels, bool))
    chosen = inside[region]
    if not chosen.any():
        raise UserError(f"{path}: no voxel is in region {region}; choose another god.voxels or replace the file")
    betas = np.concatenate([training[:, chosen], tests[:, chosen]])
    test = np.arange(len(betas)) >= len(training)
    names_ = np.array([pictures.training[k] for k in shown] + [pictures.test[k] for k in tested], object)
    columns = {name: inside[name][chosen] for name in layout.REGIONS}
    voxels = pd.DataFrame(numbered(int(chosen.sum())) | columns)
    return Responses(betas, test, names_, None, voxels, np.arange(len(betas)), {})


def _picture_numbers(arrays: Archive, name: str, trials: int, pictures: int) -> np.ndarray:
    """The picture of each trial, int64 (trials,), 0-based."""
    what = f"{arrays.path}: array '{name}'"
    numbers = whole_numbers(arrays[name], what)
    if len(numbers) != trials:
        raise UserError(f"{what}: numbers {len(numbers)} pictures for {trials} trials; replace the file")
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < pictures):
        raise UserError(
            f"{what}: numbers from {numbers.min()} to {numbers.max()} do not fit {pictures} pictures, counted from 0; "
            "replace it, or the file of the pictures"
        )
    return numbers


def _tests(arrays: Archive, n_voxels: int, pictures: int) -> tuple[np.ndarray, np.ndarray]:
    """Single test trials and their pictures; the averaged ones where there are no others."""
    if "arr_1" not in arrays:
        averaged = arrays.numbers("arr_2", (pictures, n_voxels))
        return averaged, np.arange(pictures)
    single = arrays.numbers("arr_1", (None, n_voxels))
    if "arr_4" in arrays:
        return single, _picture_numbers(arrays, "arr_4", len(single), pictures)
    # Without a list the trials may be grouped by picture, as MinD-Vis assumes; the averages show whether they are.
    if len(single) % pictures == 0:
        grouped = np.repeat(np.arange(pictures), len(single) // pictures)
        means = single.reshape(pictures, -1, n_voxels).mean(axis=1)
        averaged = arrays.numbers("arr_2", (pictures, n_voxels))
        finite = np.isfinite(averaged).all(axis=0) & np.isfinite(means).all(axis=0)
        means, averaged = means[:, finite], averaged[:, finite]
        if np.allclose(means, averaged, rtol=1e-3, atol=1e-3 * averaged.std()):
            return single, grouped
    raise UserError(f"{arrays.path}: has no array 'arr_4', the picture of each single test trial (arr_1); replace it")


def _mask(arrays: Archive, name: str, n_voxels: int) -> np.ndarray:
    mask = arrays[name]
    if mask.shape != (n_voxels,) or not np.isin(mask, (0, 1)).all():
        raise UserError(
            f"{arrays.path}: region '{name}' must be a mask of {n_voxels} voxels, but is {mask.shape} {mask.dtype}; "
            "replace the file"
        )
    return mask.astype(bool)
