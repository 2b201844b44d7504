"""Dual guidance: image tokens and text states to pictures, by denoising latents that attend to both.

In every cross-attention block what the text transformer adds has the weight `text_share`, what the image transformer
adds the rest (Versatile Diffusion, Xu et al. 2023). Denoising starts from noise, or half-way from another picture.
Brain-Diffuser runs 37 of 50 DDIM steps from the picture of a very deep VAE, with a text share of .4 and guidance 7.5;
MindEye1 17 of 20 UniPC steps from a blurry picture, without text, with guidance 3.5.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from fmri2img.backbones.autoencoders import Autoencoder
from fmri2img.backbones.dual_unet import set_mixing
from fmri2img.backbones.generators import Generator
from fmri2img.backbones.pixels import resize, to_unit
from fmri2img.errors import UserError
from fmri2img.generation.noise import batch_noise
from fmri2img.generation.unclip import check_pair, guide


@dataclass(frozen=True)
class Start:
    """Pictures (n, h, w, 3), uint8 or float in 0..1, from which denoising starts.

    strength: share of the steps that run, rounded down: 1 keeps almost nothing of the pictures, 0 returns them as the
    autoencoder reconstructs them. early_noise: whether they are noised as much as the step before the first one that
    runs expects, as the samplers of CompVis do and Brain-Diffuser with them, or as the first one does (diffusers,
    MindEye1). mean, deviation: of each channel, by which the pictures are normalised for the autoencoder; by default
    to -1..1, as it was trained.
    """

    images: np.ndarray
    strength: float
    early_noise: bool = False
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    deviation: tuple[float, float, float] = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Context:
    """What guides the pictures: vision (n, tokens, width) and text (n, positions, width), of any float type.

    Either may be None where its share is zero. As the unconditional context, both have one row, or n.
    """

    vision: np.ndarray | None
    text: np.ndarray | None

    def zeros(self) -> "Context":
        """The unconditional context of networks that were trained with zeros for it."""
        return Context(*(None if part is None else np.zeros_like(part[:1]) for part in (self.vision, self.text)))

    def joined(self, rows: slice, n: int) -> torch.Tensor:
        """Text states, then image tokens, of `rows` or of the only row `n` times: float32 (n, length, width)."""
        parts = [part for part in (self.text, self.vision) if part is not None]
        parts = [np.repeat(part, n, axis=0) if len(part) == 1 else part[rows] for part in parts]
        return torch.from_numpy(np.concatenate([np.asarray(part, np.float32) for part in parts], axis=1))


class DualGuidedGenerator:
    """Draws pictures under two contexts. `generator` (a dual network) and `autoencoder` are frozen, on one device.

    Raises UserError when the two do not share a latent space's number of channels.
    """

    def __init__(self, generator: Generator, autoencoder: Autoencoder) -> None:
        self.generator, self.autoencoder = generator, autoencoder
        check_pair(generator, autoencoder)

    @torch.inference_mode()
    def generate(
        self,
        context: Context,
        ids: np.ndarray,
        seed: int,
        steps: int,
        guidance: float,
        text_share: float,
        unconditional: Context | None = None,
        start: Start | None = None,
        sample: int = 0,
        batch: int = 32,
        progress: Callable[[int], None] = lambda done: None,
    ) -> np.ndarray:
        """One picture per row of the context: uint8 (n, side, side, 3), where `side` is the generator's image_size.

        ids: image_id (n,); with `seed` and `sample`, the number of the sample of an image, it fixes the noise.
        unconditional: context of the unconditional branch of classifier-free guidance, zeros if not given. progress:
        called with the number of pictures done, after each batch. Raises UserError when a context is missing that has a
        share, or is not as wide as the generator takes.
        """
        context = self._checked(context, text_share)
        unconditional = context.zeros() if unconditional is None else self._checked(unconditional, text_share)
        lengths = (0 if part is None else part.shape[1] for part in (context.text, context.vision))
        set_mixing(self.generator.unet, text_share, *lengths)
        side = self.generator.image_size
        pictures = np.empty((len(ids), side, side, 3), np.uint8)
        for first in range(0, len(ids), batch):
            rows = slice(first, first + batch)
            noise, spread = batch_noise(seed, ids[rows], *[self.generator.latent_shape] * 2, sample=sample)
            n = len(noise)
            begin = None if start is None else (self._encode(start, rows, spread), start)
            both = [part.joined(rows, n) for part in (unconditional, context)]
            latents = self._denoise(noise, begin, both, steps, guidance)
            pixels = self.autoencoder.decode(latents, *self.generator.decode)
            pictures[rows] = self.generator.stored(pixels)
            progress(min(first + batch, len(ids)))
        return pictures

    def _checked(self, context: Context, text_share: float) -> Context:
        """The context without a part that has no share. Raises UserError for a part that is missing or too wide."""
        width = self.generator.unet.config.cross_attention_dim
        parts = {"vision": (context.vision, text_share < 1), "text": (context.text, text_share > 0)}
        for name, (part, needed) in parts.items():
            if needed and (part is None or part.shape[2] != width):
                found = "missing" if part is None else f"of width {part.shape[2]}"
                raise UserError(
                    f"generator {self.generator.name}: at a text share of {text_share:g} it takes {name} states of "
                    f"width {width}, but they are {found}; decode the states of the encoder it was trained with"
                )
        return Context(*(part if needed else None for part, needed in parts.values()))

    def _encode(self, start: Start, rows: slice, spread: torch.Tensor) -> torch.Tensor:
        side = self.generator.latent_shape[-1] * self.autoencoder.reduction
        pixels = resize(to_unit(start.images[rows]), side, "bicubic").clamp(0, 1)
        mean, deviation = (torch.tensor(values)[:, None, None] for values in (start.mean, start.deviation))
        pixels = 0.5 + 0.5 * (pixels - mean) / deviation  # which the autoencoder maps to 2 x - 1
        return self.autoencoder.encode(pixels.permute(0, 2, 3, 1).numpy(), spread)

    def _denoise(
        self,
        noise: torch.Tensor,
        begin: tuple[torch.Tensor, Start] | None,
        contexts: list[torch.Tensor],
        steps: int,
        guidance: float,
    ) -> torch.Tensor:
        """Clean latents float32. begin: latents of the start pictures; contexts: unconditional and conditional."""
        generator, scheduler = self.generator, self.generator.scheduler
        timesteps = generator.set_timesteps(steps)
        noise = noise.to(generator.device)
        if begin is None:
            latents = noise * scheduler.init_noise_sigma
        else:
            clean, start = begin
            first = steps - int(start.strength * steps)
            if first == steps:
                return clean
            latents = self._noised(clean, noise, timesteps, max(first - start.early_noise, 0))
            _begin_at(scheduler, first)
            timesteps = timesteps[first:]
        guided = guidance != 1
        joined = (torch.cat(contexts) if guided else contexts[1]).to(generator.device, generator.dtype)
        added = generator.added_conditions(len(joined))
        for timestep in timesteps:
            inputs = scheduler.scale_model_input(torch.cat([latents, latents]) if guided else latents, timestep)
            output = generator.unet(
                inputs.to(generator.dtype), timestep, encoder_hidden_states=joined, added_cond_kwargs=added
            ).sample
            latents = scheduler.step(guide(output.float(), guidance), timestep, latents).prev_sample
        return latents

    def _noised(self, clean, noise, timesteps, index: int) -> torch.Tensor:
        _begin_at(self.generator.scheduler, index)
        return self.generator.scheduler.add_noise(clean, noise, timesteps[index].repeat(len(clean)))


def _begin_at(scheduler, index: int) -> None:
    """Schedulers with a step counter need the step at which noise is added, or a run starts."""
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(index)
