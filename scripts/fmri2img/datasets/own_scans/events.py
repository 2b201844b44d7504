"""Tables of events -> the trials of a subject, in the order of its betas.

GLMsingle gives one beta for each onset of its design matrix, in chronological order over the runs that it was given.
So trials are the events with a picture, sorted by session, run and onset.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.datasets.own_scans import layout
from fmri2img.datasets.own_scans.settings import Settings
from fmri2img.datasets.own_scans.tables import read_columns
from fmri2img.errors import UserError

SPELLINGS = {"session": ("session", "ses", "session_id"), "run": ("run", "run_id")}  # of columns
LISTED = 5  # values that a message shows


def read_events(root: Path, subject: str, settings: Settings) -> pd.DataFrame:
    """All events of a subject in chronological order.

    Columns: session and run (from 1), session_label and run_label (of paths or columns, or ""), onset (seconds), value
    (of the column of pictures), blank (whether it says that there was no picture), file. Raises UserError for the first
    table that is wrong.
    """
    files = layout.find(root, settings.events.files, subject)
    if not files:
        raise UserError(layout.nothing_found(root, settings.events.files, subject, "events"))
    tables = [read_table(found, settings) for found in files]
    return in_order(pd.concat(tables, ignore_index=True))


def read_table(found: layout.Found, settings: Settings) -> pd.DataFrame:
    """Events of one file in its order. Raises UserError when the table is wrong."""
    path, table = found.path, read_columns(found.path)
    picture = settings.events.picture
    for name, remedy in (
        ("onset", "add it, in seconds from the start of the run"),
        (picture, "set own_scans.events.picture"),
    ):
        if name not in table:
            columns = ", ".join(table.columns) or "none"
            raise UserError(f"{path}: has no column '{name}' (columns: {columns}); {remedy}")
    onset = pd.to_numeric(table["onset"], errors="coerce")
    wrong = np.flatnonzero(~np.isfinite(onset))
    if len(wrong):
        value = table["onset"].iloc[wrong[0]]
        raise UserError(
            f"{path}: line {wrong[0] + 2}: onset '{value}' is not a number of seconds ({len(wrong)} events have such "
            "onsets); correct it, or remove the line"
        )
    labels = {
        "session_label": _labels(table, "session", found.session),
        "run_label": _labels(table, "run", found.run),
    }
    blanks = {blank.casefold() for blank in settings.events.blanks}
    value = table[picture]
    return pd.DataFrame(
        {**labels, "onset": onset, "value": value, "blank": value.str.casefold().isin(blanks), "file": str(path)}
    )


def _labels(table: pd.DataFrame, name: str, label: str) -> pd.Series:
    """What says the session or run of each event: the path, else a column, else nothing."""
    column = next((spelling for spelling in SPELLINGS[name] if spelling in table), None)
    if label or column is None:
        return pd.Series([label] * len(table), index=table.index, dtype=object)
    return table[column].astype(object)


def in_order(events: pd.DataFrame) -> pd.DataFrame:
    """Events by session, run and onset, sessions and runs numbered from 1 in the order of their labels."""
    session = _numbers(events["session_label"])
    run = np.zeros(len(events), np.int64)
    for number in np.unique(session):
        run[session == number] = _numbers(events.loc[session == number, "run_label"])
    events = events.assign(session=session, run=run)
    return events.sort_values(["session", "run", "onset"], kind="stable", ignore_index=True)


def _numbers(labels: pd.Series) -> np.ndarray:
    places = {label: number for number, label in enumerate(sorted(labels.unique(), key=layout.natural), start=1)}
    return labels.map(places).to_numpy(np.int64)


def problems_of_order(events: pd.DataFrame) -> Iterator[str]:
    """What is wrong with the events of a subject, given in chronological order: two at one time, runs in one table."""
    pictures = events[~events["blank"]]
    twice = pictures[pictures.duplicated(["session", "run", "onset"], keep=False)]
    if len(twice):
        first, files = twice.iloc[0], twice["file"].unique()
        shown = ", ".join(files[:2])
        reason = (
            "give each run its own label in own_scans.events.files or a column `run`"
            if len(files) > 1
            else "keep one of them"
        )
        yield (
            f"{shown}: {len(twice)} events with a picture begin at the same time as another one of session "
            f"{first['session']}, run {first['run']} (the first at {first['onset']:g} s), so their order is not known; "
            f"{reason}"
        )


def files_of_betas(root: Path, subject: str, settings: Settings, events: pd.DataFrame) -> list[tuple[Path, np.ndarray]]:
    """A subject's files of betas in order, each with the rows of `events` (bool) that it should have a beta of.

    Raises UserError when there is no file, or a session (or run) has none.
    """
    pattern = settings.betas.files
    found = layout.find(root, pattern, subject)
    if not found:
        raise UserError(layout.nothing_found(root, pattern, subject, "betas"))
    modelled = np.ones(len(events), bool) if settings.betas.of == "events" else ~events["blank"].to_numpy()
    parts = [name for name in ("session", "run") if f"{{{name}}}" in pattern]
    if not parts:
        return [(_only([one.path for one in found]), modelled)]
    files = []
    for numbers, own in events.groupby(parts, sort=True):
        labels = {name: str(own[f"{name}_label"].iloc[0]) for name in parts}
        fits = [one for one in found if all(same_label(getattr(one, name), labels[name]) for name in parts)]
        if not fits and len(found) == 1 and events.groupby(parts).ngroups == 1:
            fits = found
        if not fits:
            where = ", ".join(f"{name} {labels[name] or number}" for name, number in zip(parts, numbers, strict=True))
            raise UserError(
                f"{root / pattern.replace('{subject}', subject)}: no such file of {where}, which the events have; put "
                "it there, or remove the events of what was not analysed"
            )
        rows = np.zeros(len(events), bool)
        rows[own.index] = True
        files.append((_only([one.path for one in fits]), rows & modelled))
    used = {path for path, _ in files}
    unused = [one.path for one in found if one.path not in used]
    if unused:
        raise UserError(f"{unused[0]}: there are no events of these betas; add their table, or move the file elsewhere")
    return files


def _only(paths: list[Path]) -> Path:
    """The file of a session or of all. Raises UserError when there are several."""
    if len(paths) > 1:
        raise UserError(
            f"{paths[0]}: and {paths[1].name} are both betas of the same trials ({len(paths)} files); name one form of "
            "paths in own_scans.betas.files"
        )
    return paths[0]


def same_label(one: str, other: str) -> bool:
    """Whether two labels mean the same session or run: they are equal, or have the same numbers (ses-01, session1)."""
    numbers = [list(map(int, re.findall(r"\d+", label))) for label in (one, other)]
    return one == other or (numbers[0] == numbers[1] != [])


def counts(events: pd.DataFrame) -> str:
    """Events in words: how many have a picture, in how many runs, and what the others have."""
    blank = events.loc[events["blank"], "value"].value_counts()
    others = ", ".join(f"{number} '{value}'" for value, number in blank.head(LISTED).items())
    runs = len(events[["session", "run"]].drop_duplicates())
    return f"{int((~events['blank']).sum())} events with a picture in {runs} runs" + (
        f" (and {others})" if others else ""
    )
