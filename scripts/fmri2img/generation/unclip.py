"""unCLIP: image tokens to pictures, by denoising latents that cross-attend to the tokens.

As in MindEye2's inference with SDXL unCLIP, the vector condition holds only sizes (original height and width, crop top
and left) and is the same in both branches of classifier-free guidance. The unconditional branch is conditioned on fresh
Gaussian noise instead of tokens for MindEye2's checkpoint, and on zeros for the demo's.
"""

from collections.abc import Callable

import numpy as np
import torch

from fmri2img.backbones.autoencoders import Autoencoder, load_autoencoder
from fmri2img.backbones.generators import Generator, load_generator
from fmri2img.errors import UserError
from fmri2img.generation.drawing import Drawing, Drawn
from fmri2img.generation.noise import batch_noise


class UnclipGenerator:
    """Draws pictures from image tokens. `generator` and `autoencoder` are frozen and on the same device.

    Raises UserError when the two do not share a latent space's number of channels.
    """

    def __init__(self, generator: Generator, autoencoder: Autoencoder) -> None:
        self.generator, self.autoencoder = generator, autoencoder
        check_pair(generator, autoencoder)

    @torch.inference_mode()
    def generate(
        self,
        tokens: np.ndarray,
        ids: np.ndarray,
        seed: int,
        steps: int,
        guidance: float,
        batch: int = 32,
        progress: Callable[[int], None] = lambda done: None,
    ) -> np.ndarray:
        """One picture per row of tokens.

        tokens: (n, tokens, width), any float type, not normalised further. ids: int (n,) image_id of each row; with
        `seed` it fixes the image's noise, so that neither the batch size nor the order of rows changes a picture
        (beyond rounding in the last bit of a float). guidance: scale of classifier-free guidance; 1 skips the
        unconditional branch. progress: called with the number of pictures done, after each batch. Returns uint8 (n,
        side, side, 3), where `side` is the generator's image_size. Raises UserError when the tokens do not have the
        width that the generator takes.
        """
        width = self.generator.unet.config.cross_attention_dim
        if tokens.shape[2] != width:
            raise UserError(
                f"configuration: key 'generator': {self.generator.name} takes tokens of width {width}, but the "
                f"encoder's have width {tokens.shape[2]}; choose a generator that was trained on this encoder"
            )
        side = self.generator.image_size
        pictures = np.empty((len(tokens), side, side, 3), np.uint8)
        for start in range(0, len(tokens), batch):
            rows = slice(start, start + batch)
            condition = torch.from_numpy(np.asarray(tokens[rows], np.float32))
            latents = self._draw(condition, ids[rows], seed, steps, guidance)
            pixels = self.autoencoder.decode(latents, *self.generator.decode)
            pictures[rows] = self.generator.stored(pixels)
            progress(min(start + batch, len(tokens)))
        return pictures

    def _draw(self, condition: torch.Tensor, ids, seed: int, steps: int, guidance: float) -> torch.Tensor:
        shape = self.generator.latent_shape
        shapes = shape, tuple(condition.shape[1:]), shape, (1,)
        noise, unconditional, extra, shift = batch_noise(seed, ids, *shapes)
        if self.generator.unconditional == "zeros":
            unconditional = torch.zeros_like(condition)
        timesteps = self.generator.set_timesteps(steps)
        latents = self.generator.initial_latents(noise, extra, shift)
        return self.denoise(latents, timesteps, condition, unconditional, guidance)

    @torch.inference_mode()
    def denoise(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        condition: torch.Tensor,
        unconditional: torch.Tensor,
        guidance: float,
    ) -> torch.Tensor:
        """Clean latents float32 (n, channels, side, side) from noisy ones; this draws no random numbers.

        timesteps: from the generator's `set_timesteps`. condition, unconditional: tokens (n, tokens, width) of the two
        branches of guidance.
        """
        unet, scheduler = self.generator.unet, self.generator.scheduler
        device, dtype = self.generator.device, self.generator.dtype
        latents = latents.to(device)
        guided = guidance != 1
        context = (torch.cat([unconditional, condition]) if guided else condition).to(device, dtype)
        added = self.generator.added_conditions(len(context))
        for timestep in timesteps:
            inputs = scheduler.scale_model_input(torch.cat([latents, latents]) if guided else latents, timestep)
            output = unet(inputs.to(dtype), timestep, encoder_hidden_states=context, added_cond_kwargs=added).sample
            latents = scheduler.step(guide(output.float(), guidance), timestep, latents).prev_sample
        return latents


def check_pair(generator: Generator, autoencoder: Autoencoder) -> None:
    """Raise UserError when the two differ in the number of latent channels."""
    channels = generator.latent_shape[0]
    if channels != autoencoder.channels:
        raise UserError(
            f"configuration: key 'autoencoder': it has {autoencoder.channels} latent channels, generator "
            f"{generator.name} draws {channels}; choose the autoencoder the generator was trained with"
        )


def guide(output: torch.Tensor, guidance: float) -> torch.Tensor:
    """Classifier-free guidance on a stacked (unconditional, conditional) output; the output itself at guidance 1."""
    if guidance == 1:
        return output
    unconditional, conditional = output.chunk(2)
    return unconditional + guidance * (conditional - unconditional)


def draw(drawing: Drawing) -> Drawn:
    """The pipeline: one picture for each row of the decoded tokens."""
    unclip = UnclipGenerator(
        load_generator(drawing.networks["generator"]), load_autoencoder(drawing.networks["autoencoder"])
    )
    images = unclip.generate(
        drawing.array("tokens"),
        drawing.ids,
        drawing.seed,
        **drawing.chosen("steps", "guidance", "batch"),
        progress=drawing.progress(len(drawing.ids)),
    )
    return Drawn(drawing.disclosure("generator"), images=images)
