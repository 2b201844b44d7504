"""Which image each NSD trial showed, according to three files of the experiment, and the subject's responses.

In the files, trials, sessions, runs, images (73KID) and positions in the order of presentation (10KID) count from 1.
The functions below return trials and images (image_id = 73KID - 1) counted from 0, and sessions and runs counted from 1
as in file names.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.datasets.matlab import read_matlab
from fmri2img.datasets.own_files import renew
from fmri2img.errors import UserError
from fmri2img.integrity import ABSENT
from fmri2img.reading import readable

RESPONSE_COLUMNS = ["SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID", "ISOLD", "ISCORRECT", "RT"]
BEHAVIOUR = RESPONSE_COLUMNS[6:]  # missing where the record was lost
VARIABLES = ("masterordering", "subjectim", "sharedix", "stimpattern")  # of nsd_expdesign.mat
PRESENTATIONS = 3  # planned for every image


@dataclass(frozen=True)
class Design:
    """Contents of nsd_expdesign.mat, all int64 and 0-based.

    order (trials,): position in `images` of the image that each planned trial shows, the same for all subjects; images
    (subjects, positions): image_id; shared (images,): image_id of the images that all subjects see, ascending;
    session_trials (sessions,): planned trials of each session.
    """

    order: np.ndarray
    images: np.ndarray
    shared: np.ndarray
    session_trials: np.ndarray


def read_design(path: str | Path) -> Design:
    """Read nsd_expdesign.mat.

    Raises UserError when it is damaged, lacks a variable, has a variable of another shape or does not count from 1.
    """
    # MATLAB's arrays are at least 2-D, and double or unsigned: cast before anything is subtracted.
    order, images, shared, pattern = (
        _whole_numbers(path, name, values) for name, values in read_matlab(path, VARIABLES, renew(path), ABSENT).items()
    )
    if images.ndim != 2 or pattern.ndim != 3 or not (order.size and images.size and shared.size):
        raise UserError(
            f"{path}: masterordering, subjectim, sharedix and stimpattern of shapes {order.shape}, {images.shape}, "
            f"{shared.shape} and {pattern.shape} are not NSD's; {renew(path)}"
        )
    if min(order.min(), images.min(), shared.min()) < 1 or order.max() > images.shape[1]:
        raise UserError(f"{path}: masterordering, subjectim and sharedix must count from 1; {renew(path)}")
    return Design(order.ravel() - 1, images - 1, np.sort(shared.ravel() - 1), pattern.sum(axis=(1, 2)))


def _whole_numbers(path: str | Path, name: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "buif":
        raise UserError(f"{path}: variable {name} is {values.dtype}, not numbers; {renew(path)}")
    with np.errstate(invalid="ignore"):
        return values.astype(np.int64)


def read_trials(responses: str | Path, design: str | Path, stimulus_info: str | Path, subject: str) -> pd.DataFrame:
    """All trials of a subject, in recording order.

    responses: responses.tsv; design: nsd_expdesign.mat; stimulus_info: nsd_stim_info_merged.csv; subject: "subj01", or
    the name of another subject that the other two files describe under the number in its responses' column SUBJECT.
    Columns: trial, image_id (0-based), session, run (1-based), repeat (earlier presentations of that image to this
    subject: 0, 1, 2), shared; and behaviour as nullable floats: is_old, is_correct, response_time_ms (milliseconds).
    Raises UserError naming file and trial when the three files disagree about an image.
    """
    table = _read_responses(responses)
    n_trials, number = len(table), _number(responses, table, subject)
    plan = read_design(design)
    if not 1 <= number <= len(plan.images) or n_trials > len(plan.order):
        raise UserError(
            f"{design}: plans {len(plan.order)} trials for {len(plan.images)} subjects, but {responses} holds "
            f"{n_trials} trials of {subject}; take both files from the same release"
        )
    place = plan.order[:n_trials]
    ids = table["73KID"].to_numpy() - 1
    _agree(responses, "10KID - 1", table["10KID"].to_numpy() - 1, design, place)
    _agree(responses, "image_id", ids, design, plan.images[number - 1, place])
    planned, repeats = _read_plan(stimulus_info, number, n_trials)
    _agree(responses, "image_id", ids, stimulus_info, planned)
    earlier = pd.Series(ids).groupby(ids).cumcount().to_numpy()
    _agree(responses, "repeat", earlier, stimulus_info, repeats)
    return pd.DataFrame(
        {
            "trial": np.arange(n_trials),
            "session": table["SESSION"],
            "run": table["RUN"],
            "image_id": ids,
            "repeat": earlier,
            "shared": np.isin(ids, plan.shared),
            "is_old": table["ISOLD"],
            "is_correct": table["ISCORRECT"],
            "response_time_ms": table["RT"],
        }
    )


def subject_number(responses: str | Path, subject: str) -> int:
    """The number, from 1, under which the other files describe a subject. Raises UserError as `read_trials`."""
    return _number(responses, _read_responses(responses), subject)


def _number(path: str | Path, table: pd.DataFrame, subject: str) -> int:
    """The subject's number, which NSD's own names state too."""
    numbers = table["SUBJECT"].unique()
    named = re.fullmatch(r"subj(\d\d)", subject)
    if len(numbers) != 1 or (named and numbers[0] != int(named[1])):
        held = ", ".join(map(str, numbers))
        raise UserError(f"{path}: column SUBJECT says {held or 'nothing'}, not {subject}; {renew(path)}")
    return int(numbers[0])


def _read_responses(path: str | Path) -> pd.DataFrame:
    with readable(path, "a responses.tsv", renew(path), ABSENT):
        table = pd.read_csv(path, sep="\t", usecols=RESPONSE_COLUMNS)
        table = table.astype(dict.fromkeys(RESPONSE_COLUMNS[:6], np.int64) | dict.fromkeys(BEHAVIOUR, float))
    when = table[["SESSION", "RUN", "TRIAL"]].to_numpy()
    steps = np.diff(when, axis=0)
    first_change = np.take_along_axis(steps, (steps != 0).argmax(axis=1)[:, None], axis=1).ravel()
    if (first_change <= 0).any() or when[:, 0].min(initial=1) != 1 or (steps[:, 0] > 1).any():
        raise UserError(f"{path}: trials are not in the order of SESSION, RUN, TRIAL, or some are missing; restore it")
    return table


def _read_plan(path: str | Path, number: int, n_trials: int) -> tuple[np.ndarray, np.ndarray]:
    """image_id and repeat of each of the first `n_trials` trials according to the csv, -1 where it plans none."""
    columns = [f"subject{number}_rep{k}" for k in range(PRESENTATIONS)]
    with readable(path, "an nsd_stim_info_merged.csv", renew(path), ABSENT):
        table = pd.read_csv(path, usecols=["nsdId", *columns]).astype(np.int64)
    ids, repeats = np.full(n_trials, -1), np.full(n_trials, -1)
    for repeat, column in enumerate(columns):
        trial = table[column].to_numpy() - 1
        # 0 means never planned; subjects with fewer than 40 sessions never did the last of the planned trials.
        done = (trial >= 0) & (trial < n_trials)
        ids[trial[done]], repeats[trial[done]] = table["nsdId"].to_numpy()[done], repeat
    return ids, repeats


def _agree(file: str | Path, what: str, values: np.ndarray, other: str | Path, others: np.ndarray) -> None:
    differ = np.flatnonzero(values != others)
    if len(differ):
        trial = differ[0]
        raise UserError(
            f"{file}: trial {trial + 1} has {what} {values[trial]}, but {other} says {others[trial]} "
            f"({len(differ)} trials differ); take all files from the same release"
        )
