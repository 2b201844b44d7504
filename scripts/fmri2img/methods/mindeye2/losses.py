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
from fmri2img.networks.losses import contrast_loss, latent_loss, shared_local_contrast_loss
from fmri2img.networks.prior import prior_loss


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
            contrast = contrast_loss(
                encoded.projected, target, batch["temperature"], batch.get("labels"), self._gathers
            )
            terms["contrast"] = self.config.contrast * contrast
            if self.model.low_level is not None:
                weight = self.config.low_level
                terms["latents"] = weight * latent_loss(encoded.latents, batch["latents"])
                local = shared_local_contrast_loss(
                    encoded.maps, batch["maps"], batch["augmented_maps"], self.config.local_temperature, self._gathers
                )
                terms["local"] = weight * self.config.local_contrast * local
        return terms

    @property
    def _gathers(self) -> bool:
        return self.config.negatives == "gathered"
