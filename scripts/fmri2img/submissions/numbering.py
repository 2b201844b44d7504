"""Which image a number of a submission means: in a list of ids, in names of files, or in keys of captions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fmri2img.artifacts.test_images import TestImages
from fmri2img.errors import UserError

IMAGE_ID = "image_id"
NEARLY_ALL = 0.99  # share of the numbers that must fit before another numbering is suspected


@dataclass(frozen=True)
class Numbering:
    """How a prediction numbers images.

    name: image_id, or one that the dataset's own tables have; tables: name -> number -> image_id of each of the latter;
    aliases: other names for image_id.
    """

    name: str = IMAGE_ID
    tables: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    aliases: Sequence[str] = ()

    @classmethod
    def of(cls, name: str, test: TestImages, aliases: Sequence[str], where: str) -> "Numbering":
        """The numbering of this name. where: as the message calls its record. Raises UserError for an unknown one."""
        tables = {other: {of[i]: i for i in test.ids.tolist()} for other, of in test.numberings.items()}
        if name not in (IMAGE_ID, *aliases, *tables):
            known = ", ".join((IMAGE_ID, *tables))
            raise UserError(f"{where}: key 'numbering': '{name}' is not a numbering of the images; use one of {known}")
        return cls(name, tables, aliases)

    def column(self, names: Iterable[str]) -> str | None:
        """The column of a table that numbers images, if one of these is such a column."""
        return next((name for name in (IMAGE_ID, *self.aliases, self.name, *self.tables) if name in list(names)), None)

    def fitting(self, numbers: np.ndarray, ids: np.ndarray) -> str | None:
        """The numbering in which these are the numbers of just these images, this one before others; None if none."""
        wanted, given = set(ids.tolist()), numbers.tolist()
        if len(set(given)) < len(given):
            return None
        by_image_id = {i: i for i in given}
        tables = {self.name: self.tables.get(self.name, by_image_id), IMAGE_ID: by_image_id, **self.tables}
        return next((name for name, table in tables.items() if {table.get(n) for n in given} == wanted), None)

    def ids_of(self, numbers: np.ndarray, where: str, column: str | None = None) -> np.ndarray:
        """image_id of each number, int64. column: the numbering that a table names itself.

        Raises UserError for a number of none of the test images, in any numbering but image_id itself.
        """
        table = self.tables.get(column or self.name)
        if table is None:
            return np.asarray(numbers, np.int64)
        outside = [number for number in numbers.tolist() if number not in table]
        if outside:
            what = f"{outside[0]} is not the {column or self.name} of a test image ({len(outside)} are not)"
            raise UserError(f"{where}: {what}; leave them out, or correct `numbering`")
        return np.array([table[number] for number in numbers.tolist()], np.int64)


BY_IMAGE_ID = Numbering()


def are_rows(numbers: np.ndarray, n: int) -> bool:
    """Whether numbers are those of `n` rows in any order, counted from 0 or from 1."""
    return len(numbers) == n and any(np.array_equal(np.sort(numbers), np.arange(n) + first) for first in (0, 1))


def meant(numbers: np.ndarray, test: TestImages) -> str | None:
    """What numbers that are not image_id of test images may be, and what to write then; None if nothing fits."""
    readings = list(_readings(np.unique(numbers), test))
    return " or ".join(readings) or None


def _readings(unique: np.ndarray, test: TestImages) -> Iterator[str]:
    if are_rows(unique, len(test.ids)):
        yield (
            "numbers of rows: write `ids: ascending` if the rows are the test images by ascending image_id, else name "
            "a list of the image_id of each row under `ids`"
        )
    as_they_are = np.isin(unique, test.ids).mean()

    def fits(numbers: np.ndarray) -> bool:
        share = np.isin(unique, numbers).mean()
        return bool(share > NEARLY_ALL and share > as_they_are)

    names = [name for name, of in test.numberings.items() if fits(np.array([of[i] for i in test.ids.tolist()]))]
    for name in names:
        yield f"numbers of {name}: add `numbering: {name}` to the prediction"
    if not names and fits(test.ids + 1):
        yield "image_id counted from 1: subtract 1 from each"
