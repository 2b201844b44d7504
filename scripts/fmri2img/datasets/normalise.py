"""Z-scoring of betas, voxel by voxel: percent signal change minus its mean, divided by its standard deviation.

Standard deviations divide by n - 1. Sums are float64. The caller chooses the trials that mean and deviation come from;
if no test trials are among them, no information about the test set enters a training trial.

Betas of every dataset are treated alike: a voxel with NaN or an infinity in any trial that is used has no z-scores and
is left out of the recording, as is a voxel that is constant. The recording's metadata count both (`voxels_left_out`).
"""

from collections.abc import Iterable

import numpy as np

from fmri2img.errors import UserError


def percent_signal_change(betas: np.ndarray, per_percent: int) -> np.ndarray:
    """Betas as percent signal change, float64 of the same shape: int16 as NSD stores them, or floats, which are.

    Sums and differences of the stored integers would overflow: they reach 32767 by design.
    """
    return betas.astype(np.float64) / (per_percent if betas.dtype.kind == "i" else 1)


def all_finite(betas: np.ndarray) -> np.ndarray:
    """Voxels without NaN or an infinity in any trial: bool (voxels,), of betas (trials, voxels)."""
    return np.isfinite(betas).all(axis=0)


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


def normalised(
    betas: np.ndarray, sessions: np.ndarray, fitted: np.ndarray, normalise: str, source: str
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Z-scores of betas that fit into memory, which voxels have them, and why the others have none.

    betas: float (trials, voxels); sessions: (trials,); fitted: bool (trials,), the trials that mean and deviation come
    from; normalise: each voxel within each "session" or "pooled" over all sessions, or one mean and one deviation for
    the whole array ("global"); source: what messages call the betas. Returns float32 (trials, kept), bool (voxels,) and
    counts of voxels that are left out: "not_finite" in any trial, "constant" over the fitted trials (of a session, or
    of all; never by "global"). Raises UserError when the fitted trials are too few, or no voxel is left.
    """
    finite = all_finite(betas)
    if not finite.any():
        raise UserError(f"{source}: every voxel is NaN or infinite in some trial{_emptiest(betas)}; replace the file")
    if normalise == "global":
        z, varying = _globally(betas[:, finite], fitted, source), finite[finite]
    else:
        z, varying = _by_voxel(betas[:, finite], sessions, fitted, normalise, source)
    keep = finite.copy()
    keep[finite] = varying
    return z, keep, {"not_finite": int((~finite).sum()), "constant": int((~varying).sum())}


def _emptiest(betas: np.ndarray) -> str:
    """What a message says of a trial without any finite value."""
    empty = np.flatnonzero(~np.isfinite(betas).any(axis=1))
    return f" (trial {empty[0] + 1} has no other value)" if len(empty) else ""


def _globally(betas: np.ndarray, fitted: np.ndarray, source: str) -> np.ndarray:
    used = betas[fitted].astype(np.float64)
    if used.size < 2 or not used.std():
        raise UserError(f"{source}: the training trials are constant, or there are none; check the data")
    return ((betas - used.mean()) / used.std()).astype(np.float32)


def _by_voxel(
    betas: np.ndarray, sessions: np.ndarray, fitted: np.ndarray, normalise: str, source: str
) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.unique(sessions)
    blocks = ((session, betas[(sessions == session) & fitted].astype(np.float64)) for session in numbers)
    moments = fit_moments(blocks, betas.shape[1], normalise)
    keep = ~np.any([found.constant for found in moments.values()], axis=0)
    if not keep.any():
        raise UserError(f"{source}: every voxel is constant over the training trials; check the data")
    z = np.empty((len(betas), int(keep.sum())), np.float32)
    for session in numbers:
        here = sessions == session
        z[here] = zscore(
            betas[here][:, keep].astype(np.float64), moments[session].mean[keep], moments[session].sd[keep]
        )
    return z, keep


def noise_ceiling(z: np.ndarray, image_ids: np.ndarray) -> np.ndarray:
    """ncsnr of each voxel from repeated presentations: float32 (voxels,), 0 where no signal is found.

    z: (trials, voxels); image_ids: (trials,). The noise variance is the mean over images of the variance over their
    repeats (n - 1 in the denominator), the signal variance that of the images' means without the noise that is left in
    them. Without at least two repeated images ncsnr is 0.
    """
    _, image = np.unique(image_ids, return_inverse=True)
    repeats = np.bincount(image)
    rows = [np.flatnonzero(image == one) for one in np.flatnonzero(repeats > 1)]
    if len(rows) < 2:
        return np.zeros(z.shape[1], np.float32)
    means = np.stack([z[own].mean(axis=0, dtype=np.float64) for own in rows])
    variances = np.stack([z[own].var(axis=0, ddof=1, dtype=np.float64) for own in rows])
    noise = variances.mean(axis=0)
    left = (variances / np.array([len(own) for own in rows])[:, None]).mean(axis=0)
    signal = np.maximum(0, means.var(axis=0, ddof=1) - left)
    return np.sqrt(np.divide(signal, noise, out=np.zeros_like(signal), where=noise > 0)).astype(np.float32)
