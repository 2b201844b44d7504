"""Trials of NSD-Imagery and NSD-Synthetic that join a subject's recording: z-scores and their table.

Which statistics they are normalised by, and why, is said in transfer_sets.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fmri2img.datasets.checksums import checksums
from fmri2img.datasets.normalise import Moments, fit_moments, percent_signal_change, zscore
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.betas import open_masked_session
from fmri2img.datasets.nsd.transfer_sets import BY_TRAINING, PER_RUN, experiments, grouping
from fmri2img.datasets.nsd.transfer_trials import read_volumes
from fmri2img.datasets.nsd.volumes import read_valid

OUTSIDE = 0  # session of trials outside of NSD's numbered sessions
NSD, RECOGNITION = "nsd", "recognition"  # experiment and task of NSD's own trials


@dataclass(frozen=True)
class TransferTrials:
    """betas: float32 (trials, kept voxels); trials: their table; record: what was done, for the metadata."""

    betas: np.ndarray
    trials: pd.DataFrame
    record: dict

    @classmethod
    def read(
        cls,
        subject: str,
        mask: np.ndarray,
        keep: np.ndarray,
        files: dict[str, str],
        of_training: Callable[[], Moments],
        test_sets: list[str],
        normalise: str,
        masked: dict[str, str],
    ) -> "TransferTrials":
        """The trials of `test_sets`, in the order of the experiments.

        mask: bool (X, Y, Z); keep: bool (voxels of the mask), those of the recording; files: key of layout.py -> path;
        of_training: moments of all training trials of NSD's sessions, (voxels of the mask); normalise: key
        `nsd.transfer_normalise`; masked: experiment -> its betas in the mask. Raises UserError as `read_volumes`.
        """
        volumes = read_volumes(subject, test_sets, files)
        betas, tables, lacking, unused = [], [], {}, {}
        for experiment in experiments(test_sets):
            table = volumes[experiment].assign(experiment=experiment)
            block = open_masked_session(masked[experiment], (len(table), int(mask.sum())))
            valid = read_valid([files[layout.experiment_valid(subject, experiment)]], mask)
            z, empty = _zscores(block, table["run"].to_numpy(), valid, grouping(normalise, experiment), of_training)
            used = (table["test_set"] != "").to_numpy()
            betas.append(z[used][:, keep])
            tables.append(table[used])
            lacking[experiment], unused[experiment] = int((empty & keep).sum()), int((~used).sum())
        record = {
            "test_sets": list(test_sets),
            "normalise": {experiment: grouping(normalise, experiment) for experiment in experiments(test_sets)},
            "voxels_without_data": lacking,
            "volumes_unused": unused,
            "masked_sha256": checksums(masked),
        }
        return cls(np.concatenate(betas), pd.concat(tables, ignore_index=True), record)

    def after(self, trials: pd.DataFrame) -> pd.DataFrame:
        """NSD's own trials, then these."""
        further = self.trials.assign(
            trial=len(trials) + np.arange(len(self.trials)),
            session=OUTSIDE,
            repeat=self.trials.groupby("image_id").cumcount(),
            part=self.trials["test_set"],
            shared=False,
            is_old=np.nan,
        )
        own = trials.assign(experiment=NSD, task=RECOGNITION, epoch="")
        return pd.concat([own, further[own.columns]], ignore_index=True)


def _zscores(
    stored: np.ndarray, runs: np.ndarray, valid: np.ndarray, by: str, of_training: Callable[[], Moments]
) -> tuple[np.ndarray, np.ndarray]:
    """Z-scores float32 of betas (volumes, voxels), and which voxels have no data, bool (voxels,): they have 0.

    Those are voxels that were not scanned in all runs, have NaN or an infinity in any volume, or one and the same value
    in all volumes that mean and deviation come from.
    """
    psc = percent_signal_change(stored, layout.INT16_PER_PERCENT)
    finite = np.isfinite(psc).all(axis=0)
    psc[:, ~finite] = 0
    empty = ~valid | ~finite
    group = runs if by == PER_RUN else np.ones_like(runs)
    if by == BY_TRAINING:
        moments = dict.fromkeys(np.unique(group), of_training())
    else:
        moments = fit_moments(((one, psc[group == one]) for one in np.unique(group)), psc.shape[1], "session")
    z = np.zeros(psc.shape, np.float32)
    for one, found in moments.items():
        known = ~empty & ~found.constant
        empty |= found.constant
        z[np.ix_(group == one, known)] = zscore(psc[group == one][:, known], found.mean[known], found.sd[known])
    z[:, empty] = 0
    return z, empty
