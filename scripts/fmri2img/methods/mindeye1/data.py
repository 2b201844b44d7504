"""The batches of MindEye1: images, and of each image one of its presentations, or a mixture of them.

A batch is a function of the seed, the step and a sample's place in the GLOBAL batch, as MindEye2's is.
"""

from typing import NamedTuple

import numpy as np

from fmri2img.methods.mindeye1.settings import REPEATS, LossConfig
from fmri2img.networks.mixco import draw_mixture, mixed_betas, mixture_labels
from fmri2img.training.sampler import Streams, share
from fmri2img.training.trials import SubjectTrials

# Distinct streams of random numbers of one seed.
MIXTURE, VIEWS, DROPOUT, LOW_LEVEL_DROPOUT, LOW_LEVEL_REPEATS, IMAGE_VIEWS = 1002, *range(1005, 1010)
HIGH_LEVEL, LOW_LEVEL = 0, 1  # streams of images


class Share(NamedTuple):
    """One process's part of a global batch.

    betas: float32 (samples, voxels), mixed or not; ids: int64 (samples,) image_id of the samples themselves; places:
    int64 (samples,) in the global batch; labels: see losses.Objective; None without mixing.
    """

    betas: np.ndarray
    ids: np.ndarray
    places: np.ndarray
    labels: np.ndarray | None


def presentations(ids: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images int64 (images,), ascending, and the rows of their presentations, int64 (images, REPEATS).

    ids: image_id of the trials `rows`, which are in the order of presentation. An image that was presented less often
    repeats its rows in turn.
    """
    images, image, counts = np.unique(ids, return_inverse=True, return_counts=True)
    ordered = rows[np.argsort(image, kind="stable")]
    starts = np.cumsum(counts) - counts
    turn = np.arange(REPEATS) % np.minimum(counts, REPEATS)[:, None]
    return images, ordered[starts[:, None] + turn]


class Batches:
    """Shares of global batches of one subject's training images."""

    def __init__(self, trials: SubjectTrials, losses: LossConfig, seed: int) -> None:
        self._trials, self._losses, self._seed = trials, losses, seed
        self.images, self._rows = presentations(trials.ids(trials.rows), trials.rows)
        self._streams = Streams([len(self.images)] * 2, seed)

    def high_level(self, step: int, in_epoch: int, batch: int, rank: int, world: int, mixing: bool) -> Share:
        """Process `rank`'s part of batch number `step`, which is number `in_epoch` of its epoch.

        All samples are at their image's first presentation, or its second, or its third, in turn. mixing: whether it is
        in the MixCo phase.
        """
        places = np.arange(batch)[share(batch, rank, world)]
        image = self._streams.rows(HIGH_LEVEL, step * batch, batch)
        rows = self._rows[image, in_epoch % REPEATS]
        values = self._trials.betas(rows[places])
        labels = None
        if mixing:
            gathered = self._losses.negatives == "gathered"
            group, among = (0, rows) if gathered else (rank, rows[places])
            rng = np.random.default_rng([self._seed, MIXTURE, step, group])
            mixture = draw_mixture(len(among), rng, self._losses.mixup_concentration, self._losses.mixup_chance)
            mine = places if gathered else np.arange(len(among))
            partners = self._trials.betas(among[mixture.partner[mine]])
            values = mixed_betas(values, partners, mixture.share[mine])
            labels = mixture_labels([mixture], fixed_points=self._losses.fixed_points)
        return Share(values, self.images[image[places]], places, labels)

    def low_level(self, step: int, batch: int, rank: int, world: int) -> Share:
        """Process `rank`'s part of batch number `step` of the low-level network.

        Half of the batches hold means of an image's presentations with weights drawn uniformly for each sample; three
        tenths hold plain means; the others hold one presentation, drawn for each sample.
        """
        places = np.arange(batch)[share(batch, rank, world)]
        image = self._streams.rows(LOW_LEVEL, step * batch, batch)
        rng = np.random.default_rng([self._seed, LOW_LEVEL_REPEATS, step])
        choice = rng.random()
        if choice <= 0.5:
            weights = rng.random((batch, REPEATS))
            weights /= weights.sum(1, keepdims=True)
        elif choice <= 0.8:
            weights = np.full((batch, REPEATS), 1 / REPEATS)
        else:
            weights = np.eye(REPEATS)[rng.integers(REPEATS, size=batch)]
        parts = [
            weights[places, repeat, None].astype(np.float32) * self._trials.betas(self._rows[image[places], repeat])
            for repeat in range(REPEATS)
        ]
        return Share(np.sum(parts, axis=0), self.images[image[places]], places, None)

    def views(self, stream: int, step: int, batch: int, places: np.ndarray, augmentations: int) -> np.ndarray:
        """Number (1 to `augmentations`) of the augmented view that each place of a global batch is given."""
        rng = np.random.default_rng([self._seed, stream, step])
        return rng.integers(1, augmentations + 1, batch)[places]
