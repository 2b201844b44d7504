"""The configuration of the simulated dataset, and its streams of random numbers."""

import re
import zlib

import numpy as np

from fmri2img.datasets.nsd.layout import RUNS
from fmri2img.datasets.nsd.settings import SimulationSettings


class Simulation(SimulationSettings):
    """The section `nsd.simulation` of the configuration, and values derived from it."""

    @classmethod
    def from_config(cls, section: dict) -> "Simulation":
        """Check a section. Raises UserError for subjects that NSD does not have, equal axes, or too few stimuli."""
        return cls.read(section, key="nsd.simulation")

    @property
    def trials_of_runs(self) -> np.ndarray:
        """Stimulus trials of each run of a session, (12,) int64."""
        return np.array([self.trials_per_run[run % 2] for run in range(RUNS)])

    def stream(self, *names: str | int) -> np.random.Generator:
        """An independent generator for each purpose, so that a change to one part keeps the numbers of the others."""
        return np.random.default_rng([self.seed, zlib.crc32("/".join(map(str, names)).encode())])


def subject_number(subject: str) -> int:
    """1 for "subj01"."""
    return int(re.fullmatch(r"subj(\d+)", subject)[1])
