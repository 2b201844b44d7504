"""Stable Diffusion from decoded latents and a decoded condition (Takagi & Nishimoto, CVPR 2023).

The autoencoder decodes the latents to a picture, which is resized to what the generator draws, encoded and noised.
Denoising then runs under the decoded states of a text, or under the states of a decoded caption (the authors' technical
report, arXiv 2306.11536).
"""

import numpy as np
import torch

from fmri2img.backbones.autoencoders import load_autoencoder
from fmri2img.backbones.captioners import load_captioner
from fmri2img.backbones.generators import Generator, load_generator
from fmri2img.backbones.pixels import resize, to_uint8
from fmri2img.backbones.prompts import Prompt, check_width, load_prompts, prompts_of, unconditional
from fmri2img.errors import UserError
from fmri2img.generation.drawing import Drawing, Drawn
from fmri2img.generation.img2img import Refiner
from fmri2img.generation.noise import PICTURE, REFINEMENT, batch_noise

WHOLE = 1.0  # strength at which no picture is noised


def draw_under_states(drawing: Drawing) -> Drawn:
    """The pipeline: decoded latents, denoised under decoded states of a text; at strength 1 from pure noise."""
    generator = load_generator(drawing.networks["generator"])
    prompt = Prompt(np.asarray(drawing.array("states"), np.float32))
    check_width(prompt, generator, "the decoded states")
    images = _draw(drawing, generator, prompt, _negative(drawing, generator, prompt))
    return Drawn(drawing.disclosure("generator"), images=images)


def draw_under_captions(drawing: Drawing) -> Drawn:
    """The pipeline: a captioner reads decoded image tokens, and its captions condition the generator."""
    captioner = drawing.networks["captioner"]
    captions = load_captioner(captioner).caption(drawing.array("vision"), captioner.record["max_length"])
    generator = load_generator(drawing.networks["generator"])
    prompt, negative = prompts_of(captions, "", drawing.networks["prompts"], generator)
    images = _draw(drawing, generator, prompt, negative)
    return Drawn(drawing.disclosure("generator", "captioner"), images=images, captions=captions)


def _negative(drawing: Drawing, generator: Generator, prompt: Prompt) -> Prompt:
    """The condition of an empty text; its encoder is loaded only where that is not zeros."""
    encoder = None if generator.unconditional == "zeros" else load_prompts(drawing.networks["prompts"])
    return unconditional(prompt, "", encoder, generator)


@torch.inference_mode()
def _draw(drawing: Drawing, generator: Generator, prompt: Prompt, negative: Prompt) -> np.ndarray:
    """Pictures uint8 (n, side, side, 3) of all images of the drawing."""
    settings, ids = drawing.settings, drawing.ids
    refiner = Refiner(generator, load_autoencoder(drawing.networks["autoencoder"]))
    whole = settings["strength"] == WHOLE
    latents = None if whole else drawing.array("latents")
    if latents is not None and latents.shape[1] != refiner.autoencoder.channels:
        raise UserError(
            f"{drawing.decoded.path}: its latents have {latents.shape[1]} channels, but the autoencoder has "
            f"{refiner.autoencoder.channels}; name the autoencoder that the decoder was trained with"
        )
    steps = settings["steps"]
    start = steps - max(1, round(settings["strength"] * steps))
    noised_at = max(start - 1, 0) if settings["one_step_noisier"] else start
    progress = drawing.progress(len(ids))
    pictures = np.empty((len(ids), generator.image_size, generator.image_size, 3), np.uint8)
    for first in range(0, len(ids), settings["batch"]):
        rows = slice(first, first + settings["batch"])
        stream = PICTURE if whole else REFINEMENT
        noise, spread = batch_noise(drawing.seed, ids[rows], *[generator.latent_shape] * 2, stream=stream)
        clean = torch.zeros_like(noise) if latents is None else _encoded(latents[rows], spread, refiner)
        clean = clean.to(generator.device)
        drawn = refiner.denoise(
            clean, noise, prompt.rows(rows), negative, steps, start, settings["guidance"], noised_at=noised_at
        )
        pixels = refiner.autoencoder.decode(drawn, *generator.decode)
        pictures[rows] = to_uint8(resize(pixels, generator.image_size))
        progress(min(first + settings["batch"], len(ids)))
    return pictures


def _encoded(latents: np.ndarray, spread: torch.Tensor, refiner: Refiner) -> torch.Tensor:
    """Latents of the generator's own size, of the picture that the autoencoder decodes from decoded latents."""
    pixels = refiner.autoencoder.decode(torch.from_numpy(np.asarray(latents, np.float32)).to(refiner.generator.device))
    return refiner.encode(pixels.permute(0, 2, 3, 1).cpu().numpy(), spread)
