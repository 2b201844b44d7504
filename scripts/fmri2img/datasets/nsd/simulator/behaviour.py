"""The old/new judgements of a simulated subject: the 19 columns of NSD's responses.tsv."""

import numpy as np
import pandas as pd

from fmri2img.datasets.nsd.simulator.design import Design
from fmri2img.datasets.nsd.simulator.parameters import Simulation, subject_number

COLUMNS = (
    "SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID", "TIME", "ISOLD", "ISCORRECT", "RT", "CHANGEMIND",
    "MEMORYRECENT", "MEMORYFIRST", "ISOLDCURRENT", "ISCORRECTCURRENT", "TOTAL1", "TOTAL2", "BUTTON", "MISSINGDATA",
)  # fmt: skip
NEW, OLD = 1, 2  # buttons
NO_RESPONSE = 0.01  # share of trials
FALSE_ALARMS = 0.22
RUN_MINUTES = 6.0
DAY_SECONDS = 86400


def missing_run(simulation: Simulation, subject: str) -> tuple[int, int] | None:
    """Session and run (1-based) whose behaviour was lost, as happened to two subjects of NSD; None for the others."""
    names = list(simulation.subjects)
    sessions = simulation.subjects[subject].sessions
    lost = {names[1 % len(names)]: (max(1, sessions // 2), 10), names[2 % len(names)]: (max(1, 3 * sessions // 4), 3)}
    return lost.get(subject)


def responses(simulation: Simulation, design: Design, subject: str) -> pd.DataFrame:
    """One row per trial of the sessions that the subject took part in, in order of time.

    All numbers are as in NSD's file: 1-based ids, RT in milliseconds, TIME in days from the midnight before the first
    session, NaN where there is no answer or (MEMORYRECENT, MEMORYFIRST) no earlier presentation.
    """
    rng = simulation.stream(subject, "behaviour")
    n = simulation.subjects[subject].sessions * simulation.trials_per_session
    ids = pd.Series(design.nsd_ids(subject, n))
    at = pd.Series(np.arange(n))
    session, run, trial = design.session_run_trial()[:n].T

    recent = at - at.groupby(ids).shift() - 1
    first = at - at.groupby(ids).transform("first") - 1
    is_old = recent.notna().to_numpy()
    old_in_session = at.groupby([ids, pd.Series(session)]).cumcount().to_numpy() > 0

    # Memory fades with the logarithm of the number of images in between.
    hits = np.clip(0.97 - 0.045 * np.log1p(recent.fillna(0)), 0.4, 1)
    says_old = rng.random(n) < np.where(is_old, hits, FALSE_ALARMS)
    silent = rng.random(n) < NO_RESPONSE
    changed = (rng.random(n) < 0.02) & ~silent
    lost = np.zeros(n, bool)
    if missing_run(simulation, subject):
        lost_session, lost_run = missing_run(simulation, subject)
        lost = (session == lost_session) & (run == lost_run)
    silent |= lost
    answered = np.where(silent, np.nan, 1.0)
    button = np.where(says_old, OLD, NEW)
    presses = {b: ((button == b) | changed) & ~silent for b in (NEW, OLD)}

    table = pd.DataFrame(
        {
            "SUBJECT": subject_number(subject), "SESSION": session, "RUN": run, "TRIAL": trial,
            "73KID": ids + 1, "10KID": design.order[:n] + 1,
            "TIME": _days(simulation, design, rng)[:n],
            "ISOLD": is_old.astype(int),
            "ISCORRECT": answered * (says_old == is_old),
            "RT": answered * np.round(rng.gamma(9, 95, n) + 250, 3),
            "CHANGEMIND": answered * changed,
            "MEMORYRECENT": recent, "MEMORYFIRST": first.where(is_old),
            "ISOLDCURRENT": old_in_session.astype(int),
            "ISCORRECTCURRENT": answered * (says_old == old_in_session),
            "TOTAL1": presses[NEW].astype(int), "TOTAL2": presses[OLD].astype(int),
            "BUTTON": answered * button, "MISSINGDATA": lost.astype(int),
        }
    )  # fmt: skip
    return table[list(COLUMNS)]


def _days(simulation, design, rng):
    """Time of every planned trial in days; sessions are about a week apart."""
    session, run, _ = design.session_run_trial().T
    gaps = rng.integers(4, 11, simulation.planned_sessions)
    gaps[0] = 0
    start = np.cumsum(gaps) + rng.uniform(0.38, 0.7, simulation.planned_sessions)
    seconds = (run - 1) * RUN_MINUTES * 60 + design.seconds_into_run()
    return start[session - 1] + seconds / DAY_SECONDS
