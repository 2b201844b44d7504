"""MindEye2's training objective, the weighted sum of its losses.

    L = 30 L_prior + 1 L_contrast + 0.5 (L1 of latents + 0.1 L_local)

L_prior (prior.prior_loss): mean squared error of the image tokens that the diffusion prior predicts, given unprojected
backbone tokens. Its target is the image of the trial itself, also where betas are mixed. L_contrast: BiMixCo for the
first third of the epochs, SoftCLIP afterwards. L1 of latents and L_local are losses of the low-level head. The paper's
eq. 1 divides all weights by 30 and leaves out the inner 0.1.

Contrastive and low-level losses are computed in float32: in float16 they are a known source of NaN.
"""

import torch
from torch import Tensor, nn

from fmri2img.methods.mindeye2.network import MindEye2
from fmri2img.methods.mindeye2.settings import LossConfig
from fmri2img.networks.losses import bimixco_loss, flat_unit, latent_loss, local_contrast_loss, soft_clip_loss
from fmri2img.networks.prior import prior_loss
from fmri2img.training import distributed


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
