"""Refinement: denoising starts half-way from a picture and is guided by a caption.

As in MindEye2: the unrefined reconstruction is encoded, noised to the level of step `start` of `steps` (13 of 25, so
12 steps run), and denoised under the predicted caption with a negative prompt in the unconditional branch.
"""

from collections.abc import Callable

import numpy as np
import torch

from fmri2img.backbones.autoencoders import Autoencoder, load_autoencoder
from fmri2img.backbones.generators import Generator, load_generator
from fmri2img.backbones.pixels import resize, to_unit
from fmri2img.backbones.prompts import Prompt, prompts_of
from fmri2img.errors import UserError
from fmri2img.generation.drawing import Drawing, Drawn, drawn_by, identity_of
from fmri2img.generation.noise import REFINEMENT, batch_noise
from fmri2img.generation.unclip import check_pair, guide
from fmri2img.integrity import again


class Refiner:
    """Text-guided image-to-image denoising. `generator` and `autoencoder` are frozen and on the same device.

    Raises UserError when the two do not share a latent space's number of channels.
    """

    def __init__(self, generator: Generator, autoencoder: Autoencoder) -> None:
        self.generator, self.autoencoder = generator, autoencoder
        check_pair(generator, autoencoder)

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
        progress: Callable[[int], None] = lambda done: None,
    ) -> np.ndarray:
        """Refine images (n, h, w, 3), uint8 or float in 0..1, whose image_id are `ids` (n,).

        prompt: one caption per image; negative: a single row, shared by all images. ids and seed fix the noise of an
        image, which differs from the noise it was first drawn from. start: index of the first of the `steps` that runs;
        0 starts from almost pure noise, `steps` returns the images as the autoencoder reconstructs them. progress:
        called with the number of pictures done, after each batch. Returns uint8 (n, side, side, 3), where `side` is the
        generator's image_size.
        """
        side = self.generator.image_size
        pictures = np.empty((len(images), side, side, 3), np.uint8)
        for first in range(0, len(images), batch):
            rows = slice(first, first + batch)
            noise, spread = batch_noise(seed, ids[rows], *[self.generator.latent_shape] * 2, stream=REFINEMENT)
            latents = self.encode(images[rows], spread)
            latents = self.denoise(latents, noise, prompt.rows(rows), negative, steps, start, guidance)
            pixels = self.autoencoder.decode(latents, *self.generator.decode)
            pictures[rows] = self.generator.stored(pixels)
            progress(min(first + batch, len(images)))
        return pictures

    def encode(self, images: np.ndarray, spread: torch.Tensor | None = None) -> torch.Tensor:
        """Scaled latents of images resized to what the generator draws: drawn with the normal numbers `spread`, or the
        posterior's mean."""
        pixels = resize(to_unit(images), self.generator.latent_shape[-1] * self.autoencoder.reduction)
        return self.autoencoder.encode(pixels.permute(0, 2, 3, 1).numpy(), spread)

    @torch.inference_mode()
    def denoise(
        self,
        latents: torch.Tensor,
        noise: torch.Tensor,
        prompt: Prompt,
        negative: Prompt,
        steps: int,
        start: int,
        guidance: float,
        watch: Callable[[int, torch.Tensor], None] = lambda step, latents: None,
        noised_at: int | None = None,
    ) -> torch.Tensor:
        """Refined latents float32 from clean ones and standard normal `noise`, both (n, channels, side, side).

        watch: called after each step that ran, with its number (from 1) and the latents. noised_at: index of the step
        to whose level of noise the latents are brought, if not `start`.
        """
        unet, scheduler = self.generator.unet, self.generator.scheduler
        schedule = self.generator.set_timesteps(steps)
        timesteps, noised_at = schedule[start:], start if noised_at is None else noised_at
        if len(timesteps) == 0:
            return latents
        # Schedulers with a step counter (Euler) need the first step of the run before noise is added.
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(noised_at)
        level = schedule[noised_at : noised_at + 1].repeat(len(latents))
        latents = scheduler.add_noise(latents, noise.to(latents.device), level)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(start)
        context, added = self._conditions(prompt, negative, len(latents), guidance)
        for step, timestep in enumerate(timesteps, start=1):
            stacked = torch.cat([latents, latents]) if guidance != 1 else latents
            inputs = scheduler.scale_model_input(stacked, timestep).to(self.generator.dtype)
            output = unet(inputs, timestep, encoder_hidden_states=context, added_cond_kwargs=added).sample.float()
            latents = scheduler.step(guide(output, guidance), timestep, latents).prev_sample
            watch(step, latents)
        return latents

    def _conditions(self, prompt: Prompt, negative: Prompt, n: int, guidance: float):
        def both(positive: np.ndarray, unconditional: np.ndarray) -> torch.Tensor:
            rows = [np.repeat(unconditional, n, axis=0), positive] if guidance != 1 else [positive]
            return torch.from_numpy(np.concatenate(rows)).to(self.generator.device, self.generator.dtype)

        pooled = None if prompt.pooled is None else both(prompt.pooled, negative.pooled)
        context = both(prompt.states, negative.states)
        return context, self.generator.added_conditions(len(context), pooled)


def draw_refined(drawing: Drawing) -> Drawn:
    """The pipeline: pictures of another stage, redrawn under the captions of the decoder's tokens.

    Raises UserError when pictures and captions are not of the same images.
    """
    unrefined, table = drawing.taken("unrefined"), drawing.captions
    if unrefined.images is None or not np.array_equal(table["image_id"], unrefined.ids):
        captions = drawing.paths["captions"]
        raise UserError(
            f"{captions}: its image_id are not those of the pictures of {unrefined.path}; {again(unrefined.path)}"
        )
    captions = table["caption"].tolist()
    generator = load_generator(drawing.networks["generator"])
    negative_prompt = drawing.settings["negative_prompt"]
    prompt, negative = prompts_of(captions, negative_prompt, drawing.networks["prompts"], generator)
    images = Refiner(generator, load_autoencoder(drawing.networks["autoencoder"])).refine(
        unrefined.images,
        unrefined.ids,
        prompt,
        negative,
        drawing.seed,
        **drawing.chosen("steps", "start", "guidance", "batch"),
        progress=drawing.progress(len(captions)),
    )
    first, own = unrefined.disclosure, drawn_by(drawing.networks["generator"])
    return Drawn(
        first.but(
            generator=f"{first.generator}, {own['generator']}",
            generator_data="; ".join(dict.fromkeys((first.generator_data, own["generator_data"]))),
        ),
        images=images,
        captions=captions,
        retrieval=unrefined.retrieval,
        ids=unrefined.ids,
        identity=identity_of(unrefined),
        facts={"of": unrefined.metadata["method"]},
    )
