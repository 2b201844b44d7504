"""Which pictures are tested: those of lists, those that were shown repeatedly, or a random share."""

from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.datasets.own_scans.pictures import Folder
from fmri2img.datasets.own_scans.settings import HELD_OUT, HeldOut
from fmri2img.datasets.own_scans.tables import read_text
from fmri2img.errors import UserError


def held_out(root: Path, rule: HeldOut, folder: Folder, seen: dict[str, pd.Series]) -> dict[str, list[str]]:
    """Test set -> names of its pictures, in order, of those that a subject saw.

    seen: subject -> the picture of each trial. Raises UserError when a list names what is not there, a picture is in
    two test sets, or a test set would have fewer than two pictures, or the training none.
    """
    everyone = sorted(set().union(*(set(names) for names in seen.values())))
    if rule.rule == "listed":
        sets = {name: _listed(root / file, folder) for name, file in rule.lists.items()}
    elif rule.rule == "repeated":
        counts = pd.concat([names.value_counts() for names in seen.values()])
        sets = {HELD_OUT: sorted(set(counts.index[counts >= rule.repeats]))}
    else:
        shared = sorted(set.intersection(*(set(names) for names in seen.values())))
        pool = shared if len(shared) > 1 / max(rule.share, 1e-9) else everyone
        chosen = np.random.default_rng(rule.seed).permutation(len(pool))[: round(rule.share * len(pool))]
        sets = {HELD_OUT: [pool[place] for place in np.sort(chosen)]}
    sets = {name: [picture for picture in pictures if picture in set(everyone)] for name, pictures in sets.items()}
    _check(rule, sets, len(everyone))
    return sets


def _listed(path: Path, folder: Folder) -> list[str]:
    lines = [line.split("\t")[0].split(",")[0].strip() for line in read_text(path).splitlines() if line.strip()]
    if lines and not folder.meant(lines[0]):
        lines = lines[1:]  # the head of a table
    wrong = [line for line in lines if len(folder.meant(line)) != 1]
    if wrong:
        raise UserError(f"{path}: {folder.path} {folder.wrong(wrong[0])} ({len(wrong)} of {len(lines)} lines)")
    return sorted({folder.named(line) for line in lines})


def _check(rule: HeldOut, sets: dict[str, list[str]], pictures: int) -> None:
    remedy = {
        "listed": "correct the file in own_scans.held_out.lists",
        "repeated": "change own_scans.held_out.repeats, or use another rule",
        "random": "change own_scans.held_out.share",
    }[rule.rule]
    for name, own in sets.items():
        if len(own) < 2:
            raise UserError(f"test set {name}: {len(own)} of its pictures were shown, and 2 are needed; {remedy}")
    every = [picture for own in sets.values() for picture in own]
    if len(every) == pictures:
        raise UserError(f"all {pictures} pictures are tested, so none is left to train on; {remedy}")
    twice = sorted({picture for picture in every if every.count(picture) > 1})
    if twice:
        raise UserError(f"{twice[0]} is in two test sets ({len(twice)} pictures are); {remedy}")
