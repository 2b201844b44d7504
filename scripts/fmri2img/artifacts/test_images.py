"""Test images of one subject, which a submission has to cover: a JSON file that is made without any betas."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.errors import UserError
from fmri2img.integrity import again


@dataclass(frozen=True)
class TestImages:
    """The images of each test set that one subject saw.

    test_sets: name -> image_id int64, ascending; numberings: other numbers that the dataset's own tables have for the
    images, name -> image_id -> number; of a dataset with several test sets, one may number the images of some alone.
    """

    subject: str
    split: str
    split_sha256: str
    test_sets: dict[str, np.ndarray]
    numberings: dict[str, dict[int, int]] = field(default_factory=dict)

    __test__ = False  # keeps pytest from collecting it as a test case

    @property
    def ids(self) -> np.ndarray:
        """Images of all test sets: int64, ascending."""
        return np.sort(np.concatenate(list(self.test_sets.values())))

    @classmethod
    def of(cls, subject: str, split: Split, image_ids: np.ndarray, sessions: np.ndarray) -> "TestImages":
        """The same images as `Recording.test_ids`. image_ids, sessions (1-based): of its trials, (trials,)."""
        own = split.of(subject)
        parts = own.assign(image_ids, sessions)
        seen = {name: np.unique(np.asarray(image_ids, np.int64)[parts == name]) for name in own.test_sets}
        return cls(subject, own.name, own.sha256, seen)

    def only(self, test_set: str) -> "TestImages":
        """The images of one test set, with the numberings that have all of them."""
        ids = self.test_sets[test_set]
        numberings = {name: of for name, of in self.numberings.items() if set(ids.tolist()) <= of.keys()}
        return replace(self, test_sets={test_set: ids}, numberings=numberings)

    def save(self, path: str | Path) -> None:
        test_sets = [{"name": name, "image_ids": ids.tolist()} for name, ids in self.test_sets.items()]
        write_json(path, asdict(self) | {"test_sets": test_sets})

    @classmethod
    def open(cls, path: str | Path) -> "TestImages":
        """Raises UserError when the file is missing or is not such a list."""
        record = read_json(path)
        try:
            test_sets = {one["name"]: np.array(one["image_ids"], np.int64) for one in record["test_sets"]}
            numberings = {
                name: {int(image_id): number for image_id, number in numbers.items()}
                for name, numbers in record["numberings"].items()
            }
            return cls(**record | {"test_sets": test_sets, "numberings": numberings})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path}: not a list of test images ({error}); {again(path)}") from None
