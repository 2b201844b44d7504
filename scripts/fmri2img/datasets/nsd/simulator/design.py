"""The experimental design: which image each subject sees on each trial.

NSD spreads the three presentations of an image over a year so that memory can be tested at every lag: each image has a
position on a ring, and a presentation falls near that position or anywhere on the ring. The order of positions is the
same for all subjects; only the image at each position differs (Allen et al. 2022, Methods, "Trial and session design").
A mixture of 60 % von Mises (concentration 729) and 40 % uniform reproduces the published counts.
"""

from dataclasses import dataclass

import numpy as np

from fmri2img.datasets.nsd.layout import REPEATS, RUNS, SESSIONS
from fmri2img.datasets.nsd.simulator.parameters import Simulation

NEAR_SHARE = 0.6
CONCENTRATION = 729.0  # for the 40 sessions of NSD
CONCENTRATION_SESSIONS = 40
SLOT_SECONDS = 4.0


def trial_order(pool: int, sessions: int, rng: np.random.Generator) -> np.ndarray:
    """Order of 3 presentations of `pool` images: (3 * pool,) int64, numbers 0..pool-1.

    The concentration scales with the square of the number of sessions, which keeps the spread of an image's near
    presentations at the same number of sessions.
    """
    place = rng.uniform(-np.pi, np.pi, pool)
    kappa = CONCENTRATION * (sessions / CONCENTRATION_SESSIONS) ** 2
    near = rng.vonmises(place[:, None], kappa, (pool, REPEATS))
    anywhere = rng.uniform(-np.pi, np.pi, (pool, REPEATS))
    at = np.where(rng.random((pool, REPEATS)) < NEAR_SHARE, near, anywhere)
    return np.argsort(at.ravel(), kind="stable") // REPEATS


@dataclass(frozen=True)
class Design:
    """The planned experiment. All numbers are 0-based here; the writers add the 1 of NSD's files.

    order: (planned trials,) position in a subject's image list, the same for all subjects. images: subject of NSD,
    simulated or not -> (pool,) image_id; the first `len(shared)` are the shared images. shared: (shared,) image_id,
    ascending. slots: (planned sessions, 12 runs, slots) bool, True where a 4-s slot holds a stimulus.
    """

    order: np.ndarray
    images: dict[str, np.ndarray]
    shared: np.ndarray
    slots: np.ndarray

    def nsd_ids(self, subject: str, trials: int) -> np.ndarray:
        """image_id of the first `trials` trials of a subject, int64."""
        return self.images[subject][self.order[:trials]]

    def presentations(self) -> np.ndarray:
        """Trials (0-based, ascending) that show each entry of the image list: (pool, 3) int64."""
        return np.argsort(self.order, kind="stable").reshape(-1, REPEATS)

    def session_run_trial(self) -> np.ndarray:
        """1-based session, run, and trial within the run of every planned trial: (planned trials, 3) int64."""
        session, run, _ = np.nonzero(self.slots)
        starts = np.flatnonzero(np.diff(session * RUNS + run, prepend=-1))
        lengths = np.diff(np.append(starts, len(run)))
        within = np.arange(len(run)) - np.repeat(starts, lengths)
        return np.stack([session, run, within], axis=1) + 1

    def seconds_into_run(self) -> np.ndarray:
        """Onset of every planned trial after the start of its run, float64 seconds."""
        return np.nonzero(self.slots)[2] * SLOT_SECONDS


def plan(simulation: Simulation) -> Design:
    """Draw the experiment of a simulation; the same simulation always gives the same design."""
    rng = simulation.stream("design")
    order = trial_order(simulation.pool, simulation.planned_sessions, rng)
    # The images of one subject are spread over the stimulus file, and some images are never shown.
    shuffled = rng.permutation(simulation.stimuli)
    shared, rest = np.sort(shuffled[: simulation.shared]), shuffled[simulation.shared :]
    private = simulation.pool - simulation.shared
    own = {subject: rest[k * private : (k + 1) * private] for k, subject in enumerate(simulation.subjects)}
    # The other subjects of NSD are in the design file too. Their images are drawn from all the rest.
    others = {subject: simulation.stream("design", subject).permutation(rest)[:private] for subject in SESSIONS}
    images = {subject: np.concatenate([shared, own.get(subject, others[subject])]) for subject in SESSIONS}
    return Design(order, images, shared, _slots(simulation, rng))


def _slots(simulation, rng):
    """Runs begin and end with blank slots; the other blanks are at random positions (NSD: 75 slots for 63 or 62)."""
    longest = max(simulation.trials_per_run)
    slots = max(round(longest * 75 / 63), longest + 2)
    head, tail = max(1, slots * 3 // 75), max(1, slots * 4 // 75)
    pattern = np.zeros((simulation.planned_sessions, RUNS, slots), bool)
    for session in range(simulation.planned_sessions):
        for run, trials in enumerate(simulation.trials_of_runs):
            inside = rng.permutation(slots - head - tail)[:trials]
            pattern[session, run, head + inside] = True
    return pattern
