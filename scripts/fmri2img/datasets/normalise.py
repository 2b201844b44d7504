"""Z-scoring of betas, voxel by voxel: percent signal change minus its mean, divided by its standard deviation.

Standard deviations divide by n - 1. Sums are float64. The caller chooses the trials that mean and deviation come from;
if no test trials are among them, no information about the test set enters a training trial.
"""

from collections.abc import Iterable

import numpy as np

from fmri2img.errors import UserError


def percent_signal_change(betas: np.ndarray, per_percent: int) -> np.ndarray:
    """Stored int16 betas as percent signal change, float64 of the same shape.

    Sums and differences of the stored integers would overflow: they reach 32767 by design.
    """
    return betas.astype(np.float64) / per_percent


class Moments:
    """Mean and standard deviation of each voxel over all trials added, block by block.

    mean: float64 (voxels,); n: trials so far. Blocks are merged as in Chan, Golub & LeVeque (1979).
    """

    def __init__(self, n_voxels: int) -> None:
        self.n = 0
        self.mean = np.zeros(n_voxels)
        self._squares = np.zeros(n_voxels)
        self._lowest = np.full(n_voxels, np.inf)
        self._highest = np.full(n_voxels, -np.inf)

    def add(self, betas: np.ndarray) -> None:
        """Add trials: float64 (trials, voxels), percent signal change."""
        if not len(betas):
            return
        n, mean = len(betas), betas.mean(axis=0)
        shift = mean - self.mean
        self._squares += ((betas - mean) ** 2).sum(axis=0) + shift**2 * (self.n * n / (self.n + n))
        self.mean += shift * (n / (self.n + n))
        self.n += n
        np.minimum(self._lowest, betas.min(axis=0), out=self._lowest)
        np.maximum(self._highest, betas.max(axis=0), out=self._highest)

    @property
    def sd(self) -> np.ndarray:
        """Standard deviation with n - 1 in the denominator, float64 (voxels,)."""
        return np.sqrt(self._squares / (self.n - 1))

    @property
    def constant(self) -> np.ndarray:
        """Voxels with one and the same value in every trial, bool (voxels,): they have no z-score."""
        return self._lowest == self._highest


def fit_moments(blocks: Iterable[tuple[int, np.ndarray]], n_voxels: int, normalise: str) -> dict[int, Moments]:
    """Moments for normalising each session: its own (normalise "session") or those of all sessions ("pooled").

    blocks: each session's number and the trials used, float64 (trials, voxels), percent signal change. Raises UserError
    when they are too few for a standard deviation.
    """
    moments: dict[int, Moments] = {}
    pooled = Moments(n_voxels)
    for session, betas in blocks:
        moments[session] = pooled if normalise == "pooled" else Moments(n_voxels)
        moments[session].add(betas)
    for session, found in moments.items():
        if found.n < 2:
            raise UserError(
                f"betas.normalise: session {session} has {found.n} training trials, too few for a standard deviation; "
                "use 'pooled', or another split"
            )
    return moments


def zscore(betas: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Z-scores, float32 (trials, voxels), of betas float64 (trials, voxels) by mean and sd (voxels,)."""
    return ((betas - mean) / sd).astype(np.float32)
