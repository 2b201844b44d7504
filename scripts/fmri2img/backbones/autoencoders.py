"""Image autoencoders (diffusers AutoencoderKL): pictures to the latents a diffusion model works on, and back."""

import numpy as np
import torch

from fmri2img.backbones.pixels import placement, to_unit
from fmri2img.backbones.registry import Backbone, expect_kind
from fmri2img.errors import UserError


class Autoencoder:
    """A frozen AutoencoderKL. Latents are multiplied by its scaling factor (0.13025 for SDXL), as diffusion wants."""

    def __init__(self, vae, device="cpu") -> None:
        self.vae = vae.to(device).eval().requires_grad_(False)
        self.device, self.dtype = torch.device(device), vae.dtype
        self.scaling_factor = vae.config.scaling_factor
        self.reduction = 2 ** (len(vae.config.block_out_channels) - 1)  # pixels per latent, along one side
        self.channels = vae.config.latent_channels

    @torch.inference_mode()
    def encode(self, images: np.ndarray, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Scaled latents, float32 (n, channels, h / reduction, w / reduction) of images (n, h, w, 3).

        noise: standard normal of the latents' shape draws them from the posterior; without it they are its mean.
        """
        pixels = to_unit(images, self.device) * 2 - 1
        posterior = self.vae.encode(pixels.to(self.dtype)).latent_dist
        latents = posterior.mode().float()
        if noise is not None:
            latents = latents + posterior.std.float() * noise.to(self.device)
        return latents * self.scaling_factor

    @torch.inference_mode()
    def decode(self, latents: torch.Tensor, scale: float = 0.5, offset: float = 0.5) -> torch.Tensor:
        """Pictures float32 (n, 3, h, w) of scaled latents, clamped to 0..1 after `output * scale + offset`.

        An autoencoder's output lies in -1..1, hence one half and one half; MindEye2's unCLIP checkpoint wants 0.8
        and 0.2.
        """
        pixels = self.vae.decode((latents / self.scaling_factor).to(self.dtype)).sample.float()
        return (pixels * scale + offset).clamp(0, 1)


def load_autoencoder(backbone: Backbone, device=None) -> Autoencoder:
    """Load an autoencoder from a diffusers folder, or from a registered `checkpoint` of a registered layout (`vae`).

    Raises UserError for a missing or altered file, and for weights of another layout.
    """
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    expect_kind(backbone, "diffusers_vae")
    device, dtype = placement(backbone, device)
    if "vae" in backbone.record:
        vae = AutoencoderKL(**backbone.record["vae"])
        tensors = torch.load(backbone.file(backbone.record["checkpoint"]), map_location="cpu", weights_only=True)
        try:
            vae.load_state_dict(tensors)
        except RuntimeError as error:
            problem = str(error).splitlines()[1].strip()
            raise UserError(f"backbone {backbone.name}: {problem} Correct `vae` in config/backbones.yaml") from None
        return Autoencoder(vae.to(dtype), device)
    folder = backbone.checked_folder() / backbone.record.get("subfolder", "")
    return Autoencoder(AutoencoderKL.from_pretrained(folder, torch_dtype=dtype), device)
