"""The recording sessions of one simulated subject: betas of every trial, and the maps made from them."""

from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.layout import REPEATS
from fmri2img.datasets.nsd.simulator import brain as model
from fmri2img.datasets.nsd.simulator import oracle, writers
from fmri2img.datasets.nsd.simulator.brain import Brain
from fmri2img.datasets.nsd.simulator.parameters import Simulation
from fmri2img.datasets.nsd.simulator.volumes import Anatomy

VERSIONS = ("b2", "b3")
INVALID_SHARE = 0.008  # of the brain's voxels, in one session of one subject
INT16 = np.iinfo(np.int16)


def invalid_session(simulation: Simulation, subject: str) -> int | None:
    """The 1-based session in which some voxels of `subject` have no data; None if there is none."""
    names = list(simulation.subjects)
    sessions = simulation.subjects[subject].sessions
    return min(2, sessions) if subject == names[1 % len(names)] else None


def invalid_voxels(brain: Brain) -> np.ndarray:
    """(V,) bool: the lowest and rearmost voxels, which leave the scanned volume when the head moves."""
    from_edge = (brain.voxels[:, 1:] / (np.array(brain.dims[1:]) - 1)).sum(axis=1)
    chosen = np.argsort(from_edge, kind="stable")[: max(3, round(INVALID_SHARE * len(brain.voxels)))]
    return np.isin(np.arange(len(brain.voxels)), chosen)


def z_scored(betas: np.ndarray) -> np.ndarray:
    """betas (trials, V) of one session -> z-scores per voxel, float32; NaN where a voxel never varies."""
    deviation = betas.std(axis=0, ddof=1)
    return ((betas - betas.mean(axis=0)) / np.where(deviation > 0, deviation, np.nan)).astype(np.float32)


def noise_ceiling(z: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    """ncsnr of every voxel, (V,) float32.

    z: (trials, V) z-scored within session; repeats: (images, 3) rows of z that show the same image. The noise variance
    is the mean over images of the variance over the repeats, and the signal variance is one minus it (Allen et al.
    2022). Images with missing data are left out voxel by voxel; a voxel without any image has 0.
    """
    variance = z[repeats].var(axis=1, ddof=1)
    known = np.isfinite(variance)
    noise = np.where(known, variance, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    ceiling = np.sqrt(np.maximum(0, 1 - noise) / np.where(noise > 0, noise, np.inf))
    return ceiling.astype(np.float32)


class Sessions:
    """All sessions of a subject; `write` makes and writes them one by one.

    offsets: (sessions, V) percent signal change. gains: (sessions,). repeats: (images, 3) rows of the trials of every
    image shown three times. responses: (trials, V), known after writing: the betas of version b3 without offset, gain
    and scale, so that the noise has unit variance.
    """

    def __init__(
        self, simulation: Simulation, subject: str, anatomy: Anatomy, brain: Brain, answers: pd.DataFrame
    ) -> None:
        self.simulation, self.subject, self.anatomy, self.brain, self.answers = (
            simulation, subject, anatomy, brain, answers,
        )  # fmt: skip
        rng = simulation.stream(subject, "sessions")
        self.count = simulation.subjects[subject].sessions
        self.offsets = rng.normal(0, model.OFFSET, (self.count, len(brain.voxels))).astype(np.float32)
        self.gains = rng.normal(1, model.GAIN, self.count).astype(np.float32)
        self.invalid = invalid_voxels(brain)
        self.at = tuple(brain.voxels.T)
        nsd_ids = answers["73KID"].to_numpy() - 1
        _, times = np.unique(nsd_ids, return_counts=True)
        by_image = np.argsort(nsd_ids, kind="stable")
        self.repeats = by_image[np.repeat(times == REPEATS, times)].reshape(-1, REPEATS)
        self.nsd_ids = nsd_ids

    def write(self, root: Path) -> None:
        """Write the betas and maps of all sessions below `root`."""
        trials = len(self.answers)
        z = {version: np.empty((trials, len(self.brain.voxels)), np.float32) for version in VERSIONS}
        self.responses = np.empty((trials, len(self.brain.voxels)), np.float32)
        means = {version: [] for version in VERSIONS}
        for session in range(1, self.count + 1):
            rows = np.flatnonzero(self.answers["SESSION"] == session)
            lost = self.invalid & (session == invalid_session(self.simulation, self.subject))
            for version, betas in self._session(session, rows).items():
                counts = np.clip(np.rint(betas * layout.INT16_PER_PERCENT), INT16.min, INT16.max).astype(np.int16)
                counts[:, lost] = 0
                volume = np.zeros((*self.brain.dims, len(rows)), np.int16)
                volume[self.at] = counts.T
                writers.write_betas(root / layout.betas(self.subject, version, session), volume)
                percent = counts / np.float32(layout.INT16_PER_PERCENT)
                z[version][rows] = z_scored(percent)
                means[version].append(percent.mean(axis=0))
                self._map(root, version, f"meanbeta_session{session:02d}", means[version][-1])
            self.responses[rows] = (percent - self.brain.baseline - self.offsets[session - 1]) / (
                self.brain.scale * self.gains[session - 1]
            )
            writers.write_nifti(root / layout.valid(self.subject, session), self._valid(lost).astype(np.int16))
        self._write_maps(root, z, means)

    def _session(self, session, rows):
        """Betas of both versions in percent signal change, (trials, V) each."""
        brain, rng = self.brain, self.simulation.stream(self.subject, "betas", session)
        evoked = brain.ncsnr * brain.response(self.nsd_ids[rows], model.session_turn(self.simulation, session))
        evoked += self.answers["ISOLD"].to_numpy(np.float32)[rows, None] * brain.old_new
        evoked += brain.noise(len(rows), rng)
        further = np.float32(np.sqrt(model.B2_FACTOR**-2 - 1)) * brain.smooth_noise(len(rows), rng)
        level = brain.baseline + self.offsets[session - 1]
        gain = brain.scale * self.gains[session - 1]
        return {"b2": level + gain * (evoked + further), "b3": level + gain * evoked}

    def _valid(self, lost):
        valid = np.ones(self.brain.dims, bool)
        valid[self.at] = ~lost
        return valid

    def _volume(self, values):
        volume = np.zeros(self.brain.dims, np.float32)
        volume[self.at] = values
        return volume

    def _map(self, root, version, name, values):
        folder = Path(layout.ncsnr(self.subject, version)).parent
        writers.write_nifti(root / folder / f"{name}.nii.gz", self._volume(values))

    def _write_maps(self, root, z, means):
        for version in VERSIONS:
            ceiling = noise_ceiling(z[version], self.repeats)
            self._map(root, version, "ncsnr", ceiling)
            for half in (0, 1):
                self._map(root, version, f"ncsnr_split{half + 1}", noise_ceiling(z[version], self.repeats[half::2]))
            self._map(root, version, "meanbeta", np.mean(means[version], axis=0))
            self._map(root, version, "R2", 100 * ceiling**2 / (1 + ceiling**2))
        brightness = 800 + 200 * self.brain.smooth_noise(1, self.simulation.stream(self.subject, "mean"))[0]
        lost = [
            self.invalid & (session == invalid_session(self.simulation, self.subject))
            for session in range(1, self.count + 1)
        ]
        volumes = {
            "brainmask": self.anatomy.brain.astype(np.int16),
            "mean": self._volume(brightness),
            "valid": np.mean([self._valid(voxels) for voxels in lost], axis=0).astype(np.float32),
            "R2": self._volume(100 * ceiling**2 / (1 + ceiling**2)),
            "onoffbeta": self._volume(np.mean(means["b3"], axis=0)),
        }
        for name, volume in volumes.items():
            writers.write_nifti(root / layout.func(self.subject, f"{name}.nii.gz"), volume)

    def oracle(self, shared: np.ndarray, regions: dict[str, np.ndarray]) -> dict[str, float]:
        """Share of the shared images shown three times that the ideal observer identifies among them.

        shared: image_id; regions: name -> (V,) bool, the voxels it sees. Returns for each region "<name>_mean", from
        the mean of the three betas of an image, and "<name>_single", from one beta; "chance" is one over the
        candidates.
        """
        repeats = self.repeats[np.isin(self.nsd_ids[self.repeats[:, 0]], shared)]
        session, is_old = (self.answers[name].to_numpy() for name in ("SESSION", "ISOLD"))
        accuracies = {"chance": 1 / max(len(repeats), 1)}
        for name, region in regions.items():
            chosen = np.flatnonzero(region & ~self.invalid)
            measured = np.empty((REPEATS, len(repeats), len(chosen)))
            expected = np.empty_like(measured)
            for k, rows in enumerate(repeats.T):
                turns = np.array([model.session_turn(self.simulation, s) for s in session[rows]])[:, None]
                response = self.brain.response(self.nsd_ids[rows], turns)[:, chosen]
                expected[k] = self.brain.ncsnr[chosen] * response
                measured[k] = self.responses[np.ix_(rows, chosen)] - is_old[rows, None] * self.brain.old_new[chosen]
            covariance = oracle.noise_covariance(self.brain, chosen)
            single = [oracle.identified(m, e, covariance) for m, e in zip(measured, expected, strict=True)]
            mean = oracle.identified(measured.mean(axis=0), expected.mean(axis=0), covariance)
            accuracies |= {f"{name}_mean": np.mean(mean), f"{name}_single": np.mean(single)}
        return accuracies
