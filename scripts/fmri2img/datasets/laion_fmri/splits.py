"""LAION-fMRI's published splits: read from the authors' JSON files, and compared with what they published.

Each of the twelve splits exists in several pools. In the pool of a subject its 5,833 images outside of the OOD set are
divided, in the pool `shared` the 1,121 of them that all subjects saw; `ood` trains on the whole pool and tests on the
371 OOD images. What is outside of the pool is not used. Most shared images are tested on in some subjects' pools and
trained on in others, so a study in the subjects' pools has a split for each subject (`Split.subjects`).

published_splits.csv has the SHA-256 of every published split, by what it says and not by its bytes (`fingerprint`), so
that a copy that was formatted or packed in another way is recognised. Those that the authors replaced have a reason in
the column `replaced`: five random splits of each subject had duplicates of an image on both sides until 2026-09-28 (the
authors keep them in archive/splits/random-v1.zip), and in May 2026 all random splits were others.
"""

import csv
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.tables import read_json
from fmri2img.datasets.laion_fmri import layout
from fmri2img.datasets.laion_fmri.names import is_ood, seen_by
from fmri2img.datasets.own_files import renew
from fmri2img.errors import UserError

REPOSITORY = "https://github.com/ViCCo-Group/LAION-fMRI"


@dataclass(frozen=True)
class PublishedSplit:
    """Names of the images of one split in one pool."""

    train: list[str]
    test: list[str]


def fingerprint(train: list[str], test: list[str]) -> str:
    """SHA-256 of two sorted lists of names: the training names, a blank line, the test names, each with a line end."""
    text = "".join(f"{name}\n" for name in [*sorted(train), "", *sorted(test)])
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def published() -> dict[str, tuple[str, str, str]]:
    """SHA-256 -> pool, split, and why it was replaced ("" for those that are published now)."""
    with open(Path(__file__).with_name("published_splits.csv"), encoding="utf-8", newline="") as file:
        return {row["sha256"]: (row["pool"], row["split"], row["replaced"]) for row in csv.DictReader(file)}


def read_split(path: str | Path, pool: str, name: str, pinned: bool) -> PublishedSplit:
    """One split file. pinned: whether it must be the published one.

    Raises UserError when the file is damaged, is of another pool or split, has an image on both sides, was replaced by
    the authors, or is not known.
    """
    path = Path(path)
    record = read_json(path, renew(path))
    try:
        (variant,) = record["variants"]
        found = PublishedSplit(list(variant["train_ids"]), list(variant["test_ids"]))
        counts, named = (record["n_train"], record["n_test"]), record["name"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a split of LAION-fMRI ({error!r}); {renew(path)}") from None
    both = sorted(set(found.train) & set(found.test))
    if both:
        raise UserError(f"{path}: {both[0]} is among the training and the test images; {renew(path)}")
    if named != name or counts != (len(set(found.train)), len(set(found.test))) or not found.test:
        what = f"{len(found.train)} training and {len(found.test)} test images of split {named}"
        raise UserError(f"{path}: has {what}, expected {counts[0]} and {counts[1]} of {name}; {renew(path)}")
    if pinned:
        _check_published(path, pool, name, found)
    return found


def _check_published(path: Path, pool: str, name: str, found: PublishedSplit) -> None:
    sha256 = fingerprint(found.train, found.test)
    of_pool, of_name, replaced = published().get(sha256, ("", "", ""))
    if replaced:
        raise UserError(
            f"{path.resolve()}: is split {of_name} of {of_pool} before the authors replaced it ({replaced}); delete "
            f"it, so that the current one is downloaded, or take it from {REPOSITORY}"
        )
    if (of_pool, of_name) != (pool, name):
        is_what = f"split {of_name} of {of_pool}" if of_name else f"not a split that the authors published ({sha256})"
        raise UserError(f"{path}: is {is_what}, expected {name} of {pool}; take it from {REPOSITORY}")


def split_of(name: str, pools: dict[str, PublishedSplit], image_ids: dict[str, int], pool: str) -> Split:
    """The Split of a study.

    pools: subject -> its split, or the one of layout.SHARED for all; image_ids: name -> image_id, of all images; pool:
    "subject" or "shared". Raises UserError when a split names an unknown image, or leaves one of its pool out.
    """
    names = sorted(image_ids)
    regular = [one for one in names if not is_ood(one)]
    made = {}
    for owner, found in pools.items():
        shown = seen_by(names, owner)
        expected = set(seen_by(regular, owner))
        listed = {one for one in (*found.train, *found.test) if not is_ood(one)}
        if listed != expected:
            first = min(listed ^ expected)
            raise UserError(
                f"split {name} of {owner}: {'lacks' if first in expected else 'has'} image {first} "
                f"({len(listed ^ expected)} of its images do not fit {layout.METADATA}); take both from one release"
            )
        used = {*found.train, *found.test}
        unused = [image_ids[one] for one in (names if owner == layout.SHARED else shown) if one not in used]
        where = "the images that all subjects saw" if owner == layout.SHARED else f"the images of {owner}"
        described = f"test: {len(found.test)} images of {name}, as published for {where}"
        made[owner] = Split(name, described, {name: sorted(image_ids[one] for one in found.test)}, sorted(unused))
    if pool == layout.SHARED:
        return made[layout.SHARED]
    return Split.for_subjects(name, f"test: the images of {name}, as published for each subject", made)


def written(name: str, pool: str, splitter: str, parameters: dict, train: list[str], test: list[str]) -> str:
    """The text of a split file as the authors write it."""
    record = {
        "name": name,
        "pool": pool,
        "splitter": splitter,
        "params": parameters,
        "n_train": len(train),
        "n_test": len(test),
        "variants": [{"variant_id": 0, "train_ids": train, "test_ids": test}],
    }
    return json.dumps(record, indent=2) + "\n"
