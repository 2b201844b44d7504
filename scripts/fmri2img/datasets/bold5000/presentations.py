"""BOLD5000's lists: which picture was shown in each trial, and which pictures were shown repeatedly."""

import re
from pathlib import Path

import pandas as pd

from fmri2img.datasets.bold5000 import layout
from fmri2img.datasets.own_files import visible
from fmri2img.errors import UserError


def read_trials(stimuli: Path, subject: str) -> pd.DataFrame:
    """Trials of a subject in the order of recording: session, run (from 1 within a session) and name.

    stimuli: folder BOLD5000_Stimuli. Names lose the prefix rep_, which marks a repeated presentation. Raises UserError
    when there is no list, or a list is empty or has no number.
    """
    folders = layout.session_folders(stimuli, subject)
    where = stimuli / layout.LISTS / subject
    if not folders:
        raise UserError(f"{where}: no presentation lists ({subject}_sess01/...); unpack BOLD5000_Stimuli.zip there")
    rows: list[tuple[int, int, str]] = []
    for session, folder in folders.items():
        runs = {_run(path): path for path in visible(folder.glob("*.txt"))}
        if not runs:
            raise UserError(f"{folder}: no list of a run (*_run01.txt); unpack BOLD5000_Stimuli.zip again")
        for run, path in sorted(runs.items()):
            rows += [(session, run, name) for name in read_names(path)]
    return pd.DataFrame(rows, columns=["session", "run", "name"])


def _run(path: Path) -> int:
    found = re.search(r"run[_-]?(\d+)", path.stem)
    if found is None:
        raise UserError(f"{path}: its name has no number of a run (run01); rename it, or move it to another folder")
    return int(found[1])


def read_names(path: Path) -> list[str]:
    """Names of pictures, one a line, without rep_. Raises UserError when there is none, or the file is not text."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); replace it") from None
    names = [line.strip().removeprefix("rep_") for line in lines if line.strip()]
    if not names:
        raise UserError(f"{path}: lists no picture; replace it")
    return names


def repeated_names(stimuli: Path) -> list[str]:
    """Names of the pictures that were shown repeatedly. Raises UserError when their list is missing."""
    path = next((stimuli / name for name in layout.REPEATED if (stimuli / name).is_file()), None)
    if path is None:
        raise UserError(f"{stimuli / layout.REPEATED[0]}: no such file; unpack BOLD5000_Stimuli.zip there")
    return read_names(path)


def all_names(stimuli: Path) -> list[str]:
    """Names of the pictures of all subjects whose lists are there, in alphabetical order: image_id is the position."""
    subjects = [name for name in layout.SUBJECTS if layout.session_folders(stimuli, name)]
    return sorted({name for subject in subjects for name in read_trials(stimuli, subject)["name"]})
