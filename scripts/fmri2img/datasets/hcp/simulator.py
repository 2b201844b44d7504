"""A simulated resting state in the files that MinD-Vis reads: an .npz of V1 to V4 for each subject.

Voxels share a few slow fluctuations, with weights that change smoothly over the voxels of a region, so that a masked
part of a pattern can be predicted from the rest; a third of the variance is independent.
"""

import zlib
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from fmri2img.artifacts.atomic import atomic_file
from fmri2img.datasets.hcp.patterns import REGIONS
from fmri2img.datasets.hcp.settings import Simulation

FLUCTUATIONS = 6
SLOWNESS, SMOOTHNESS = 8.0, 3.0  # standard deviations of the smoothing, in volumes and in voxels
SHARES = (0.35, 0.3, 0.2, 0.15)  # of the voxels, V1 to V4
INDEPENDENT = 1 / 3  # share of the variance
MEAN, DEVIATION = 10_000.0, 150.0  # of the signal, as HCP's files have it


def simulate(path: str | Path, simulation: Simulation, subject: str, number: int) -> None:
    """Write the file of subject number `number` (from 0)."""
    rng = np.random.default_rng([simulation.seed, zlib.crc32(subject.encode())])
    sizes = [max(2, round(share * (simulation.voxels + 5 * number))) for share in SHARES]
    waves = _standard(gaussian_filter1d(rng.standard_normal((simulation.volumes, FLUCTUATIONS)), SLOWNESS, axis=0))
    weights = gaussian_filter1d(rng.standard_normal((FLUCTUATIONS, sum(sizes))), SMOOTHNESS, axis=1)
    shared, own = _standard(waves @ weights), rng.standard_normal((simulation.volumes, sum(sizes)))
    signal = np.sqrt(1 - INDEPENDENT) * shared + np.sqrt(INDEPENDENT) * own
    volumes = (MEAN + DEVIATION * signal).astype(np.float32)
    blocks = np.split(volumes, np.cumsum(sizes)[:-1], axis=1)
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **dict(zip(REGIONS, blocks, strict=True)))


def _standard(columns: np.ndarray) -> np.ndarray:
    return (columns - columns.mean(axis=0)) / columns.std(axis=0)
