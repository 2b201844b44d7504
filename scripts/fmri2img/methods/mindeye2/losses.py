"""MindEye2's training objective, the weighted sum of its losses.

    L = 30 L_prior + 1 L_contrast + 0.5 (L1 of latents + 0.1 L_local)

L_prior (prior.prior_loss): mean squared error of the image tokens that the diffusion prior predicts, given unprojected
backbone tokens. Its target is the image of the trial itself, also where betas are mixed. L_contrast: BiMixCo for the
first third of the epochs, SoftCLIP afterwards. L1 of latents and L_local are losses of the low-level head. The paper's
eq. 1 divides all weights by 30 and leaves out the inner 0.1.

Contrastive and low-level losses are computed in float32: in float16 they are a known source of NaN.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmri2img.methods.mindeye2.network import MindEye2
from fmri2img.methods.mindeye2.prior import prior_loss
from fmri2img.methods.mindeye2.settings import LossConfig
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


class Objective(nn.Module):
    """The network with its losses: what the training engine wraps and calls.

    forward(batch) -> weighted loss terms, each 0-d float32. `batch` holds this process's share:

        betas        subject -> float32 (trials, voxels), mixed where this is the MixCo phase; subjects in the order of
                     the other entries, whose first axis is trials of the first subject, then of the second, ...
        tokens       (trials, tokens, token_width) of the trials' own images
        temperature  0-d, of the contrastive loss
        labels       float32 (samples, samples) of the batch that is compared (all processes' samples, or this one's),
                     in the MixCo phase only
        kept         masks of dropout, name -> bool (trials, units) (training.dropout.masks)
        t, noise, keep_brain, keep_image    random numbers of the diffusion (prior_loss), where there is a prior
        latents, maps, augmented_maps       targets of the low-level head, where there is one
        low_level_rows                      int64, the trials that these are of; absent where they are of all
    """

    def __init__(self, model: MindEye2, config: LossConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, batch: dict) -> dict[str, Tensor]:
        encoded = self.model(batch["betas"], batch.get("low_level_rows", slice(None)), batch["kept"])
        target = batch["tokens"].float()
        terms = {}
        if self.model.prior is not None:
            noise = (batch["t"], batch["noise"], batch["keep_brain"], batch["keep_image"])
            loss, _ = prior_loss(self.model.prior, target, encoded.tokens, *noise)
            terms["prior"] = self.config.prior * loss
        with torch.autocast(target.device.type, enabled=False):
            terms["contrast"] = self.config.contrast * self._contrast(encoded.projected, target, batch)
            if self.model.low_level is not None:
                weight = self.config.low_level
                terms["latents"] = weight * latent_loss(encoded.latents, batch["latents"])
                local = self._local_contrast(encoded.maps, batch["maps"], batch["augmented_maps"])
                terms["local"] = weight * self.config.local_contrast * local
        return terms

    @property
    def _gathers(self) -> bool:
        return self.config.negatives == "gathered"

    def _contrast(self, projected: Tensor, target: Tensor, batch: dict) -> Tensor:
        brains, images = flat_unit(projected), flat_unit(target)
        # Image vectors need no gradient and are gathered whole; of the brain vectors, only their similarities are.
        everyone = distributed.gather(images) if self._gathers else images
        similarities = brains @ everyone.T
        image_similarities = images @ everyone.T
        if self._gathers:
            similarities, image_similarities = map(distributed.gather, (similarities, image_similarities))
        if "labels" in batch:
            return bimixco_loss(similarities, batch["labels"], batch["temperature"])
        return soft_clip_loss(similarities, image_similarities, batch["temperature"])

    def _local_contrast(self, maps: Tensor, teacher: Tensor, augmented: Tensor) -> Tensor:
        student = maps.float()
        if not self._gathers:
            return local_contrast_loss(student, teacher, augmented, self.config.local_temperature)
        positions = student.shape[0] * student.shape[1]
        own = slice(distributed.rank() * positions, (distributed.rank() + 1) * positions)
        gathered = map(distributed.gather, (student, teacher.float(), augmented.float()))
        return local_contrast_loss(*gathered, self.config.local_temperature, own)
