"""Recording: one subject's z-scored single-trial betas inside a mask, with its trials and voxels.

betas.npy       float32 (trials, voxels), z-scored
trials.parquet  trial (0-based position in the experiment), session and run (1-based), image_id (0-based), repeat
                (0, 1, 2: earlier presentations of that image to this subject), shared, split (train|test|unused)
voxels.parquet  x, y, z (0-based, in C order over (X, Y, Z) as in every published NSD array), ncsnr, one boolean
                column per region of interest
metadata.json   subject, beta version, normalisation, split and its hash, checksums of the source files
"""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd

from fmri2img.artifacts.arrays import new_array, read_array
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.tables import read_json, read_table, write_json
from fmri2img.errors import UserError

TRIAL_COLUMNS = {
    "trial": "iu", "session": "iu", "run": "iu", "image_id": "iu", "repeat": "iu", "shared": "b", "split": "OUT",
}  # fmt: skip
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
        """Open and validate. Raises UserError naming the file that is missing or does not fit the others, or an image
        that is both trained and tested on."""
        path = Path(path)
        trials = read_table(path / "trials.parquet", TRIAL_COLUMNS)
        voxels = read_table(path / "voxels.parquet", VOXEL_COLUMNS)
        betas = read_array(path / "betas.npy")
        if betas.shape != (len(trials), len(voxels)) or betas.dtype != np.float32:
            raise UserError(
                f"{path / 'betas.npy'}: shape {betas.shape} {betas.dtype} does not match {len(trials)} trials x "
                f"{len(voxels)} voxels float32; delete {path} and rerun the preparation"
            )
        shown = {part: trials.loc[trials["split"] == part, "image_id"] for part in ("train", "test")}
        leaked = np.intersect1d(shown["train"], shown["test"])
        if len(leaked):
            raise UserError(
                f"{path / 'trials.parquet'}: image_id {leaked[0]} has train and test trials ({len(leaked)} images have)"
                f"; delete {path} and rerun the preparation"
            )
        return cls(path, betas, trials, voxels, read_json(path / "metadata.json"))

    @property
    def n_sessions(self) -> int:
        return int(self.trials["session"].max())

    def training_rows(self, sessions: int | float) -> np.ndarray:
        """Row numbers of the training trials of the first `sessions` sessions, in the order they were recorded.

        A share of a session is that share of its trials from its beginning, shown test images included.
        """
        if sessions > self.n_sessions:
            subject = self.metadata["subject"]
            raise UserError(f"sessions: {sessions} training sessions asked of {subject}, which has {self.n_sessions}")
        session = self.trials["session"].to_numpy()
        whole = int(sessions)
        begun = np.flatnonzero(session == whole + 1)
        used = session <= whole
        used[begun[: round((sessions - whole) * len(begun))]] = True
        return np.flatnonzero((self.trials["split"] == "train").to_numpy() & used)

    def training_ids(self, sessions: int | float) -> np.ndarray:
        """image_id of the images of those trials: int64, unique, ascending."""
        return np.unique(self.trials["image_id"].to_numpy(np.int64)[self.training_rows(sessions)])

    def test_ids(self) -> np.ndarray:
        """image_id of the test images: int64, unique, ascending."""
        return np.unique(self.trials["image_id"].to_numpy(np.int64)[self.test_rows()])

    def test_rows(self) -> np.ndarray:
        """Row numbers of all test trials (every session, whatever the training budget)."""
        return np.flatnonzero(self.trials["split"] == "test")

    def averaged(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean over the repeats of each image among `rows`.

        Returns (ids, betas): ids int64 (images,) ascending, betas float32 (images, voxels).
        """
        ids, group = np.unique(self.trials["image_id"].to_numpy()[rows], return_inverse=True)
        sums = np.zeros((len(ids), self.betas.shape[1]), np.float64)
        np.add.at(sums, group, self.betas[rows])
        return ids.astype(np.int64), (sums / np.bincount(group)[:, None]).astype(np.float32)

    @staticmethod
    def writer(path: str | Path) -> "RecordingWriter":
        """Context manager that builds a recording piece by piece, at bounded memory."""
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
        """A writable float32 (n_trials, n_voxels) memory map. Raises OSError when the disk has no room for it."""
        return new_array(self._directory / "betas.npy", np.float32, (n_trials, n_voxels))

    def finish(self, trials: pd.DataFrame, voxels: pd.DataFrame, metadata: dict) -> None:
        """Write the tables and metadata, and check the whole by opening it."""
        trials.to_parquet(self._directory / "trials.parquet", index=False)
        voxels.to_parquet(self._directory / "voxels.parquet", index=False)
        write_json(self._directory / "metadata.json", metadata)
        Recording.open(self._directory)
