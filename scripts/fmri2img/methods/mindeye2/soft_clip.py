"""SoftCLIP: contrast whose labels are how alike the images of the batch are (Gao et al., 2023; MindEye eq. 2).

    labels = softmax(z' z'^T / temperature) along rows
    loss = (cross-entropy of the rows of z z'^T / temperature with labels + the same of its columns with labels) / 2

Both directions use the same labels, normalised along rows, as in the released code.
"""

from torch import Tensor


def soft_clip_loss(similarities: Tensor, image_similarities: Tensor, temperature: float | Tensor) -> Tensor:
    """Bidirectional cross-entropy with soft labels, 0-d.

    similarities: cosines float32 (samples, samples), brain along rows, images along columns; image_similarities:
    cosines of the images with each other, the same shape.
    """
    labels = (image_similarities / temperature).softmax(1)
    logits = similarities / temperature
    to_images = -(logits.log_softmax(1) * labels).sum(1).mean()
    to_brains = -(logits.T.log_softmax(1) * labels).sum(1).mean()
    return (to_images + to_brains) / 2
