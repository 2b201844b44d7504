"""Recipe of the demo's generator under one vector, as class-conditional latent diffusion is under a class's.

Its only token is the image-text model's joint vector of the picture. It is small, because a decoder that fine-tunes its
cross-attention runs it in every step.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from demo_networks.bank import training_bank, unseen_scenes
from demo_networks.clip import embed
from demo_networks.fidelity import retrieval_top1, two_way_identification
from demo_networks.stages import RecipeTask, settings_of, train_stage, weights_digest, working_device
from demo_networks.unclip import mixed_with_others
from demo_networks.unet import (
    GUIDANCE,
    build,
    frozen,
    losses,
    noise_schedule,
    noised,
    packaged,
    pixel_correlation,
    sample,
)
from demo_networks.vae import encoder_digest, latent_shape, latents_of, to_images
from fmri2img.training.configuration import TrainingConfig


def joint_tokens(clip, images: np.ndarray, device) -> np.ndarray:
    """One token for each picture, float32 (n, 1, width): its joint vector times the root of its width.

    The vectors are not normalised: their length is about 5, which is then the standard deviation of a token's values.
    """
    pooled, _ = embed(clip, images, device)
    return (pooled * pooled.shape[1] ** 0.5)[:, None].astype(np.float32)


class JointToImageTask(RecipeTask):
    """settings: also `siblings`, the folder that holds the demo's `clip` and `vae`."""

    def __init__(self, settings: dict, training: TrainingConfig) -> None:
        work, siblings, device = Path(settings["work"]), Path(settings["siblings"]), working_device()
        clip, vae = frozen(siblings, device)
        bank = training_bank(work, **settings["bank"])
        self.latents, self.digest = latents_of(vae, bank, work, device), encoder_digest(vae)
        self.tokens, self.tower = joint_tokens(clip, bank.images, device), weights_digest(clip.visual.parameters())
        self.time_ids = bank.time_ids
        self.levels = noise_schedule()
        torch.manual_seed(training.seed)
        super().__init__(settings, training, build(settings, latent_shape(vae), self.tokens.shape[2]))

    def sources(self):
        return {"latents": self.digest, "image tower": self.tower}

    def draw(self, rng, noise, batch, rows, device):
        chosen = np.sort(rng.choice(len(self.latents), batch, replace=False))
        latents = torch.from_numpy(self.latents[chosen[rows]].astype(np.float32)).to(device)
        time_ids = torch.from_numpy(self.time_ids[chosen[rows]].astype(np.float32)).to(device)
        # mixing needs the tokens of the whole batch
        tokens = torch.from_numpy(self.tokens[chosen]).to(device)
        tokens = mixed_with_others(tokens, self.settings["token_mixing"], noise)[rows]
        drawn = noised(self.levels, latents, batch, rows, noise, self.settings["token_dropout"])
        return drawn | {"tokens": tokens, "time_ids": time_ids}

    def losses(self, network, **noisy):
        return losses(network, self.levels, **noisy)

    def save(self, directory, metadata):
        self.network.save_pretrained(directory / "unet")


def train(recipe: dict, bank: dict, work: Path, siblings: Path) -> float:
    """Train the network; returns the seconds it took."""
    settings = settings_of(recipe, bank=bank, work=str(work), siblings=str(siblings))
    return train_stage("demo_networks.joint2img:JointToImageTask", settings, recipe["training"], work / "joint2img")


def package(recipe: dict, work: Path, siblings: Path, folder: Path) -> dict:
    """Write the network's files into `folder`; returns what the card says of it."""
    token = "one token, the joint vector, which is not normalised, times the root of its width; zeros for none"
    return packaged(work / "joint2img" / "unet", folder, token)


def measure(folder: Path, siblings: Path, stream: int, device, count=200) -> dict:
    """Fidelity of the pictures that the network draws from the joint vectors of unseen scenes."""
    clip, vae = frozen(siblings, device)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").float().to(device).eval()
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    _, images, _ = unseen_scenes(count, stream)
    tokens = joint_tokens(clip, images, device)
    copies = to_images(vae, sample(unet, scheduler, tokens, guidance=GUIDANCE), device)
    redrawn, _ = embed(clip, copies, device)
    pooled = tokens[:, 0]
    return {
        "two_way_own_encoder": two_way_identification(pooled, redrawn),
        "top1_of_200_own_encoder": retrieval_top1(redrawn, pooled),
        "pixel_correlation": pixel_correlation(images, copies),
        "sampling_steps": 12,
        "guidance": GUIDANCE,
    }
