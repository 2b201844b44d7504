"""MixCo and BiMixCo: trials are mixed in pairs, and the contrastive loss asks for both images in proportion.

Kim et al., MixCo (2020); Scotti et al., MindEye (2023), eq. 1; MindEye2 uses it for the first third of training:

    betas'_i = share_i betas_i + (1 - share_i) betas_partner(i),    share_i ~ Beta(0.15, 0.15), or 1 for half of them
    labels_ij = share_i [j = i] + (1 - share_i) [j = partner(i)]
    loss = (cross-entropy of the rows of z z'^T / 0.006 with labels + the same of its columns with labels^T) / 2

z, z': l2-normalised projector tokens and image tokens, each flattened to one vector.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Mixture(NamedTuple):
    """How the samples of one subject are mixed: sample i keeps `share[i]` and takes the rest from `partner[i]`.

    partner: int64 (samples,), a permutation; share: float32 (samples,), 1 where a sample is left as it is.
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
    """Labels of a batch that is made of one sub-batch after the other, float32 (samples, samples); see above.

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


def bimixco_loss(similarities: Tensor, labels: Tensor, temperature: float | Tensor) -> Tensor:
    """Bidirectional cross-entropy with mixed labels, 0-d.

    similarities: cosines float32 (samples, samples), brain along rows, images along columns; labels: as
    `mixture_labels`, whose columns (like those of the released code) are used as they are and need not sum to 1.
    """
    logits = similarities / temperature
    to_images = -(logits.log_softmax(1) * labels).sum(1).mean()
    to_brains = -(logits.log_softmax(0) * labels).sum(0).mean()
    return (to_images + to_brains) / 2


def flat_unit(tokens: Tensor) -> Tensor:
    """Tokens (samples, tokens, width) as l2-normalised float32 vectors (samples, tokens * width)."""
    return torch.nn.functional.normalize(tokens.float().flatten(1), dim=1)
