"""MindEye1's training objective, the weighted sum of the losses of both networks.

    L = 30 L_prior + L_contrast        of the high-level network
    L = L1 of latents / s + 0.1 L_local    of the low-level network

L_prior (prior.prior_loss): mean squared error of the image tokens that the diffusion prior predicts, given unprojected
tokens; the tokens are multiplied by `token_scale`. Its target is the image of the trial itself, also where betas are
mixed. L_contrast: BiMixCo for the first third of the epochs, SoftCLIP afterwards. s is the scaling factor of the
autoencoder, .18215: the error is that of unscaled latents. The networks share nothing, so that one optimiser trains
them as two would.

Low-level losses, and all contrastive ones, are computed in float32, as in the released code.
"""

import torch
from torch import Tensor, nn

from fmri2img.methods.mindeye1.network import MindEye1
from fmri2img.methods.mindeye1.settings import LossConfig
from fmri2img.networks.losses import contrast_loss, latent_loss, shared_local_contrast_loss
from fmri2img.networks.prior import prior_loss


class Objective(nn.Module):
    """The networks with their losses: what the training engine wraps and calls.

    forward(batch) -> weighted loss terms, each 0-d float32. `batch` holds this process's share:

        betas        float32 (samples, voxels), mixed where this is the MixCo phase
        tokens       (samples, tokens, token_width) of the samples' own images
        temperature  0-d, of the contrastive loss
        labels       float32 (compared samples, compared samples), in the MixCo phase only
        kept         masks of dropout, name -> bool (samples, units) (training.dropout.masks)
        t, noise, keep_brain, keep_image    random numbers of the diffusion (prior_loss)
        low_level    betas, latents, maps, augmented_maps and kept of the low-level network's own samples, where there
                     is one
    """

    def __init__(self, model: MindEye1, config: LossConfig, local: tuple[float, float], latent_scale: float) -> None:
        """local: weight and temperature of the contrast of local features; latent_scale: the autoencoder's factor."""
        super().__init__()
        self.model, self.config, self.latent_scale = model, config, latent_scale
        self.local_weight, self.local_temperature = local

    def forward(self, batch: dict) -> dict[str, Tensor]:
        target = batch["tokens"].float()
        tokens, projected = self.model.voxel2clip(batch["betas"], batch["kept"])
        scaled = self.model.high_level_config.token_scale * target
        noise = (batch["t"], batch["noise"], batch["keep_brain"], batch["keep_image"])
        loss, _ = prior_loss(self.model.prior, scaled, tokens, *noise)
        gathers = self.config.negatives == "gathered"
        with torch.autocast(target.device.type, enabled=False):
            contrast = contrast_loss(projected, target, batch["temperature"], batch.get("labels"), gathers)
            terms = {"prior": self.config.prior * loss, "contrast": self.config.contrast * contrast}
            if self.model.voxel2sd is not None:
                terms |= self._low_level(batch["low_level"], gathers)
        return terms

    def _low_level(self, batch: dict, gathers: bool) -> dict[str, Tensor]:
        latents, maps = self.model.voxel2sd(batch["betas"], batch["kept"])
        local = shared_local_contrast_loss(
            maps, batch["maps"], batch["augmented_maps"], self.local_temperature, gathers
        )
        error = latent_loss(latents, batch["latents"]) / self.latent_scale
        return {"latents": error, "local": self.local_weight * local}
