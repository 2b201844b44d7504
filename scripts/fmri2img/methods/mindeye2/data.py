"""The training data: trials of each subject, targets of each image, and the batches that a step trains on.

A batch is a function of the seed, the step and a sample's place in the GLOBAL batch, so that any number of processes
together see the same samples, mixed and noised in the same way. The global batch is made of equally many samples of
each subject, one subject after the other; each process takes an equal part of every subject's, so that every adapter
has a gradient in every process.
"""

from typing import NamedTuple

import numpy as np

from fmri2img.errors import UserError
from fmri2img.methods.mindeye2.settings import LossConfig
from fmri2img.networks.mixco import Mixture, draw_mixture, mixed_betas, mixture_labels
from fmri2img.training.sampler import Streams, share
from fmri2img.training.trials import SubjectTrials

# Distinct streams of random numbers of one seed.
MIXTURE, VIEWS, DROPOUT, LOW_LEVEL_DROPOUT = 1002, *range(1005, 1008)  # others: training.trials, networks.prior


class Share(NamedTuple):
    """One process's part of a global batch.

    betas: subject -> float32 (trials, voxels), mixed or not; ids: int64 (trials,) image_id of the trials themselves,
    of all subjects; places: int64 (trials,) in the global batch; labels: see losses.Objective; None without mixing.
    """

    betas: dict[str, np.ndarray]
    ids: np.ndarray
    places: np.ndarray
    labels: np.ndarray | None


def chosen(places: np.ndarray, every: int) -> np.ndarray:
    """Indices int64 of those of `places` in a global batch whose trials take part in a loss on every n-th trial."""
    return np.flatnonzero(places % every == 0)


class Batches:
    """Shares of global batches of `trials`."""

    def __init__(self, trials: list[SubjectTrials], losses: LossConfig, seed: int) -> None:
        self._trials, self._losses, self._seed = trials, losses, seed
        self._streams = Streams([len(subject.rows) for subject in trials], seed)

    def of_each(self, batch: int, world: int) -> int:
        """Samples of each subject in a global batch of `batch`, rounded down: 64 of seven subjects are 9 of each.

        Raises UserError when that is 0 or cannot be divided over `world` processes.
        """
        subjects = len(self._trials)
        each = batch // subjects
        if each == 0 or each % world:
            raise UserError(
                f"training.batch: {batch} samples (per accumulated batch) are {each} of each of {subjects} subjects, "
                f"not a positive multiple of {world} processes; use a multiple of {subjects * world}"
            )
        return each

    def share(self, step: int, batch: int, rank: int, world: int, mixing: bool) -> Share:
        """Process `rank`'s part of batch number `step`; mixing: whether it is in the MixCo phase."""
        each = self.of_each(batch, world)
        own = share(each, rank, world)
        gathered = self._losses.negatives == "gathered"
        betas, ids, mixtures = {}, [], []
        for number, trials in enumerate(self._trials):
            rows = trials.rows[self._streams.rows(number, step * each, each)]
            values = trials.betas(rows[own])
            if mixing:
                mixture = self._mixture(step, number, 0 if gathered else rank, each if gathered else each // world)
                mixtures.append(mixture)
                among, mine = (rows, own) if gathered else (rows[own], slice(None))
                partner, kept = mixture.partner[mine], mixture.share[mine]
                values = mixed_betas(values, trials.betas(among[partner]), kept)
            betas[trials.subject] = values
            ids.append(trials.ids(rows[own]))
        labels = self._labels(mixtures, world if gathered else 1) if mixing else None
        return Share(betas, np.concatenate(ids), self._places(each, rank, world), labels)

    def _places(self, each: int, rank: int, world: int) -> np.ndarray:
        """Places int64 of process `rank`'s trials in a global batch of `each` trials of each subject."""
        return np.arange(each * len(self._trials)).reshape(-1, each)[:, share(each, rank, world)].ravel()

    def check_low_level_every(self, batch: int, world: int) -> None:
        """Raise UserError if processes compute low-level losses for different numbers of trials of a batch.

        Their means would then not average to the mean of all.
        """
        each, every = self.of_each(batch, world), self._losses.low_level_every
        counts = [len(chosen(self._places(each, rank, world), every)) for rank in range(world)]
        if len(set(counts)) > 1:
            raise UserError(
                f"settings.losses.low_level_every = {every} chooses {min(counts)} to {max(counts)} trials of a "
                f"batch in each of {world} processes; choose a divisor of {each // world}, so that the number is equal "
                "in every process"
            )

    def _mixture(self, step: int, subject: int, group: int, samples: int) -> Mixture:
        rng = np.random.default_rng([self._seed, MIXTURE, step, subject, group])
        return draw_mixture(samples, rng, self._losses.mixup_concentration, self._losses.mixup_chance)

    def _labels(self, mixtures: list[Mixture], world: int) -> np.ndarray:
        """Labels in the order in which samples of `world` processes are gathered: by process, then by subject."""
        labels = mixture_labels(mixtures, self._losses.permutation_offsets, self._losses.fixed_points)
        each = len(mixtures[0].share)
        order = np.concatenate([self._places(each, rank, world) for rank in range(world)])
        return labels[np.ix_(order, order)]

    def views(self, step: int, batch: int, places: np.ndarray, augmentations: int) -> np.ndarray:
        """Number (1 to `augmentations`) of the augmented view that each place of a global batch is compared with."""
        rng = np.random.default_rng([self._seed, VIEWS, step])
        return rng.integers(1, augmentations + 1, batch)[places]
