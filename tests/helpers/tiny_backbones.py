"""Untrained networks of the registered classes, a few thousand parameters each, and the oracle that checks samplers."""

import json
from types import SimpleNamespace

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from fmri2img.backbones.autoencoders import Autoencoder
from fmri2img.backbones.generators import Generator, scheduler_from_config

DDIM = {
    "_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
    "clip_sample": False,
}  # fmt: skip
EULER = {
    "_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "prediction_type": "epsilon", "timestep_spacing": "linspace",
}  # fmt: skip
TOKENS, WIDTH = 6, 12


def unet_config(**changes) -> dict:
    return {
        "sample_size": 4, "in_channels": 4, "out_channels": 4, "block_out_channels": [16, 32], "norm_num_groups": 8,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], "layers_per_block": 1,
        "transformer_layers_per_block": [1, 2], "attention_head_dim": [1, 2], "cross_attention_dim": WIDTH,
        "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 32,
    } | changes  # fmt: skip


def tiny_unet(seed: int = 0, **changes) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    return UNet2DConditionModel(**unet_config(**changes)).eval()


def tiny_vae(seed: int = 0) -> AutoencoderKL:
    torch.manual_seed(seed)
    return AutoencoderKL(
        sample_size=8, latent_channels=4, block_out_channels=[8, 8], layers_per_block=1, norm_num_groups=4,
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2, scaling_factor=0.7,
    ).eval()  # fmt: skip


def tiny_generator(unet=None, scheduler: dict = DDIM, **changes) -> Generator:
    settings = {"size_conditioning": (8, 8, 0, 0), "decode": (0.5, 0.5), "image_size": 8} | changes
    unet = unet or tiny_unet()
    return Generator("tiny", "none", unet, scheduler_from_config(scheduler), **settings)


def tiny_autoencoder() -> Autoencoder:
    return Autoencoder(tiny_vae())


class OracleUNet(torch.nn.Module):
    """Knows the clean latents (per row, or one for all) and answers with exactly the noise or velocity that was
    added: any correct sampler must end at those latents, whatever its steps, start and guidance."""

    def __init__(self, clean: torch.Tensor, scheduler: dict) -> None:
        super().__init__()
        self.clean = clean
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.velocity = scheduler["prediction_type"] == "v_prediction"
        self.alphas = scheduler_from_config(scheduler).alphas_cumprod
        self.config = SimpleNamespace(
            sample_size=clean.shape[-1], in_channels=clean.shape[-3], cross_attention_dim=WIDTH
        )

    def forward(self, sample, timestep, encoder_hidden_states, added_cond_kwargs):
        clean = self.clean.repeat(len(sample) // len(self.clean), 1, 1, 1)
        alpha = self.alphas[int(timestep)].double()
        noise = (sample - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        output = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean if self.velocity else noise
        return SimpleNamespace(sample=output.float())


def write_json(path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
