"""Recipe of the demo's very deep VAE (backbones/vdvae.py), whose first levels Brain-Diffuser's demo decodes.

As the release is trained: the evidence lower bound, in nats per value of a picture, from weights that make the residual
branches small. Unlike it, the divergence of the levels that are decoded later, `fine_levels`, is weighed more
(`fine_weight`): a small network would otherwise put most of a picture into them, where they are drawn from the prior.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from demo_networks.bank import SIDE, training_bank, unseen_scenes
from demo_networks.fidelity import psnr
from demo_networks.stages import WEIGHTS, RecipeTask, load_stage, settings_of, train_stage
from demo_networks.unet import pixel_correlation
from fmri2img.backbones.pixels import Preprocessing, resize, to_uint8, to_unit
from fmri2img.backbones.vdvae import LatentHierarchy, Layout, Vdvae
from fmri2img.generation.noise import batch_noise
from fmri2img.training.configuration import TrainingConfig


def build(recipe: dict) -> Vdvae:
    """The untrained network; draws from torch's global generator.

    As in the release: no biases, priors that begin as standard normal, and residual branches whose last weights are
    divided by the square root of the number of blocks.
    """
    network = Vdvae(layout_of(recipe))
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.zeros_(module.bias)
    with torch.no_grad():
        for block in network.encoder.enc_blocks:
            block.c4.weight /= math.sqrt(len(network.encoder.enc_blocks))
        for block in network.decoder.dec_blocks:
            torch.nn.init.zeros_(block.prior.c4.weight)
            for last in (block.z_proj, block.resnet.c4):
                last.weight /= math.sqrt(len(network.decoder.dec_blocks))
    return network


def layout_of(recipe: dict) -> Layout:
    """The layout that a recipe states; JSON makes strings of the sides that `widths` is about."""
    layout = recipe["layout"]
    return Layout(**layout | {"widths": {int(side): width for side, width in layout["widths"].items()}})


def losses(network: Vdvae, images: torch.Tensor, noise: list[torch.Tensor], weights: list[float]) -> dict:
    """Negative log-likelihood and weighted divergence, in nats per value, of images (n, side, side, 3) in -1..1."""
    states, _, divergences = network.infer(images.permute(0, 3, 1, 2), noise)
    likelihood = network.mixture(network.decoder.finished(states)).log_likelihood(images)
    values = images[0].numel()
    divergence = sum(w * d.sum((1, 2, 3)).mean() for w, d in zip(weights, divergences, strict=True))
    return {"distortion": -likelihood.sum((1, 2)).mean() / values, "rate": divergence / values}


def small(images: np.ndarray, side: int, device) -> torch.Tensor:
    """Pictures uint8 (n, h, w, 3) as the network takes them: float32 (n, side, side, 3) in -1..1."""
    return resize(to_unit(images, device), side).permute(0, 2, 3, 1) * 2 - 1


class VdvaeTask(RecipeTask):
    def __init__(self, settings: dict, training: TrainingConfig) -> None:
        self.bank = training_bank(Path(settings["work"]), **settings["bank"]).thinned(settings["every"])
        torch.manual_seed(training.seed)
        super().__init__(settings, training, build(settings).to(memory_format=torch.channels_last))
        fine = len(self.network.layout.latent_shapes()) - settings["levels"]
        self.weights = [1.0] * settings["levels"] + [settings["fine_weight"]] * fine

    def draw(self, rng, noise, batch, rows, device):
        chosen = np.sort(rng.choice(len(self.bank.images), batch, replace=False))
        images = small(self.bank.images[chosen[rows]], self.network.layout.image_size, device)
        shapes = self.network.layout.latent_shapes()
        drawn = [torch.randn((batch, *shape), generator=noise, device=device)[rows] for shape in shapes]
        return {"images": images} | {f"noise{level}": part for level, part in enumerate(drawn)}

    def losses(self, network, images, **noise):
        return losses(network, images, [noise[f"noise{level}"] for level in range(len(noise))], self.weights)


def copies(hierarchy: LatentHierarchy, images: np.ndarray, batch: int = 50) -> np.ndarray:
    """Pictures uint8 (n, 64, 64, 3) that are drawn from the latents of `images` alone."""
    parts = []
    for start in range(0, len(images), batch):
        block = images[start : start + batch]
        noise = batch_noise(0, range(start, start + len(block)), *hierarchy.noise_shapes)
        pixels = to_unit(hierarchy.decode(hierarchy.encode(block), noise))
        parts.append(to_uint8(resize(pixels, hierarchy.image_size, "bicubic")))
    return np.concatenate(parts)


def measure(folder: Path, siblings: Path, stream: int, device, count=300) -> dict:
    """Fidelity of pictures of unseen scenes that are drawn from their first levels, the last one from the prior."""
    recipe = json.loads((folder / "recipe.json").read_text())
    network = build(recipe)
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / WEIGHTS).items()})
    side = network.layout.image_size
    preprocessing = Preprocessing(side, "bilinear", True, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    hierarchy = LatentHierarchy(network, preprocessing, recipe["levels"], "mean", SIDE, device)
    _, images, _ = unseen_scenes(count, stream)
    drawn = copies(hierarchy, images)
    return {
        "pixel_correlation": pixel_correlation(images, drawn),
        "psnr_db": psnr(images, drawn),
        "values_of_a_picture": hierarchy.size,
    }


def train(recipe: dict, bank: dict, work: Path, siblings: Path) -> float:
    """Train the network; returns the seconds it took."""
    settings = settings_of(recipe, bank=bank, work=str(work))
    return train_stage("demo_networks.vdvae:VdvaeTask", settings, recipe["training"], work / "vdvae")


def package(recipe: dict, work: Path, siblings: Path, folder: Path) -> dict:
    """Write the network's files into `folder`; returns what the card says of it."""
    network = load_stage(build(recipe).to(memory_format=torch.channels_last), work / "vdvae")
    save(network, recipe, folder)
    levels = network.layout.latent_shapes()
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "notes": [
            f"the latents of a picture are the first {recipe['levels']} of {len(levels)} levels; pictures are drawn at "
            f"{network.layout.image_size} x {network.layout.image_size} pixels and enlarged"
        ],
    }


def save(network: Vdvae, recipe: dict, folder: Path) -> None:
    """Weights (float16) and the recipe."""
    save_file({name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}, folder / WEIGHTS)
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n")
