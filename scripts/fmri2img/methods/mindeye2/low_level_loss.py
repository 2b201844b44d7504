"""Losses of the low-level head, always in float32: in float16 they are a known source of NaN.

    L1: mean |predicted latents - scaled autoencoder latents of the image|
    local contrast: each local feature of the head should be as similar to the features of the other places and images
    as a frozen teacher's are. With l2-normalised student s, teacher t and teacher's look at an augmented image a, all
    (places of all images, width), and temperature 0.2:

    loss = (cross-entropy of the rows of s a^T with softmax(t a^T) + of the rows of a s^T with softmax(a t^T)) / 2

Neither target is ever mixed, although betas are in the MixCo phase.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def latent_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error, 0-d, of scaled latents (images, channels, side, side)."""
    return F.l1_loss(predicted.float(), target.float())


def local_contrast_loss(
    student: Tensor, teacher: Tensor, augmented: Tensor, temperature: float, own: slice = slice(None)
) -> Tensor:
    """Soft contrast between places, 0-d; all maps are (images, places, width) and are normalised here.

    own: places (of the flattened images x places) whose rows are averaged. Where several processes each give their own
    places and all of them the same gathered maps, the mean over processes is the loss over all places.
    """
    s, t, a = (F.normalize(maps.float().flatten(0, 1), dim=1) for maps in (student, teacher, augmented))
    to_augmented = _cross_entropy(s[own] @ a.T, t[own] @ a.T, temperature)
    to_student = _cross_entropy(a[own] @ s.T, a[own] @ t.T, temperature)
    return (to_augmented + to_student) / 2


def _cross_entropy(similarities: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    with torch.no_grad():
        labels = (wanted / temperature).softmax(1)
    return -((similarities / temperature).log_softmax(1) * labels).sum(1).mean()
