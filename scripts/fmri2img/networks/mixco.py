"""MixCo: trials mixed with others, and the labels of the mixtures."""

from typing import NamedTuple

import numpy as np


class Mixture(NamedTuple):
    """How the samples of one subject are mixed by MixCo: sample i keeps `share[i]`, the rest comes from `partner[i]`.

        betas'_i = share_i betas_i + (1 - share_i) betas_partner(i),   share_i ~ Beta(0.15, 0.15), or 1 for half of them

    partner: int64 (samples,), a permutation; share: float32 (samples,), 1 where a sample is left as it is. Kim et al.,
    MixCo (2020); Scotti et al., MindEye (2023). MindEye2 mixes in the first third of training.
    """

    partner: np.ndarray
    share: np.ndarray


def draw_mixture(samples: int, rng: np.random.Generator, concentration: float, chance: float) -> Mixture:
    """Partners and shares of `samples` trials; a trial is mixed with probability `chance`, share ~ Beta(c, c)."""
    partner = rng.permutation(samples)
    share = rng.beta(concentration, concentration, samples)
    mixed = rng.random(samples) <= chance
    return Mixture(partner, np.where(mixed, share, 1.0).astype(np.float32))


def mixed_betas(betas: np.ndarray, partner_betas: np.ndarray, share: np.ndarray) -> np.ndarray:
    """share_i betas_i + (1 - share_i) partner_betas_i; betas float32 (trials, voxels), share float32 (trials,)."""
    share = share[:, None]
    return share * betas + (1 - share) * partner_betas


def mixture_labels(
    mixtures: list[Mixture], permutation_offsets: bool = True, fixed_points: str = "summed"
) -> np.ndarray:
    """Labels of a batch that is made of one sub-batch per subject, one after the other, float32 (samples, samples).

        labels_ij = share_i [j = i] + (1 - share_i) [j = partner(i)]

    permutation_offsets: whether a partner's column counts from the start of its own sub-batch. The released code
        (False) counts from the start of the batch, so that partners of all but the first subject are wrong images.
    fixed_points: where a permutation maps a sample to itself, both parts are its own image: "summed" gives it 1;
        "overwritten", the released code, leaves 1 - share, which is 0 for a sample that is not mixed.
    """
    share = np.concatenate([mixture.share for mixture in mixtures])
    starts = np.cumsum([0] + [len(mixture.share) for mixture in mixtures[:-1]])
    partner = np.concatenate(
        [m.partner + (start if permutation_offsets else 0) for m, start in zip(mixtures, starts, strict=True)]
    )
    own = np.arange(len(share))
    labels = np.diag(share)
    if fixed_points == "overwritten":
        labels[own, partner] = 1 - share
    else:
        labels[own, partner] += 1 - share
    return labels.astype(np.float32)
