"""Gaps of a study: what failed, so that everything else is scored, and reports show the gap and its reason.

A run under --keep-going in which jobs fail ends with a second one, of the same command, in which the files that cannot
be made are left out of what rules read. It finds them in a file that the environment variable VARIABLE names; any other
run has no gaps, so whatever it completes is remade without them.
"""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fmri2img.artifacts.atomic import atomic_file
from fmri2img.artifacts.cells import Cell

VARIABLE = "FMRI2IMG_GAPS"
ALL_CELLS = "all"  # what a method lacks that has no score
AXES = {"subject": "{}", "sessions": "{} sessions", "seed": "seed {}", "test_set": "test set {}"}  # of cells, in texts


@dataclass(frozen=True)
class Failure:
    """A job that failed. job: its rule and wildcards; reason: one line; log: the file that has more, "" for none."""

    rule: str
    job: str
    reason: str
    log: str

    def __str__(self) -> str:
        return f"{self.job}: {self.reason}" + (f" ({self.log})" if self.log else "")


@dataclass
class Gaps:
    """missing: file -> numbers, in `failures`, of the failures for which it cannot be made."""

    failures: list[Failure] = field(default_factory=list)
    missing: dict[str, list[int]] = field(default_factory=dict)

    @classmethod
    def of_this_run(cls) -> "Gaps":
        """The gaps that the run was started with; none in an ordinary run."""
        return cls.read(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else cls()

    @classmethod
    def read(cls, path: str | Path) -> "Gaps":
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls([Failure(**failure) for failure in record["failures"]], record["missing"])

    def save(self, path: str | Path) -> None:
        """Write the file; jobs of the run may be reading the one before."""
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def add(self, failure: Failure, files: Iterable[str]) -> None:
        """Add a failure and the files that cannot be made for it."""
        self.failures.append(failure)
        for file in files:
            self.missing.setdefault(file, []).append(len(self.failures) - 1)

    def causes(self, files: Iterable[str]) -> list[Failure]:
        """The failures for which any of these files cannot be made."""
        return [self.failures[n] for n in sorted({n for file in files for n in self.missing.get(file, [])})]


def missing_scores(
    gaps: Gaps, cells: dict[str, list[Cell]], files: Callable[[str, Cell], list[str]]
) -> list[dict[str, str | int]]:
    """What the scores lack, as reports show it: one record for each method and reason.

    cells: method -> all its cells; files: what must be there for one of them to be scored. Keys: method; what (of its
    cells; ALL_CELLS for every one); n_missing, n_scored (for any reason) and n_cells; rule, and n_jobs of it that
    failed for this reason; job, reason and log of the first of them.
    """
    records: list[dict[str, str | int]] = []
    for method, of_method in cells.items():
        lost: dict[tuple[str, str], tuple[list[Failure], list[Cell]]] = {}
        n_scored = 0
        for cell in of_method:
            causes = gaps.causes(files(method, cell))
            n_scored += not causes
            for failure in causes:
                failures, found = lost.setdefault((failure.rule, failure.reason), ([], []))
                failures += [failure] if failure not in failures else []
                found += [cell] if cell not in found else []
        for failures, found in lost.values():
            counts = {"n_missing": len(found), "n_scored": n_scored, "n_cells": len(of_method), "n_jobs": len(failures)}
            records.append({"method": method, "what": described(found, of_method)} | counts | asdict(failures[0]))
    return records


def named(axis: str, value: Any) -> str:
    """A value of an axis of cells, or another wildcard, in a text: "2 sessions", "seed 0"."""
    text = AXES.get(axis, "{}").format(value)
    return text.removesuffix("s") if text == "1 sessions" else text


def described(found: list[Cell], cells: list[Cell]) -> str:
    """Which of a method's cells these are: ALL_CELLS, or the subjects, sessions, seeds and test sets that differ."""
    if len(found) == len(cells):
        return ALL_CELLS
    parts, left = [], cells
    for name in Cell._fields:
        values = list(dict.fromkeys(getattr(cell, name) for cell in found))
        if len(values) < len({getattr(cell, name) for cell in left}):
            parts.append(named(name, " and ".join(map(str, values))))
            left = [cell for cell in left if getattr(cell, name) in values]
    return ", ".join(parts) if len(left) == len(found) else f"{len(found)} of {len(cells)} predictions"
