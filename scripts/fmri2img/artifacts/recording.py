"""Recording: one subject's z-scored single-trial betas inside a mask, with tables of its trials and voxels.

betas.npy       float32 (trials, voxels), z-scored, all finite: voxels with NaN or an infinity are left out
trials.parquet  trial (0-based position in the experiment), session and run (1-based; session 0: a further experiment
                outside the numbered sessions, which is only tested), image_id (0-based; -1 where no picture was shown,
                as in the resting state, which has no split and no test sets), repeat (0, 1, 2, ...: earlier
                presentations of that image to this subject), part (train, unused, or the name of a test set of the
                split); a dataset may add columns
voxels.parquet  x, y, z (0-based; the number along x where positions are not known), ncsnr (noise ceiling
                signal-to-noise ratio, finite; 0 where no signal is known), one boolean column per region of interest;
                in the dataset's order of voxels
metadata.json   subject, split, its hash and the names of its test sets; a dataset adds how its betas were made and the
                checksums of the source files, how many voxels it left out and why (voxels_left_out), and in which
                further files values were missing (not_finite: file -> voxels)
"""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd

from fmri2img.artifacts.arrays import BLOCK_BYTES, check_finite, new_array, read_array, read_rows
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.splits import TRAIN, UNUSED
from fmri2img.artifacts.tables import read_json, read_table, write_json
from fmri2img.errors import UserError
from fmri2img.integrity import again

NO_IMAGE = -1  # image_id of a trial without a picture
TRIAL_COLUMNS = {"trial": "iu", "session": "iu", "run": "iu", "image_id": "iu", "repeat": "iu", "part": "OUT"}
MEANS = 256  # images whose trials are averaged at a time
VOXEL_COLUMNS = {"x": "iu", "y": "iu", "z": "iu", "ncsnr": "f"}


@dataclass(frozen=True)
class Recording:
    """An opened recording; `betas` is a read-only memory map of shape (trials, voxels), float32."""

    path: Path
    betas: np.ndarray
    trials: pd.DataFrame
    voxels: pd.DataFrame
    metadata: dict

    @classmethod
    def open(cls, path: str | Path) -> "Recording":
        """Open and validate.

        Raises UserError naming the file that is missing or does not fit the others, a trial's part that the split
        does not have, or an image that is in a test set and in another part.
        """
        path = Path(path)
        trials = read_table(path / "trials.parquet", TRIAL_COLUMNS)
        voxels = read_table(path / "voxels.parquet", VOXEL_COLUMNS)
        betas = read_array(path / "betas.npy")
        if betas.shape != (len(trials), len(voxels)) or betas.dtype != np.float32:
            raise UserError(
                f"{path / 'betas.npy'}: shape {betas.shape} {betas.dtype} does not match {len(trials)} trials x "
                f"{len(voxels)} voxels float32; {again(path)}"
            )
        recording = cls(path, betas, trials, voxels, read_json(path / "metadata.json"))
        recording._check_parts()
        return recording

    def _check_parts(self) -> None:
        file = self.path / "trials.parquet"
        if not isinstance(self.metadata.get("test_sets"), list):
            raise UserError(f"{self.path / 'metadata.json'}: key 'test_sets' is missing; {again(self.path)}")
        unknown = set(self.trials["part"].unique()) - {TRAIN, UNUSED, *self.test_sets}
        if unknown:
            raise UserError(
                f"{file}: '{min(map(str, unknown))}' is not a part of split {self.metadata.get('split')} ({TRAIN}, "
                f"{UNUSED}, {', '.join(self.test_sets)}); {again(self.path)}"
            )
        used = self.trials.loc[self.trials["part"] != UNUSED, ["image_id", "part"]].drop_duplicates()
        leaked = used.loc[used["image_id"].duplicated(), "image_id"]
        if len(leaked):
            first = leaked.min()
            parts = used.loc[used["image_id"] == first, "part"]
            raise UserError(
                f"{file}: image_id {first} has {' and '.join(sorted(parts))} trials ({leaked.nunique()} images are in "
                f"two parts); {again(self.path)}"
            )

    @property
    def test_sets(self) -> list[str]:
        """Names of the test sets, in the split's order."""
        names: list[str] = self.metadata["test_sets"]
        return names

    @property
    def n_sessions(self) -> int:
        return int(self.trials["session"].max())

    @property
    def session_trials(self) -> int:
        """Trials of the longest of the numbered sessions, test images counted."""
        session = self.trials["session"]
        return int(session[session > 0].value_counts().max())

    def training_rows(self, sessions: int | float) -> np.ndarray:
        """Row numbers of the training trials of the first `sessions` sessions, in recording order.

        A share of a session means that share of its trials, counted from its start and including trials of test images.
        """
        if sessions > self.n_sessions:
            subject = self.metadata["subject"]
            raise UserError(f"sessions: {sessions} training sessions requested, but {subject} has {self.n_sessions}")
        session = self.trials["session"].to_numpy()
        whole = int(sessions)
        begun = np.flatnonzero(session == whole + 1)
        used = session <= whole
        used[begun[: round((sessions - whole) * len(begun))]] = True
        return np.flatnonzero((self.trials["part"] == TRAIN).to_numpy() & used)

    def training_ids(self, sessions: int | float) -> np.ndarray:
        """image_id of the images of the training trials: int64, unique, ascending."""
        return np.unique(self.trials["image_id"].to_numpy(np.int64)[self.training_rows(sessions)])

    def test_ids(self, test_set: str) -> np.ndarray:
        """image_id of the images of a test set that the subject saw: int64, unique, ascending."""
        return np.unique(self.trials["image_id"].to_numpy(np.int64)[self.test_rows(test_set)])

    def test_rows(self, test_set: str) -> np.ndarray:
        """Row numbers of all trials of a test set: those of every session, whatever the training budget.

        Raises UserError for a test set that the split does not have.
        """
        if test_set not in self.test_sets:
            raise UserError(f"{self.path}: has no test set '{test_set}'; available: {', '.join(self.test_sets)}")
        return np.flatnonzero(self.trials["part"] == test_set)

    def averaged(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean over the repeats of each image among `rows`.

        Returns (ids, betas): ids int64 (images,) ascending, betas float32 (images, voxels).
        """
        ids, group = np.unique(self.trials["image_id"].to_numpy()[rows], return_inverse=True)
        order, repeats = np.argsort(group, kind="stable"), np.bincount(group)
        means = np.empty((len(ids), self.betas.shape[1]), np.float32)
        for part in range(0, len(ids), MEANS):
            first, last = repeats[:part].sum(), repeats[: part + MEANS].sum()
            betas = read_rows(self.betas, rows[order[first:last]]).astype(np.float64)
            starts = np.concatenate([[0], np.cumsum(repeats[part : part + MEANS])[:-1]])
            means[part : part + MEANS] = np.add.reduceat(betas, starts) / repeats[part : part + MEANS, None]
        return ids.astype(np.int64), means

    @staticmethod
    def writer(path: str | Path) -> "RecordingWriter":
        """Context manager that builds a recording piece by piece, with bounded memory."""
        return RecordingWriter(Path(path))


class RecordingWriter:
    """Fill `betas(n_trials, n_voxels)` (a writable memory map), then `finish(trials, voxels, metadata)`."""

    def __init__(self, path: Path) -> None:
        self._context = atomic_directory(path)

    def __enter__(self) -> "RecordingWriter":
        self._directory = self._context.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._context.__exit__(kind, error, traceback)

    def betas(self, n_trials: int, n_voxels: int) -> np.memmap:
        """A writable float32 (n_trials, n_voxels) memory map. Raises OSError when the disk has too little space."""
        return new_array(self._directory / "betas.npy", np.float32, (n_trials, n_voxels))

    def finish(self, trials: pd.DataFrame, voxels: pd.DataFrame, metadata: dict) -> None:
        """Write the tables and metadata, and check the recording by opening it.

        Raises UserError as `Recording.open`, and when betas or ncsnr are NaN or infinite.
        """
        trials.to_parquet(self._directory / "trials.parquet", index=False)
        voxels.to_parquet(self._directory / "voxels.parquet", index=False)
        write_json(self._directory / "metadata.json", metadata)
        _check_finite(Recording.open(self._directory))


def _check_finite(recording: Recording) -> None:
    name, betas = f"recording of {recording.metadata.get('subject')}", recording.betas
    step = max(1, BLOCK_BYTES // max(1, betas[:1].nbytes))
    for start in range(0, len(betas), step):
        rows = np.arange(start, min(start + step, len(betas)))
        check_finite(read_rows(betas, rows), f"{name}: the betas of trials {start + 1} to {start + len(rows)}")
    check_finite(recording.voxels["ncsnr"].to_numpy(), f"{name}: the noise ceilings (ncsnr) of its voxels")
