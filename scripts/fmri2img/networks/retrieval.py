"""Retrieval among held-out training images, which trainings log and never choose weights by."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fmri2img.networks.losses import flat_unit
from fmri2img.training.targets import Targets
from fmri2img.training.trials import SubjectTrials

POOL = 300  # held-out images, at most
VALIDATION_TRIALS = 256  # trials encoded at a time


def retrieval_of(
    projected: Callable[[Tensor], Tensor], trials: SubjectTrials, targets: Targets, device: torch.device
) -> dict[str, float]:
    """Retrieval among a subject's held-out images.

    projected: betas float32 (trials, voxels) -> tokens for retrieval (trials, tokens, width). retrieval_image: share of
    decoded vectors that are nearest (by cosine) to their own image; retrieval_brain: share of images that are nearest
    to their own decoded vector; chance: of both. Decoded vectors are means over the repeats of an image.
    """
    ids = np.unique(trials.ids(trials.held_out))[:POOL]
    rows = trials.held_out[np.isin(trials.ids(trials.held_out), ids)]
    image = torch.from_numpy(np.searchsorted(ids, trials.ids(rows))).to(device)
    sums = torch.zeros(len(ids), *targets.token_shape, device=device)
    for start in range(0, len(rows), VALIDATION_TRIALS):
        part = slice(start, start + VALIDATION_TRIALS)
        betas = torch.from_numpy(trials.betas(rows[part])).to(device)
        sums.index_add_(0, image[part], projected(betas).float())
    with torch.autocast(device.type, enabled=False):
        similarities = flat_unit(sums) @ flat_unit(targets.tokens(ids).to(device)).T
    own = torch.arange(len(ids), device=device)
    image_share, brain_share = ((similarities.argmax(axis) == own).float().mean().item() for axis in (1, 0))
    return {"retrieval_image": image_share, "retrieval_brain": brain_share, "chance": 1 / len(ids)}
