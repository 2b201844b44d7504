"""Betas of a subject whose sessions do not fit into memory together: normalised and written one session at a time."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from fmri2img.artifacts.splits import TRAIN
from fmri2img.datasets.normalise import Moments, all_finite, fit_moments, zscore


class SessionBetas:
    """Which voxels of a mask have z-scores, and the z-scores.

    finite: bool (voxels,), without NaN or an infinity in any trial; constant: bool (voxels,), with one value in all
    trials that mean and deviation of some session come from.
    """

    def __init__(
        self, sessions: Sequence[int], read: Callable[[int, int], np.ndarray], trials: pd.DataFrame, n_voxels: int,
        options: dict,
    ) -> None:  # fmt: skip
        """sessions: their numbers; read: a session and its number of trials -> its betas, float64 (trials, voxels);
        trials: session and part of each trial; options: `normalise` (session, pooled) and `statistics` (train, all).

        Raises UserError as `fit_moments`, and what `read` does.
        """
        self._sessions, self._read, self._n_voxels = sessions, read, n_voxels
        self._rows = {session: np.flatnonzero(trials["session"] == session) for session in sessions}
        self._fitted = (trials["part"] == TRAIN).to_numpy() | (options["statistics"] == "all")
        self.finite = np.ones(n_voxels, bool)
        self._moments = self._fit(options["normalise"])
        self.constant = np.any([self._moments[session].constant for session in sessions], axis=0)

    def pooled(self) -> Moments:
        """Moments of the trials of all sessions that mean and deviation come from."""
        return self._fit("pooled")[self._sessions[0]]

    def write(self, file: str, keep: np.ndarray) -> None:
        """Fill the first rows of an array of float32 (trials, kept voxels) with z-scores. keep: bool (voxels,)."""
        for session in self._sessions:
            # Reopened for each session, so that the pages written before need not stay in memory.
            target = np.lib.format.open_memmap(file, "r+")
            moments = self._moments[session]
            target[self._rows[session]] = zscore(self._betas(session)[:, keep], moments.mean[keep], moments.sd[keep])
            target.flush()

    def _betas(self, session: int) -> np.ndarray:
        return self._read(session, len(self._rows[session]))

    def _fit(self, normalise: str) -> dict[int, Moments]:
        with np.errstate(invalid="ignore"):  # voxels that are not finite are left out
            return fit_moments(self._fitted_trials(), self._n_voxels, normalise)

    def _fitted_trials(self) -> Iterator[tuple[int, np.ndarray]]:
        for session in self._sessions:
            betas = self._betas(session)
            self.finite[~all_finite(betas)] = False
            yield session, betas[self._fitted[self._rows[session]]]
