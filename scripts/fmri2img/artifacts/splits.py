"""Splits: files that list the images held out for testing, with a hash of the lists.

    {"name": "shared1000", "description": ..., "max_sessions": null or int, "unused_ids": [...],
     "test_sets": [{"name": "shared1000", "image_ids": [...]}, ...], "subjects": {},
     "sha256": hash of all test ids, ascending}

A split has one or more named test sets; an image belongs to at most one of them. Trials of test images are never
used for training. Trials of `unused_ids` (images held out of training, but outside the test sets) and of sessions after
`max_sessions` are used neither for training nor for testing.

A dataset may publish a split for each subject, in which an image that one subject is tested on trains another one.
`subjects` then has each subject's own lists, `Split.of` gives its own split, and the lists above are those of all
subjects together: what any of them is tested on. Recordings and predictions carry the hash of the subject's own lists,
so what is trained on several subjects refuses such a split, of which it would see test images.
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

    test_sets: name -> its images; subjects: subject -> its own split, where subjects have different ones. Raises
    UserError when there is no test set, when a test set has the name of another part of a recording, or when an image
    belongs to two test sets.
    """

    name: str
    description: str
    test_sets: dict[str, list[int]]
    unused_ids: list[int] = field(default_factory=list)
    max_sessions: int | None = None
    subjects: dict[str, "Split"] = field(default_factory=dict)

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

    @classmethod
    def for_subjects(cls, name: str, description: str, subjects: dict[str, "Split"]) -> "Split":
        """The split of subjects that have different ones: test sets of the same names, in one order."""
        tested: dict[str, set[int]] = {}
        for own in subjects.values():
            for test_set, ids in own.test_sets.items():
                tested.setdefault(test_set, set()).update(ids)
        unused = set.intersection(*(set(own.unused_ids) for own in subjects.values()))
        lists = {test_set: sorted(ids) for test_set, ids in tested.items()}
        return cls(name, description, lists, sorted(unused), subjects=subjects)

    def of(self, subject: str) -> "Split":
        """The subject's own split; this one where all subjects have the same, and for what is made for all of them."""
        return self.subjects.get(subject, self)

    @property
    def test_ids(self) -> list[int]:
        """Images of all test sets, ascending."""
        return sorted(image_id for ids in self.test_sets.values() for image_id in ids)

    @property
    def sha256(self) -> str:
        if self.subjects:
            own = "".join(f"{subject} {split.sha256}\n" for subject, split in sorted(self.subjects.items()))
            return hashlib.sha256(own.encode()).hexdigest()
        return hash_ids(np.array(self.test_ids))

    @property
    def identity(self) -> dict:
        """The split's entries in the metadata of recordings and predictions."""
        return {"split": self.name, "split_sha256": self.sha256, "test_sets": list(self.test_sets)}

    def save(self, path: str | Path) -> None:
        write_json(path, self._record())

    def _record(self) -> dict:
        return {
            "name": self.name,
            "description": self.description,
            # A list, because the order of the test sets matters and the keys of our JSON files are sorted.
            "test_sets": [{"name": name, "image_ids": ids} for name, ids in self.test_sets.items()],
            "unused_ids": self.unused_ids,
            "max_sessions": self.max_sessions,
            "subjects": {subject: own._record() for subject, own in self.subjects.items()},
            "sha256": self.sha256,
        }

    @classmethod
    def open(cls, path: str | Path) -> "Split":
        """Raises UserError when the file is not a split, or its id lists do not match its hash."""
        try:
            return cls._read(read_json(path), path)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: not a split file ({error}); {again(path)}") from None

    @classmethod
    def _read(cls, record: dict, path: str | Path) -> "Split":
        stored = record.pop("sha256")
        test_sets = {one["name"]: one["image_ids"] for one in record.pop("test_sets")}
        subjects = {subject: cls._read(own, path) for subject, own in record.pop("subjects", {}).items()}
        split = cls(**record, test_sets=test_sets, subjects=subjects)
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
