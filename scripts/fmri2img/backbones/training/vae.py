"""Recipe of the demo's image autoencoder: a small diffusers AutoencoderKL whose latents have unit variance."""

import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import nn

from fmri2img.backbones.training.bank import SIDE, precomputed, unseen_scenes
from fmri2img.backbones.training.clip import to_network
from fmri2img.backbones.training.fidelity import psnr
from fmri2img.backbones.training.fitting import Schedule


def build(recipe: dict) -> AutoencoderKL:
    channels = recipe["block_out_channels"]
    return AutoencoderKL(
        sample_size=64,
        latent_channels=recipe["latent_channels"],
        block_out_channels=channels,
        down_block_types=["DownEncoderBlock2D"] * len(channels),
        up_block_types=["UpDecoderBlock2D"] * len(channels),
        layers_per_block=recipe["layers_per_block"],
        norm_num_groups=recipe["norm_num_groups"],
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


def losses(vae: AutoencoderKL, images: torch.Tensor, kl_weight: float) -> dict[str, torch.Tensor]:
    posterior = vae.encode(images).latent_dist
    copies = vae.decode(posterior.sample()).sample.float()
    kl = posterior.kl().mean() / posterior.mean[0].numel()
    return reconstruction(copies, images) | {"kl": kl_weight * kl}


def reconstruction(copies: torch.Tensor, images: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"l2": F.mse_loss(copies, images), "l1": 0.1 * F.l1_loss(copies, images)}


def latent_shape(vae: AutoencoderKL) -> tuple[int, int, int]:
    """Channels, height and width of a picture's latents."""
    side = SIDE // 2 ** (len(vae.config.block_out_channels) - 1)
    return vae.config.latent_channels, side, side


@torch.no_grad()
def to_latents(vae, images: np.ndarray, device, batch: int = 128) -> np.ndarray:
    """Scaled mean latents (n, channels, side, side) float32 of images (n, 64, 64, 3) uint8."""
    parts = []
    for start in range(0, len(images), batch):
        x = to_network(images[start : start + batch], device).contiguous(memory_format=torch.channels_last)
        parts.append(vae.encode(x).latent_dist.mean.float().cpu().numpy())
    return np.concatenate(parts) * vae.config.scaling_factor


@torch.no_grad()
def to_images(vae, latents: np.ndarray, device, batch: int = 128) -> np.ndarray:
    """Pictures (n, 64, 64, 3) uint8 of scaled latents."""
    parts = []
    for start in range(0, len(latents), batch):
        z = torch.from_numpy(latents[start : start + batch]).float().to(device) / vae.config.scaling_factor
        pixels = (vae.decode(z).sample.float().clamp(-1, 1) + 1) * 127.5
        parts.append(pixels.round().byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(parts)


@torch.no_grad()
def standardise(vae: AutoencoderKL, latents: np.ndarray) -> None:
    """Give each latent channel zero mean and unit variance, without changing any picture.

    `latents` (n, channels, side, side) are means of training scenes. The change of scale goes into the two 1 x 1
    convolutions on either side of the latents, so that the folder needs no per-channel statistics.
    """
    mean = torch.from_numpy(latents.mean((0, 2, 3))).float()
    std = torch.from_numpy(latents.std((0, 2, 3))).float()
    device = vae.quant_conv.weight.device
    mean, std = mean.to(device), std.to(device)
    n = len(mean)
    into, out = vae.quant_conv, vae.post_quant_conv
    into.weight[:n] /= std[:, None, None, None]
    into.bias[:n] = (into.bias[:n] - mean) / std
    into.bias[n:] -= 2 * std.log()
    out.bias += out.weight[:, :, 0, 0] @ mean
    out.weight *= std[None, :, None, None]


def encoder_digest(vae: AutoencoderKL) -> str:
    """Names the latents of an autoencoder: changes with its encoder, not with its decoder."""
    weights = [*vae.encoder.parameters(), *vae.quant_conv.parameters()]
    return hashlib.sha256(b"".join(w.detach().cpu().half().numpy().tobytes() for w in weights)).hexdigest()[:12]


def refine_decoder(vae, bank, work: Path, device, fit, schedule, latent_noise: float, every: int):
    """Train the decoder alone on the latents of the frozen encoder; `latent_noise` makes it forgive small errors."""
    bank = bank.thinned(every)
    shape = latent_shape(vae)
    latents = precomputed(
        work.parent, "latents", encoder_digest(vae), bank.images, shape, lambda x: to_latents(vae, x, device)
    )
    decoder = nn.ModuleDict({"post_quant_conv": vae.post_quant_conv, "decoder": vae.decoder}).requires_grad_(True)

    def loss_of(module, rng):
        chosen = np.sort(rng.choice(len(bank.images), schedule.batch, replace=False))
        z = torch.from_numpy(latents[chosen].astype(np.float32)).to(device)
        z = (z + latent_noise * torch.randn_like(z)).contiguous(memory_format=torch.channels_last)
        copies = module["decoder"](module["post_quant_conv"](z)).float()
        return reconstruction(copies, to_network(bank.images[chosen], device))

    fitted = fit(decoder, loss_of, schedule, work / "decoder", device)
    vae.post_quant_conv, vae.decoder = fitted.module["post_quant_conv"], fitted.module["decoder"]
    return fitted.seconds


def measure(folder: Path, siblings: Path, stream: int, device) -> dict:
    """Fidelity of 500 unseen scenes that went through the latents."""
    vae = AutoencoderKL.from_pretrained(folder).float().to(device).eval()
    _, images, _ = unseen_scenes(500, stream)
    latents = to_latents(vae, images, device)
    return {"psnr_db": psnr(images, to_images(vae, latents, device)), "latent_std": float(latents.std())}


def train(recipe: dict, bank, work: Path, folder: Path, device, fit, schedule, siblings: Path) -> dict:
    """Train, save into `folder`, and return what the card says: parameters, seconds, notes.

    First encoder and decoder together, then, with the latents settled, the decoder alone.
    """
    torch.manual_seed(schedule.seed)
    vae = build(recipe).to(memory_format=torch.channels_last)

    def loss_of(module, rng):
        chosen = np.sort(rng.choice(len(bank.images), schedule.batch, replace=False))
        x = to_network(bank.images[chosen], device).contiguous(memory_format=torch.channels_last)
        return losses(module, x, recipe["kl_weight"])

    fitted = fit(vae, loss_of, schedule, work, device)
    vae, seconds = fitted.module.float(), fitted.seconds
    standardise(vae, to_latents(vae, bank.images[:2000], device))
    # Rounded to the precision that is stored, so that the decoder learns the latents that users will get.
    vae.half().float()
    second = Schedule(**recipe["decoder_schedule"])
    if second.steps:
        seconds += refine_decoder(vae, bank, work, device, fit, second, recipe["latent_noise"], recipe["every"])
    vae.half().save_pretrained(folder)
    return {
        "parameters": sum(p.numel() for p in vae.parameters()),
        "seconds": seconds,
        "notes": [f"latents: {latent_shape(vae)}, zero mean and unit variance in each channel; scaling_factor 1"],
    }
