"""Names of GOD's pictures: ImageNet's, as n01443537_22563 (a synset and a number).

In the recordings a picture is the number 1443537.022563: the synset before the point, the picture's number with six
digits after it. Imagery trials have only a class, 1443537. The .npz releases list pictures by position; their lists
are in alphabetical order of the file names, as are ours.
"""

import csv
import re
from functools import cache
from pathlib import Path

from fmri2img.datasets.god import layout
from fmri2img.errors import UserError

DIGITS = 1_000_000


def name_of(stimulus_id: float) -> str:
    """Name of the picture with this stimulus_id of the recordings."""
    synset = int(stimulus_id)
    return f"n{synset:08d}_{round((stimulus_id - synset) * DIGITS)}"


def id_of(name: str) -> float:
    """stimulus_id of a picture's name."""
    synset, number = name.removeprefix("n").split("_")
    return int(synset) + int(number) / DIGITS


def synset_of(name: str) -> str | None:
    """The class of a picture, e.g. n01443537; None for a picture without a name of ImageNet's form."""
    found = re.match(r"n\d{8}(?=_)", name)
    return found[0] if found else None


@cache
def classes() -> dict[str, str]:
    """Synset -> WordNet's words for it, of GOD's 150 training and 50 test classes."""
    with open(Path(__file__).with_name("classes.csv"), encoding="utf-8", newline="") as file:
        return {row["synset"]: row["name"] for row in csv.DictReader(file)}


def categories(name: str) -> list[str]:
    """What a picture shows: the words for its class, or the synset where the class is not one of GOD's."""
    synset = synset_of(name)
    if synset is None:
        return []
    return [word.strip() for word in classes().get(synset, synset).split(",")]


def listed(root: Path, part: str) -> list[str] | None:
    """Names of a part's pictures ("training", "test") in the order of the .npz releases, if a list is there.

    A row has a file name (n01443537_22563.JPEG) or the number of the recordings; a row with only a synset gives a name
    that is made of synset and position. Raises UserError when a row has neither.
    """
    path = next((root / name for name in layout.LISTS[part] if (root / name).is_file()), None)
    if path is None:
        return None
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    names = [_name_in(row, position) for position, row in enumerate(rows)]
    if None in names:
        raise UserError(f"{path}: row {names.index(None) + 1} names no picture of ImageNet; replace the file")
    if len(set(names)) < len(names):
        raise UserError(f"{path}: names a picture twice; replace the file")
    return [name for name in names if name is not None]


def _name_in(row: list[str], position: int) -> str | None:
    text = ",".join(row)
    if found := re.search(r"n(\d{8})_(\d+)", text):
        return f"n{found[1]}_{int(found[2])}"
    if found := re.search(r"(?<!\d)(\d{7,8})(?:\.(\d{1,6}))?(?!\d)", text):
        # A number that lost its trailing zeros: 1677366.01818 is 1677366.018180.
        return f"n{int(found[1]):08d}_{int(found[2].ljust(6, '0')) if found[2] else position}"
    return None


def check_disjoint(training: list[str], test: list[str], where: str) -> None:
    """Raise UserError when a picture, or the class of a test picture, is in the training set too."""
    trained = {synset_of(name) or name for name in training}
    shared = sorted({synset_of(name) or name for name in test} & trained)
    if shared:
        raise UserError(
            f"{where}: class {shared[0]} is in the training and in the test set ({len(shared)} classes are); this is "
            "not GOD's split, in which no test class is trained on; replace the files"
        )
