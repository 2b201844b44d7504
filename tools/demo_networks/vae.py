"""Recipe of the demo's image autoencoder: a small diffusers AutoencoderKL whose latents have unit variance."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import save_model
from torch import nn

from demo_networks.bank import SIDE, Bank, precomputed, training_bank, unseen_scenes
from demo_networks.clip import to_network
from demo_networks.fidelity import psnr
from demo_networks.stages import (
    WEIGHTS,
    RecipeTask,
    load_stage,
    settings_of,
    train_stage,
    weights_digest,
    working_device,
)
from fmri2img.training.configuration import TrainingConfig


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


def losses(vae: AutoencoderKL, images: torch.Tensor, noise: torch.Tensor, kl_weight: float) -> dict[str, torch.Tensor]:
    """Loss terms of `images` that went through latents drawn with standard normal `noise` of the latents' shape."""
    posterior = vae.encode(images).latent_dist
    copies = vae.decode(posterior.mean + posterior.std * noise).sample.float()
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
    return weights_digest([*vae.encoder.parameters(), *vae.quant_conv.parameters()])


def latents_of(vae: AutoencoderKL, bank: Bank, work: Path, device) -> np.ndarray:
    """Latents (scenes, channels, side, side) float16 of a bank, computed once and memory-mapped."""
    return precomputed(
        work, "latents", encoder_digest(vae), bank.images, latent_shape(vae), lambda x: to_latents(vae, x, device)
    )


class VaeTask(RecipeTask):
    """First stage: encoder and decoder. It ends with standardised latents, at the precision that is stored."""

    def __init__(self, settings: dict, training: TrainingConfig) -> None:
        self.bank = training_bank(Path(settings["work"]), **settings["bank"])
        torch.manual_seed(training.seed)
        super().__init__(settings, training, build(settings).to(memory_format=torch.channels_last))

    def draw(self, rng, noise, batch, rows, device):
        chosen = np.sort(rng.choice(len(self.bank.images), batch, replace=False))
        images = to_network(self.bank.images[chosen[rows]], device).contiguous(memory_format=torch.channels_last)
        drawn = torch.randn((batch, *latent_shape(self.network)), generator=noise, device=device)
        return {"images": images, "noise": drawn[rows]}

    def losses(self, network, images, noise):
        return losses(network, images, noise, self.settings["kl_weight"])

    def save(self, directory, metadata):
        vae = self.network.eval()
        standardise(vae, to_latents(vae, self.bank.images[:2000], vae.quant_conv.weight.device))
        # Rounded to the precision that is stored, so that the decoder learns the latents that users will get.
        save_model(vae.half().float(), str(directory / WEIGHTS))


class DecoderTask(RecipeTask):
    """Second stage: the decoder alone, on the latents of the frozen encoder.

    settings: also `start`, the folder of the first stage; latent_noise makes the decoder forgive small errors.
    """

    def __init__(self, settings: dict, training: TrainingConfig) -> None:
        device = working_device()
        self.vae = trained(settings, Path(settings["start"])).to(device)
        self.bank = training_bank(Path(settings["work"]), **settings["bank"]).thinned(settings["every"])
        self.latents = latents_of(self.vae, self.bank, Path(settings["work"]), device)
        decoder = {"post_quant_conv": self.vae.post_quant_conv, "decoder": self.vae.decoder}
        super().__init__(settings, training, nn.ModuleDict(decoder))

    def sources(self):
        return {"latents": encoder_digest(self.vae)}

    def draw(self, rng, noise, batch, rows, device):
        chosen = np.sort(rng.choice(len(self.bank.images), batch, replace=False))
        latents = torch.from_numpy(self.latents[chosen].astype(np.float32)).to(device)
        latents = latents + self.settings["latent_noise"] * torch.randn(latents.shape, generator=noise, device=device)
        return {
            "latents": latents[rows].contiguous(memory_format=torch.channels_last),
            "images": to_network(self.bank.images[chosen[rows]], device),
        }

    def losses(self, network, latents, images):
        return reconstruction(network["decoder"](network["post_quant_conv"](latents)).float(), images)

    def save(self, directory, metadata):
        save_model(self.vae, str(directory / WEIGHTS))


def trained(settings: dict, folder: Path) -> AutoencoderKL:
    """The autoencoder of a stage's folder."""
    return load_stage(build(settings).to(memory_format=torch.channels_last), folder).eval()


def measure(folder: Path, siblings: Path, stream: int, device) -> dict:
    """Fidelity of 500 unseen scenes that went through the latents."""
    vae = AutoencoderKL.from_pretrained(folder).float().to(device).eval()
    _, images, _ = unseen_scenes(500, stream)
    latents = to_latents(vae, images, device)
    return {"psnr_db": psnr(images, to_images(vae, latents, device)), "latent_std": float(latents.std())}


def train(recipe: dict, bank: dict, work: Path, siblings: Path) -> float:
    """Train both stages; returns the seconds they took."""
    settings = settings_of(recipe, bank=bank, work=str(work))
    first = train_stage("demo_networks.vae:VaeTask", settings, recipe["training"], work / "vae")
    settings["start"] = str(work / "vae")
    return first + train_stage(
        "demo_networks.vae:DecoderTask", settings, recipe["decoder_training"], work / "vae-decoder"
    )


def package(recipe: dict, work: Path, siblings: Path, folder: Path) -> dict:
    """Write the network's files into `folder`; returns what the card says of it."""
    vae = trained(recipe, work / "vae-decoder")
    vae.half().save_pretrained(folder)
    return {
        "parameters": sum(p.numel() for p in vae.parameters()),
        "notes": [f"latents: {latent_shape(vae)}, zero mean and unit variance in each channel; scaling_factor 1"],
    }
