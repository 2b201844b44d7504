"""Losses that compare brains with images: BiMixCo and SoftCLIP of whole vectors, and contrasts of local features.

All are computed in float32: in float16 they are a known source of NaN.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fmri2img.training import distributed


def flat_unit(tokens: Tensor) -> Tensor:
    """Tokens (samples, tokens, width) as l2-normalised float32 vectors (samples, tokens * width)."""
    return F.normalize(tokens.float().flatten(1), dim=1)


def bimixco_loss(similarities: Tensor, labels: Tensor, temperature: float | Tensor) -> Tensor:
    """BiMixCo, 0-d: contrast with both images of a mixed trial, in proportion (Scotti et al., MindEye, 2023, eq. 1).

        loss = (cross-entropy of the rows of z z'^T / temperature with labels + of its columns with labels^T) / 2

    z, z': l2-normalised projector tokens and image tokens, each flattened to one vector. similarities: z z'^T, cosines
    float32 (samples, samples), brain along rows, images along columns; labels: data.mixture_labels, whose columns (like
    those of the released code) are used as they are and need not sum to 1.
    """
    logits = similarities / temperature
    to_images = -(logits.log_softmax(1) * labels).sum(1).mean()
    to_brains = -(logits.log_softmax(0) * labels).sum(0).mean()
    return (to_images + to_brains) / 2


def soft_clip_loss(similarities: Tensor, image_similarities: Tensor, temperature: float | Tensor) -> Tensor:
    """SoftCLIP, 0-d: contrast whose labels are how similar the batch's images are (Gao et al., 2023; MindEye eq. 2).

        labels = softmax(z' z'^T / temperature) along rows
        loss = (cross-entropy of the rows of z z'^T / temperature with labels + of its columns with labels) / 2

    Both directions use the same labels, normalised along rows, as in the released code. similarities: z z'^T, cosines
    float32 (samples, samples), brain along rows, images along columns; image_similarities: z' z'^T, the same shape.
    """
    labels = (image_similarities / temperature).softmax(1)
    logits = similarities / temperature
    to_images = -(logits.log_softmax(1) * labels).sum(1).mean()
    to_brains = -(logits.T.log_softmax(1) * labels).sum(1).mean()
    return (to_images + to_brains) / 2


def contrast_loss(
    projected: Tensor, target: Tensor, temperature: float | Tensor, labels: Tensor | None, gathers: bool
) -> Tensor:
    """BiMixCo where there are labels of mixed trials, else SoftCLIP, of this process's share of a batch, 0-d.

    projected, target: tokens (samples, tokens, width); labels: of all samples that are compared; gathers: whether these
    are the samples of all processes.
    """
    brains, images = flat_unit(projected), flat_unit(target)
    # Image vectors need no gradient and are gathered whole; of the brain vectors, only their similarities are.
    everyone = distributed.gather(images) if gathers else images
    similarities = brains @ everyone.T
    image_similarities = images @ everyone.T
    if gathers:
        similarities, image_similarities = map(distributed.gather, (similarities, image_similarities))
    if labels is not None:
        return bimixco_loss(similarities, labels, temperature)
    return soft_clip_loss(similarities, image_similarities, temperature)


def latent_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error, 0-d, of scaled autoencoder latents (images, channels, side, side); never mixed."""
    return F.l1_loss(predicted.float(), target.float())


def local_contrast_loss(
    student: Tensor, teacher: Tensor, augmented: Tensor, temperature: float, own: slice = slice(None)
) -> Tensor:
    """Soft contrast between positions, 0-d; all maps are (images, positions, width) and are normalised here.

    Each local feature of the head should be as similar to the features of the other positions and images as those of a
    frozen teacher are. With l2-normalised student s, teacher t, and teacher's features a of an augmented image, each
    (positions of all images, width):

        loss = (cross-entropy of the rows of s a^T with softmax(t a^T) + of the rows of a s^T with softmax(a t^T)) / 2

    all products divided by the temperature. The target is never mixed, also where betas are. own: positions (of the
    flattened images x positions) whose rows are averaged. Where several processes each give their own positions and all
    of them the same gathered maps, the mean over processes is the loss over all positions.
    """
    s, t, a = (F.normalize(maps.float().flatten(0, 1), dim=1) for maps in (student, teacher, augmented))
    to_augmented = _cross_entropy(s[own] @ a.T, t[own] @ a.T, temperature)
    to_student = _cross_entropy(a[own] @ s.T, a[own] @ t.T, temperature)
    return (to_augmented + to_student) / 2


def _cross_entropy(similarities: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    with torch.no_grad():
        labels = (wanted / temperature).softmax(1)
    return -((similarities / temperature).log_softmax(1) * labels).sum(1).mean()


def shared_local_contrast_loss(
    student: Tensor, teacher: Tensor, augmented: Tensor, temperature: float, gathers: bool
) -> Tensor:
    """`local_contrast_loss` of this process's share of a batch; gathers: compared with the maps of all processes."""
    student = student.float()
    if not gathers:
        return local_contrast_loss(student, teacher, augmented, temperature)
    positions = student.shape[0] * student.shape[1]
    own = slice(distributed.rank() * positions, (distributed.rank() + 1) * positions)
    gathered = map(distributed.gather, (student, teacher.float(), augmented.float()))
    return local_contrast_loss(*gathered, temperature, own)
