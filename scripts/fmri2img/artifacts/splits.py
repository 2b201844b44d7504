"""Splits: which images are held out for testing, as a file with its id list and hash.

    {"name": "shared1000", "description": ..., "max_sessions": null or int, "test_ids": [...], "unused_ids": [...],
     "sha256": hash of the sorted test ids}

Trials of `test_ids` are never trained on. Trials of `unused_ids` (shared images that are outside the test set) and of
sessions after `max_sessions` are neither trained on nor tested.
"""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.errors import UserError


def hash_ids(ids: np.ndarray) -> str:
    """SHA-256 of the ascending ids as little-endian int64."""
    return hashlib.sha256(np.sort(np.asarray(ids)).astype("<i8").tobytes()).hexdigest()


@dataclass(frozen=True)
class Split:
    """A split of the images of a dataset; ids are 0-based image_id, ascending."""

    name: str
    description: str
    test_ids: list[int]
    unused_ids: list[int] = field(default_factory=list)
    max_sessions: int | None = None

    @property
    def sha256(self) -> str:
        return hash_ids(np.array(self.test_ids))

    def save(self, path: str | Path) -> None:
        write_json(path, asdict(self) | {"sha256": self.sha256})

    @classmethod
    def open(cls, path: str | Path) -> "Split":
        """Raises UserError when the id list does not match its hash."""
        record = read_json(path)
        try:
            stored = record.pop("sha256")
            split = cls(**record)
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: not a split file ({error})") from None
        if split.sha256 != stored:
            raise UserError(f"{path}: its test_ids do not match its sha256; restore the file or rerun the splits")
        return split

    def assign(self, image_ids: np.ndarray, sessions: np.ndarray) -> np.ndarray:
        """Label each trial 'train', 'test' or 'unused'. image_ids and sessions (1-based), and the labels: (trials,)."""
        labels = np.full(len(image_ids), "train", dtype=object)
        labels[np.isin(image_ids, self.unused_ids)] = "unused"
        labels[np.isin(image_ids, self.test_ids)] = "test"
        if self.max_sessions is not None:
            labels[np.asarray(sessions) > self.max_sessions] = "unused"
        return labels
