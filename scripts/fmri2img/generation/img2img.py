"""Refinement: start denoising half-way from a picture, guided by a caption; and the blend with a blurry picture.

As in MindEye2: the unrefined reconstruction is encoded, noised to the level of step `start` of `steps` (13 of 25, so
12 steps run), and denoised under the predicted caption with a negative prompt in the unconditional branch.
"""

from dataclasses import dataclass

import numpy as np
import torch

from fmri2img.backbones.autoencoders import Autoencoder
from fmri2img.backbones.generators import Generator
from fmri2img.backbones.pixels import resize, to_uint8, to_unit
from fmri2img.generation.noise import batch_noise
from fmri2img.generation.unclip import guide

# MindEye2's weight of the refined picture; the paper's text says 4:1, every release of its code does 3:1.
REFINED_WEIGHT = 0.75


@dataclass(frozen=True)
class Prompt:
    """A text condition: states (n, context, width) for cross-attention; pooled (n, dimensions), or None without one."""

    states: np.ndarray
    pooled: np.ndarray | None = None

    def rows(self, rows: slice) -> "Prompt":
        return Prompt(self.states[rows], None if self.pooled is None else self.pooled[rows])


class Refiner:
    """Text-guided image-to-image denoising. `generator` and `autoencoder` are frozen and lie on the same device."""

    def __init__(self, generator: Generator, autoencoder: Autoencoder) -> None:
        self.generator, self.autoencoder = generator, autoencoder

    @torch.inference_mode()
    def refine(
        self,
        images: np.ndarray,
        ids: np.ndarray,
        prompt: Prompt,
        negative: Prompt,
        seed: int,
        steps: int,
        start: int,
        guidance: float,
        batch: int = 32,
    ) -> np.ndarray:
        """Refine images (n, h, w, 3), uint8 or float in 0..1, whose nsd_id are `ids` (n,).

        prompt: one caption per image; negative: a single row, shared by all images.
        start: index of the first of `steps` that is run; 0 starts from almost pure noise, `steps` returns the images
        as the autoencoder sees them.
        Returns uint8 (n, side, side, 3), `side` being the generator's image_size.
        """
        side = self.generator.image_size
        pictures = np.empty((len(images), side, side, 3), np.uint8)
        for first in range(0, len(images), batch):
            rows = slice(first, first + batch)
            latents = self._encode(images[rows])
            latents = self._denoise(latents, ids[rows], prompt.rows(rows), negative, seed, steps, start, guidance)
            pixels = self.autoencoder.decode(latents, *self.generator.decode)
            pictures[rows] = to_uint8(resize(pixels, side))
        return pictures

    def _encode(self, images: np.ndarray) -> torch.Tensor:
        working_side = self.generator.unet.config.sample_size * self.autoencoder.reduction
        pixels = resize(to_unit(images), working_side)
        return self.autoencoder.encode(pixels.permute(0, 2, 3, 1).numpy())

    def _denoise(self, latents, ids, prompt, negative, seed, steps, start, guidance) -> torch.Tensor:
        unet, scheduler = self.generator.unet, self.generator.scheduler
        timesteps = self.generator.set_timesteps(steps)[start:]
        if len(timesteps) == 0:
            return latents
        (noise,) = batch_noise(seed, ids, tuple(latents.shape[1:]))
        # Schedulers with a step counter (Euler) must be told where the run begins before noise is added.
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(start)
        latents = scheduler.add_noise(latents, noise.to(latents.device), timesteps[:1].repeat(len(latents)))
        context, added = self._conditions(prompt, negative, len(latents), guidance)
        for timestep in timesteps:
            stacked = torch.cat([latents, latents]) if guidance != 1 else latents
            inputs = scheduler.scale_model_input(stacked, timestep).to(self.generator.dtype)
            output = unet(inputs, timestep, encoder_hidden_states=context, added_cond_kwargs=added).sample.float()
            latents = scheduler.step(guide(output, guidance), timestep, latents).prev_sample
        return latents

    def _conditions(self, prompt: Prompt, negative: Prompt, n: int, guidance: float):
        def both(positive: np.ndarray, unconditional: np.ndarray) -> torch.Tensor:
            rows = [np.repeat(unconditional, n, axis=0), positive] if guidance != 1 else [positive]
            return torch.from_numpy(np.concatenate(rows)).to(self.generator.device, self.generator.dtype)

        pooled = None if prompt.pooled is None else both(prompt.pooled, negative.pooled)
        context = both(prompt.states, negative.states)
        return context, self.generator.added_conditions(len(context), pooled)


def blend(refined: np.ndarray, blurry: np.ndarray, refined_weight: float = REFINED_WEIGHT) -> np.ndarray:
    """Weighted mean of two sets of uint8 pictures (n, side, side, 3); the blurry one is resized to the refined one."""
    small = resize(to_unit(blurry), refined.shape[1])
    return to_uint8(torch.lerp(small, to_unit(refined), refined_weight))
