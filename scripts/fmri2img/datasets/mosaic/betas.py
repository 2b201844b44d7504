"""A subject's HDF5 file: single-trial betas by stimulus, and noise ceilings.

    attributes      subjectID (sub-01), dataset_name (NaturalScenesDataset), preprocessing_pipeline, beta_pipeline, ...
    betas           a group with an array of each trial, float (91282,), of the name
                        sub-01_NSD_stimulus-000000000285_phase-train_rep-0
                    (subject, dataset, the stimulus's file name without its suffix, its part in the dataset's own split,
                    which presentation of it, from 0), with attributes presented_stimulus_filename (with the suffix),
                    phase, repetition, and nan_indices: elements that are, or were, NaN or infinite
    noiseceilings   arrays sub-01_NSD_phase-test_n-1_noiseceiling (91282,), in percent of the variance of one trial
                    (n-1) or of the mean over a stimulus's trials (n-avg); subjects without repeats have none
    nan_indices_all the union of all nan_indices, in no order

From the code that wrote the files (create_hdf5_pkl.py); the form of a published file was not seen. An older description
says that elements in nan_indices were filled with the mean of their neighbours, so they are left out whether they are
NaN or not. Betas are z-scored by the mean and the deviation (n - 1) of training trials: of a session, or of what
GLMsingle was run on at once. Deeprecon's parts, and all artificial images, are z-scored by their own trials instead.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from fmri2img.archives import check_hdf5
from fmri2img.datasets.mosaic import layout
from fmri2img.errors import UserError
from fmri2img.integrity import ABSENT
from fmri2img.reading import readable
from fmri2img.settings.base import nearest

HDF5 = "a complete HDF5 file of MOSAIC"
REPLACE = "replace it, or delete it to download it again"
BLOCK = 64  # trials read at once
HIGHEST = 99.9  # percent, above which a noise ceiling is cut: 100 would be a voxel without noise
PARTS = ("test", "train")  # whose noise ceilings are used, the first that a file has


class SubjectFile:
    """An opened file, of which everything is read when it is used."""

    def __init__(self, file: h5py.File, path: Path, subject: str, grayordinates: int) -> None:
        """Raises UserError when the file is of another subject or layout."""
        self.file, self.path, self.subject, self.grayordinates = file, path, subject, grayordinates
        with _reading(path):
            self._check_subject()

    def _check_subject(self) -> None:
        betas = self.file.get("betas")
        if not isinstance(betas, h5py.Group) or not len(betas):
            merged = [name for name in self.file if name in layout.SUBJECTS]
            what = (
                f"holds {len(merged)} subjects in one file ({merged[0]}, ...)"
                if merged
                else f"has no group 'betas' with an array of each trial, only {_listed(self.file)}"
            )
            raise UserError(f"{self.path}: {what}; use MOSAIC's file of one subject, {self.subject}.hdf5")
        constituent = layout.constituent_of(self.subject)
        one = layout.CONSTITUENTS[constituent]
        expected = {
            "subjectID": {self.subject.partition("_")[0]},
            "dataset_name": {constituent, one.folder, one.also_called or constituent},
        }
        for name, wanted in expected.items():
            found = _text(self.file.attrs.get(name, ""))
            if found and found not in wanted:
                raise UserError(
                    f"{self.path}: its attribute {name} is '{found}', which is not {self.subject}; {REPLACE}"
                )

    def check_length(self) -> None:
        """Raise UserError when the betas of a trial are not one for each element of the parcellation."""
        with _reading(self.path):
            self._beta(next(iter(self.file["betas"])))

    @cached_property
    def trials(self) -> pd.DataFrame:
        """key (in `betas`), stimulus (file name), phase (train or test), repeat; sorted by key. Raises UserError."""
        with _reading(self.path):
            rows = self._trials(self.file["betas"])
        return pd.DataFrame(rows, columns=["key", "stimulus", "phase", "repeat"])

    def _trials(self, betas: h5py.Group) -> list[tuple[str, str, str, int]]:
        rows = []
        for key in sorted(betas):
            found = layout.KEY.fullmatch(key)
            if found is None or found["subject"] != self.subject:
                example = f"{self.subject}_stimulus-<name>_phase-<train or test>_rep-<number>"
                raise UserError(f"{self.path}: betas of '{key}', which is not of the form {example}; {REPLACE}")
            attributes = betas[key].attrs
            for name, stated in (("phase", found["phase"]), ("repetition", found["rep"])):
                if name in attributes and _text(attributes[name]) != stated:
                    raise UserError(
                        f"{self.path}: the attribute {name} of '{key}' is {_text(attributes[name])}; {REPLACE}"
                    )
            # An older file may lack the name with its suffix; the stem is enough where stimuli have different ones.
            stimulus = _text(attributes.get("presented_stimulus_filename", "")) or found["stem"]
            rows.append((key, stimulus, found["phase"], int(found["rep"])))
        return rows

    def filled(self) -> np.ndarray:
        """Elements that some trial names as missing, whether they are NaN or were filled: bool (grayordinates,)."""
        missing = np.zeros(self.grayordinates, bool)
        with _reading(self.path):
            for key in self.trials["key"]:
                named = np.asarray(self.file["betas"][key].attrs.get("nan_indices", ()), np.int64).reshape(-1)
                if len(named) and not 0 <= named.min() <= named.max() < self.grayordinates:
                    raise UserError(f"{self.path}: nan_indices of '{key}' are not within its betas; {REPLACE}")
                missing[named] = True
        return missing

    def blocks(self, columns: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Row numbers in `trials` (n,), and betas float64 (n, columns), in the order in which the file stores them."""
        with _reading(self.path):
            betas = self.file["betas"]
            offsets = [betas[key].id.get_offset() or 0 for key in self.trials["key"]]
        order = np.argsort(offsets, kind="stable")
        for start in range(0, len(order), BLOCK):
            rows = order[start : start + BLOCK]
            with _reading(self.path):
                # Whole arrays are read and then selected from: h5py is slow with long lists of elements.
                block = np.stack([self._beta(self.trials["key"][row])[columns] for row in rows])
            yield rows, block

    def _beta(self, key: str) -> np.ndarray:
        return self._values(self.file["betas"][key], f"betas '{key}'")

    def _values(self, array: h5py.Dataset | h5py.Group, what: str) -> np.ndarray:
        shape = getattr(array, "shape", None)
        if shape != (self.grayordinates,) or array.dtype.kind != "f":
            raise UserError(
                f"{self.path}: {what} has shape {shape}, not ({self.grayordinates},) floats: one for each element of "
                f"the parcellation; {REPLACE}"
            )
        check_hdf5(self.path, array)
        return array[()].astype(np.float64)

    def ncsnr(self, columns: np.ndarray) -> tuple[np.ndarray, str] | None:
        """Noise ceiling signal-to-noise ratio float32 (columns,) and whose, or None where the file has no ceilings.

        A ceiling is 100 ncsnr^2 / (ncsnr^2 + 1) percent for a single trial. It is 0 where it is NaN.
        """
        with _reading(self.path):
            return self._ncsnr(columns)

    def _ncsnr(self, columns: np.ndarray) -> tuple[np.ndarray, str] | None:
        ceilings = self.file.get("noiseceilings", {})
        for part in PARTS:
            name = f"{self.subject}_phase-{part}_n-1_noiseceiling"
            if name in ceilings:
                percent = np.nan_to_num(self._values(ceilings[name], f"noise ceiling '{name}'")[columns])
                if percent.min() < 0 or percent.max() > 100:
                    raise UserError(
                        f"{self.path}: noise ceiling '{name}' has values from {percent.min():g} to {percent.max():g}, "
                        f"which are not percent; {REPLACE}"
                    )
                percent = np.minimum(percent, HIGHEST)
                return np.sqrt(percent / (100 - percent)).astype(np.float32), f"published, of the {part} stimuli"
        if len(ceilings):
            wanted = f"{self.subject}_phase-{PARTS[0]}_n-1_noiseceiling"
            raise UserError(
                f"{self.path}: noise ceilings of a single trial are missing; {nearest(wanted, ceilings)}; {REPLACE}"
            )
        return None


def _listed(group: h5py.Group) -> str:
    return ", ".join(sorted(group)[:5]) or "nothing"


def _text(value: object) -> str:
    """An attribute as text: HDF5 has strings, bytes, and numbers of several types."""
    value = value.item() if isinstance(value, np.ndarray | np.generic) and np.size(value) == 1 else value
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _reading(path: Path) -> AbstractContextManager:
    """Only around what reads the file: what fails in writing is another file's fault."""
    return readable(path, HDF5, REPLACE, ABSENT)


@contextmanager
def open_subject(path: str | Path, subject: str, grayordinates: int) -> Iterator[SubjectFile]:
    """Open a subject's file. grayordinates: of the parcellation. Raises UserError when it is damaged or another's."""
    path = Path(path)
    with _reading(path):
        file = h5py.File(path, "r")
    with file:
        yield SubjectFile(file, path, subject, grayordinates)
