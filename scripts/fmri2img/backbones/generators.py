"""Denoising networks (diffusers UNet2DConditionModel) with the sampler they were trained for.

Two formats: a diffusers folder, and a single checkpoint of Stability's generative-models code ("sgm", see
autoencoders.py), whose UNet is renamed by diffusers' own converter.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fmri2img.backbones.autoencoders import from_sgm, read_sgm
from fmri2img.backbones.pixels import placement, resize, to_uint8
from fmri2img.backbones.registry import Backbone, expect_kind

SGM_PREFIX = "model.diffusion_model."


@dataclass(frozen=True)
class Generator:
    """A frozen UNet, its diffusers scheduler, and settings of its use.

    size_conditioning: inputs of SDXL's size embedding, e.g. (original height, original width, crop top, crop left);
    empty for networks without one (Stable Diffusion 1, latent diffusion).
    unconditional: the input that means "no tokens" in guidance, "zeros" or "noise" (fresh standard normal). decode:
    scale and offset that map the autoencoder's output to 0..1. image_size: side in pixels of the pictures that are
    drawn. timesteps: "scheduler" for the scheduler's own grid, "sgm" for the grid of Stability's samplers: whole
    numbers from the last training step down, n of n + 1 points evenly spaced to 0. extra_noise and offset_noise: see
    `initial_latents`. latent_side: side of the latents it works on, if that is not the network's own (128 for SDXL,
    which is 1024 pixels). antialias: whether pictures that are stored smaller than they are drawn are filtered first.
    """

    name: str
    revision: str
    unet: torch.nn.Module
    scheduler: object
    size_conditioning: tuple[int, ...]
    decode: tuple[float, float]
    image_size: int
    unconditional: str = "zeros"
    timesteps: str = "scheduler"
    extra_noise: bool = False
    offset_noise: float = 0.0
    latent_side: int | None = None
    antialias: bool = True

    def stored(self, pixels: torch.Tensor) -> np.ndarray:
        """Pictures uint8 (n, image_size, image_size, 3) of what an autoencoder decodes (n, 3, side, side), in 0..1."""
        return to_uint8(resize(pixels, self.image_size, antialias=self.antialias))

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels and sides of one picture's latents."""
        side = self.latent_side or self.unet.config.sample_size
        return self.unet.config.in_channels, side, side

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.unet.parameters()).dtype

    def set_timesteps(self, steps: int) -> torch.Tensor:
        """Prepare the scheduler for `steps` steps and return its time steps, latest first."""
        if self.timesteps == "sgm":
            grid = np.linspace(self.scheduler.config.num_train_timesteps - 1, 0, steps, endpoint=False).astype(int)
            self.scheduler.set_timesteps(timesteps=grid.tolist(), device=self.device)
        else:
            self.scheduler.set_timesteps(steps, device=self.device)
        return self.scheduler.timesteps

    def initial_latents(self, noise: torch.Tensor, extra: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """Latents at the start: sigma * (noise + offset_noise * shift), plus `extra` if the generator has extra noise.

        noise, extra: standard normal (n, channels, side, side); shift: standard normal (n, 1), one number per picture.
        sigma is the first noise level of the steps that were set last. MindEye2 adds 0.04 of a shift, as its checkpoint
        was trained to expect, and noises random latents instead of zeros, which is the extra unit of noise.
        """
        latents = self.scheduler.init_noise_sigma * (noise + self.offset_noise * shift[:, :, None, None])
        return latents + extra if self.extra_noise else latents

    def added_conditions(self, n: int, pooled_text: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """SDXL's vector condition of `n` images: the pooled text (absent in unCLIP) and the size conditioning.

        Empty for a network without size conditioning.
        """
        if not self.size_conditioning:
            return {}
        sizes = torch.tensor(self.size_conditioning, device=self.device, dtype=self.dtype).repeat(n, 1)
        text = torch.empty(n, 0, device=self.device, dtype=self.dtype) if pooled_text is None else pooled_text
        return {"text_embeds": text, "time_ids": sizes}


def load_generator(backbone: Backbone, device=None) -> Generator:
    """Load a UNet and its scheduler.

    Raises UserError for a missing or altered file, and for a checkpoint with a missing or unexpected tensor.
    """
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    expect_kind(backbone, "diffusers_unet")
    record = backbone.record
    device, dtype = placement(backbone, device)
    folder = backbone.checked_folder()
    if record.get("format") == "sgm":
        tensors = read_sgm(folder / record["checkpoint"], SGM_PREFIX, dtype)
        unet = unet_from_sgm(tensors, record["unet"], f"backbone {backbone.name}")
    else:
        unet = UNet2DConditionModel.from_pretrained(folder / record.get("subfolder", ""), torch_dtype=dtype)
    return generator_of(backbone, unet.to(device).eval().requires_grad_(False), folder)


def generator_of(backbone: Backbone, unet: torch.nn.Module, folder: Path) -> Generator:
    """A loaded network with its registered settings; its scheduler is registered, or in a subfolder of `folder`."""
    record = backbone.record
    scheduler = record.get("scheduler", "")
    if isinstance(scheduler, str):
        scheduler = json.loads((folder / scheduler / "scheduler_config.json").read_text(encoding="utf-8"))
    return Generator(
        name=backbone.name,
        revision=backbone.revision,
        unet=unet,
        scheduler=scheduler_from_config(scheduler),
        size_conditioning=tuple(record.get("size_conditioning", ())),
        decode=(record["decode"]["scale"], record["decode"]["offset"]),
        image_size=record["image_size"],
        unconditional=record.get("unconditional", "zeros"),
        timesteps=record.get("timesteps", "scheduler"),
        extra_noise=record.get("initial_noise", {}).get("extra", False),
        offset_noise=record.get("initial_noise", {}).get("offset", 0.0),
        latent_side=record.get("latent_side"),
        antialias=record.get("antialias", True),
    )


def scheduler_from_config(config: dict):
    """A diffusers scheduler of the class that the configuration names in `_class_name`."""
    import diffusers

    return getattr(diffusers, config["_class_name"]).from_config(config)


def unet_from_sgm(tensors: dict[str, torch.Tensor], config: dict, what: str) -> torch.nn.Module:
    """Build a UNet2DConditionModel from sgm tensors (names begin with `model.diffusion_model.`).

    config: the constructor's arguments. Raises UserError as `from_sgm`.
    """
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    return from_sgm(unet, convert_ldm_unet_checkpoint, tensors, what, "unet")
