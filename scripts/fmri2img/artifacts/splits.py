"""Splits: files that list the images held out for testing, with a hash of the lists.

    {"name": "shared1000", "description": ..., "max_sessions": null or int, "unused_ids": [...],
     "test_sets": [{"name": "shared1000", "image_ids": [...]}, ...], "sha256": hash of all test ids, ascending}

A split has one or more named test sets; an image belongs to at most one of them. Trials of test images are never
used for training. Trials of `unused_ids` (images held out of training, but outside the test sets) and of sessions after
`max_sessions` are used neither for training nor for testing.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.errors import UserError
from fmri2img.integrity import again

TRAIN, UNUSED = "train", "unused"  # the parts of a recording that are not test sets


def hash_ids(ids: np.ndarray) -> str:
    """SHA-256 of the ascending ids as little-endian int64."""
    return hashlib.sha256(np.sort(np.asarray(ids)).astype("<i8").tobytes()).hexdigest()


@dataclass(frozen=True)
class Split:
    """A split of the images of a dataset; all ids are 0-based image_id.

    test_sets: name -> its images. Raises UserError when there is no test set, when a test set has the name of another
    part of a recording, or when an image belongs to two test sets.
    """

    name: str
    description: str
    test_sets: dict[str, list[int]]
    unused_ids: list[int] = field(default_factory=list)
    max_sessions: int | None = None

    def __post_init__(self) -> None:
        if not self.test_sets:
            raise UserError(f"split {self.name}: has no test set; name one")
        for name in (TRAIN, UNUSED):
            if name in self.test_sets:
                raise UserError(f"split {self.name}: a test set cannot be named '{name}'; rename it")
        owners: dict[int, str] = {}
        for name, ids in self.test_sets.items():
            for image_id in ids:
                if image_id in owners:
                    raise UserError(
                        f"split {self.name}: image_id {image_id} is in test sets {owners[image_id]} and {name}; keep "
                        "it in one of them"
                    )
                owners[image_id] = name

    @property
    def test_ids(self) -> list[int]:
        """Images of all test sets, ascending."""
        return sorted(image_id for ids in self.test_sets.values() for image_id in ids)

    @property
    def sha256(self) -> str:
        return hash_ids(np.array(self.test_ids))

    @property
    def identity(self) -> dict:
        """The split's entries in the metadata of recordings and predictions."""
        return {"split": self.name, "split_sha256": self.sha256, "test_sets": list(self.test_sets)}

    def save(self, path: str | Path) -> None:
        # A list, because the order of the test sets matters and the keys of our JSON files are sorted.
        test_sets = [{"name": name, "image_ids": ids} for name, ids in self.test_sets.items()]
        write_json(
            path,
            {
                "name": self.name,
                "description": self.description,
                "test_sets": test_sets,
                "unused_ids": self.unused_ids,
                "max_sessions": self.max_sessions,
                "sha256": self.sha256,
            },
        )

    @classmethod
    def open(cls, path: str | Path) -> "Split":
        """Raises UserError when the file is not a split, or its id lists do not match its hash."""
        record = read_json(path)
        try:
            stored = record.pop("sha256")
            test_sets = {one["name"]: one["image_ids"] for one in record.pop("test_sets")}
            split = cls(**record, test_sets=test_sets)
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: not a split file ({error}); {again(path)}") from None
        if split.sha256 != stored:
            raise UserError(f"{path}: its test images do not match its sha256; {again(path)}")
        return split

    def assign(self, image_ids: np.ndarray, sessions: np.ndarray) -> np.ndarray:
        """The part of each trial: 'train', 'unused' or the name of a test set.

        image_ids and sessions (1-based): int (trials,). Returns an object array (trials,) of str.
        """
        parts = np.full(len(image_ids), TRAIN, dtype=object)
        parts[np.isin(image_ids, self.unused_ids)] = UNUSED
        for name, ids in self.test_sets.items():
            parts[np.isin(image_ids, ids)] = name
        if self.max_sessions is not None:
            parts[np.asarray(sessions) > self.max_sessions] = UNUSED
        return parts
