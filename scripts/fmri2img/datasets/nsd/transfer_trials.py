"""Trials of NSD-Imagery and NSD-Synthetic: which volume of the betas belongs to which trial, picture and test set.

In the files, runs, trials and images count from 1; here volumes and images count from 0.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.datasets.matlab import read_matlab
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.layout import IMAGERY, IMAGERY_RUNS, IMAGERY_TARGETS, IMAGERY_TRIALS
from fmri2img.datasets.nsd.transfer_sets import TASKS, experiments, synthetic_id, target_id, trial_keys
from fmri2img.datasets.own_files import renew
from fmri2img.errors import UserError
from fmri2img.integrity import ABSENT
from fmri2img.reading import readable

EPOCHS = {"vision": ("",), "imagery": ("",), "attention": ("cue", "detection")}  # modelled in a trial, in order of time
ANSWERS = ["ISCORRECT", "RT"]  # missing where the subject did not answer


def imagery_volumes() -> pd.DataFrame:
    """The 720 volumes of NSD-Imagery's betas, in order: NSD data manual 1.6, and its design matrix.

    Columns: run (1 to 12), run_name, task (a test set), stimulus_set (A, B, C), trial (of the run, from 0), epoch
    ("cue" or "detection" of attention, else ""). A trial of attention has two volumes, so a volume's number is that of
    a trial within the first run alone.
    """
    return pd.DataFrame(
        [
            (run, name, TASKS[name[:3]], name[3], trial, epoch)
            for run, name in enumerate(IMAGERY_RUNS, start=1)
            for trial in range(IMAGERY_TRIALS)
            for epoch in EPOCHS[TASKS[name[:3]]]
        ],
        columns=["run", "run_name", "task", "stimulus_set", "trial", "epoch"],
    )


def read_imagery(responses: dict[str, str | Path], design: str | Path) -> pd.DataFrame:
    """`imagery_volumes` with what each volume is a response to.

    responses: run -> its nsdimagery_subjXX_<run>.tsv; design: designmatrixGLMsingle.mat. Further columns: letter (of
    the target that is on the screen, imagined or looked for), name (of the target), is_correct, response_time_ms
    (milliseconds). Raises UserError when a file is damaged, or when it and the design disagree on the order of trials.
    """
    onsets = _onsets(design)
    parts = []
    for (run, volumes), columns in zip(imagery_volumes().groupby("run"), onsets, strict=True):
        task, stimulus_set = volumes[["task", "stimulus_set"]].iloc[0]
        path = responses[IMAGERY_RUNS[run - 1]]
        table = _read_run(path, task, IMAGERY_TARGETS[stimulus_set])
        found = volumes.merge(table, on="trial", validate="many_to_one")
        _agree(path, design, IMAGERY_RUNS[run - 1], found, columns)
        parts.append(found)
    return pd.concat(parts, ignore_index=True)


def _onsets(path: str | Path) -> list[np.ndarray]:
    """For each run, the condition (column of the design matrix) of each modelled event, in order of time."""
    with readable(path, "NSD-Imagery's designmatrixGLMsingle.mat", renew(path), ABSENT):
        stimulus = read_matlab(path, ("stimulus",), renew(path), ABSENT)["stimulus"].ravel()
        runs = [np.asarray(run.toarray() if hasattr(run, "toarray") else run) for run in stimulus]
        if len(runs) != len(IMAGERY_RUNS) or any(run.ndim != 2 for run in runs):
            raise ValueError(f"{len(runs)} runs of designs, expected {len(IMAGERY_RUNS)} of (times, conditions)")
        return [np.nonzero(run)[1] for run in runs]  # row by row: in order of time


def _read_run(path: str | Path, task: str, targets: dict[str, str]) -> pd.DataFrame:
    """trial (from 0), letter, name, is_correct, response_time_ms of a run.

    In a vision trial the letter on the screen may be another one than that of the picture, which is the trial's
    CONDITION; otherwise the letter says what to imagine or to look for.
    """
    label = "CONDITION" if task == "vision" else "CUE"
    with readable(path, "a table of a run of NSD-Imagery", renew(path), ABSENT):
        # "NA" and the like are letters or missing answers here, never missing letters.
        table = pd.read_csv(path, sep="\t", usecols=["TRIAL", label, *ANSWERS], keep_default_na=False)
        table = table.astype({"TRIAL": np.int64}).sort_values("TRIAL", ignore_index=True)
        answers = table[ANSWERS].apply(pd.to_numeric, errors="coerce")
    if not np.array_equal(table["TRIAL"], np.arange(1, IMAGERY_TRIALS + 1)):
        raise UserError(f"{path}: does not list trials 1 to {IMAGERY_TRIALS}, each once; {renew(path)}")
    unknown = sorted(set(table[label].astype(str)) - targets.keys())
    if unknown:
        raise UserError(f"{path}: {label} '{unknown[0]}' is not one of {', '.join(targets)}; {renew(path)}")
    return pd.DataFrame(
        {
            "trial": table["TRIAL"] - 1,
            "letter": table[label],
            "name": table[label].map(targets),
            "is_correct": answers["ISCORRECT"],
            "response_time_ms": answers["RT"],
        }
    )


def _agree(path: str | Path, design: str | Path, run: str, volumes: pd.DataFrame, columns: np.ndarray) -> None:
    """Each condition of the design stands for one target and epoch, and the reverse, throughout the run."""
    if len(columns) != len(volumes):
        raise UserError(
            f"{design}: run {run} has {len(columns)} events, but its betas are {len(volumes)}; {renew(design)}"
        )
    pairs = set(zip(columns.tolist(), volumes["letter"], volumes["epoch"], strict=True))
    if len({pair[0] for pair in pairs}) < len(pairs) or len({pair[1:] for pair in pairs}) < len(pairs):
        raise UserError(
            f"{path}: lists the trials of run {run} in another order than {design}; take both from the same release"
        )


def read_synthetic(design: str | Path) -> pd.DataFrame:
    """The volumes of NSD-Synthetic's betas, one a trial, the same images in the same order for all subjects.

    design: nsdsynthetic_expdesign.mat. Columns: run (1-based), trial (of the run, from 0), number (of the image among
    the 284, from 0), task (`fixation` in odd runs, `one-back` in even ones). Raises UserError when it is damaged.
    """
    names = ("masterordering", "stimpattern")
    order, pattern = read_matlab(design, names, renew(design), ABSENT).values()
    with readable(design, "NSD-Synthetic's nsdsynthetic_expdesign.mat", renew(design), ABSENT):
        # MATLAB's numbers are double or unsigned: cast before anything is subtracted.
        numbers = order.astype(np.int64).ravel() - 1
        run = np.nonzero(pattern.reshape(-1, pattern.shape[-1]))[0]  # of each slot with a stimulus
        if len(run) != len(numbers):
            raise ValueError(f"orders {len(numbers)} trials, but has {len(run)} slots for them")
        images = layout.SYNTHETIC_SHARED + layout.SYNTHETIC_COLOURED
        if not len(numbers) or numbers.min() < 0 or numbers.max() >= images:
            raise ValueError(f"masterordering must hold numbers from 1 to {images}")
    trial = pd.Series(run).groupby(run).cumcount().to_numpy()
    return pd.DataFrame(
        {"run": run + 1, "trial": trial, "number": numbers, "task": np.where(run % 2, "one-back", "fixation")}
    )


def read_volumes(subject: str, test_sets: Sequence[str], files: dict[str, str | Path]) -> dict[str, pd.DataFrame]:
    """Experiment -> one row for each volume of its betas, in their order.

    test_sets: those of key `nsd.transfer`; files: key of layout.py -> path, with those of `trial_keys`. Columns: run,
    task, epoch, is_correct, response_time_ms, image_id (-1 where there is no picture), test_set ("" for volumes of no
    picture, or of another test set).
    """
    missing = [key for key in trial_keys(subject, test_sets) if key not in files]
    if missing:
        raise ValueError(f"files lack {missing[0]}")
    found = {}
    for experiment in experiments(test_sets):
        if experiment == IMAGERY:
            responses = {run: files[layout.imagery_responses(subject, run)] for run in IMAGERY_RUNS}
            volumes = read_imagery(responses, files[layout.IMAGERY_DESIGN])
            used = volumes["task"].isin(test_sets) & volumes["stimulus_set"].isin(layout.PICTURED_SETS)
            pictured = zip(volumes["task"], volumes["name"], used, strict=True)
            volumes["image_id"] = [target_id(task, name) if one else -1 for task, name, one in pictured]
            volumes["test_set"] = volumes["task"].where(used, "")
        else:
            volumes = read_synthetic(files[layout.SYNTHETIC_DESIGN])
            volumes["image_id"] = [synthetic_id(subject, number) for number in volumes["number"]]
            volumes = volumes.assign(test_set="synthetic", epoch="", is_correct=np.nan, response_time_ms=np.nan)
        columns = ["run", "task", "epoch", "is_correct", "response_time_ms", "image_id", "test_set"]
        found[experiment] = volumes[columns]
    return found
