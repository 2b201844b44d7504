"""What the configuration says about the simulated dataset, checked, and its streams of random numbers."""

import re
import zlib
from dataclasses import dataclass

import numpy as np

from fmri2img.datasets.nsd.layout import SESSIONS
from fmri2img.errors import UserError

RUNS = 12  # of every NSD session
REPEATS = 3  # planned presentations of each image to each subject
SHARED_SHARE = 0.1  # of each subject's images; NSD: 1,000 of 10,000


@dataclass(frozen=True)
class SimulatedSubject:
    """`dims` are the voxels along (X, Y, Z); `ncsnr` the median over the nsdgeneral voxels, beta version b3."""

    sessions: int
    dims: tuple[int, int, int]
    ncsnr: float


@dataclass(frozen=True)
class Simulation:
    """The section `dataset.simulation` of the configuration.

    `trials_per_run` are the stimulus trials of odd and of even runs (NSD: 63 and 62).
    """

    seed: int
    stimuli: int
    image_size: int
    trials_per_run: tuple[int, int]
    subjects: dict[str, SimulatedSubject]

    @classmethod
    def from_config(cls, section: dict) -> "Simulation":
        """Raises UserError for subjects that NSD does not have, equal axes, or too few stimuli."""
        subjects = {
            name: SimulatedSubject(int(entry["sessions"]), tuple(map(int, entry["dims"])), float(entry["ncsnr"]))
            for name, entry in sorted(section["subjects"].items())
        }
        simulation = cls(
            seed=int(section["seed"]),
            stimuli=int(section["stimuli"]),
            image_size=int(section["image_size"]),
            trials_per_run=tuple(map(int, section["trials_per_run"])),
            subjects=subjects,
        )
        for name, subject in subjects.items():
            if name not in SESSIONS:
                raise UserError(f"dataset.simulation.subjects: {name} is not one of {', '.join(SESSIONS)}")
            if len(set(subject.dims)) != 3:
                raise UserError(
                    f"dataset.simulation.subjects.{name}.dims: {list(subject.dims)} must be three different numbers, "
                    "so that exchanged axes cannot go unnoticed"
                )
        if simulation.stimuli < simulation.shown:
            raise UserError(
                f"dataset.simulation.stimuli: {simulation.stimuli} is fewer than the {simulation.shown} images that "
                f"{len(subjects)} subjects see in {simulation.planned_sessions} sessions; raise it"
            )
        return simulation

    @property
    def trials_of_runs(self) -> np.ndarray:
        """Stimulus trials of each run of a session, (12,) int64."""
        return np.array([self.trials_per_run[run % 2] for run in range(RUNS)])

    @property
    def trials_per_session(self) -> int:
        return int(self.trials_of_runs.sum())

    @property
    def planned_sessions(self) -> int:
        """Every subject's trial order is planned for the longest participation, as in NSD (40 sessions)."""
        return max(subject.sessions for subject in self.subjects.values())

    @property
    def pool(self) -> int:
        """Images planned for each subject (NSD: 10,000). Twelve runs make the trials a multiple of three."""
        return self.trials_per_session * self.planned_sessions // REPEATS

    @property
    def shared(self) -> int:
        """Images planned for every subject (NSD: 1,000)."""
        return round(SHARED_SHARE * self.pool)

    @property
    def shown(self) -> int:
        """Different images planned for any subject."""
        return self.shared + len(self.subjects) * (self.pool - self.shared)

    def stream(self, *names: str | int) -> np.random.Generator:
        """An independent generator for each purpose, so that a change of one part leaves the others' numbers alone."""
        return np.random.default_rng([self.seed, zlib.crc32("/".join(map(str, names)).encode())])


def subject_number(subject: str) -> int:
    """1 for "subj01"."""
    return int(re.fullmatch(r"subj(\d+)", subject)[1])
