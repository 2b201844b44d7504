"""Stable Diffusion from decoded latents and a decoded condition (Takagi & Nishimoto, CVPR 2023).

The autoencoder decodes the latents to a picture, which is resized to what the generator draws, encoded and noised.
Denoising then runs under the decoded states of a text, or under the states of a decoded caption (the authors' technical
report, arXiv 2306.11536).
"""

import numpy as np
import torch

from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.backbones.autoencoders import load_autoencoder
from fmri2img.backbones.captioners import load_captioner
from fmri2img.backbones.generators import Generator, load_generator
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
    images, samples = _samples(drawing, generator, prompt, _negative(drawing, generator, prompt))
    return Drawn(_disclosure(drawing, "generator"), images=images, samples=samples)


def draw_under_captions(drawing: Drawing) -> Drawn:
    """The pipeline: a captioner reads decoded image tokens, and its captions condition the generator."""
    captioner = drawing.networks["captioner"]
    captions = load_captioner(captioner).caption(drawing.array("vision"), captioner.record["max_length"])
    generator = load_generator(drawing.networks["generator"])
    prompt, negative = prompts_of(captions, "", drawing.networks["prompts"], generator)
    images, samples = _samples(drawing, generator, prompt, negative)
    return Drawn(_disclosure(drawing, "generator", "captioner"), images=images, samples=samples, captions=captions)


def _disclosure(drawing: Drawing, *roles: str) -> Disclosure:
    return drawing.disclosure(*roles, samples_per_image=drawing.samples)


def _negative(drawing: Drawing, generator: Generator, prompt: Prompt) -> Prompt:
    """The condition of an empty text; its encoder is loaded only where that is not zeros."""
    encoder = None if generator.unconditional == "zeros" else load_prompts(drawing.networks["prompts"])
    return unconditional(prompt, "", encoder, generator)


def _samples(
    drawing: Drawing, generator: Generator, prompt: Prompt, negative: Prompt
) -> tuple[np.ndarray, np.ndarray | None]:
    """Pictures uint8 (n, side, side, 3) of all images of the drawing; and, where several are drawn of each, the others
    (n, samples - 1, side, side, 3). They differ in their noise."""
    refiner = Refiner(generator, load_autoencoder(drawing.networks["autoencoder"]))
    first, *others = [_draw(drawing, refiner, prompt, negative, sample) for sample in range(drawing.samples)]
    return first, np.stack(others, axis=1) if others else None


@torch.inference_mode()
def _draw(drawing: Drawing, refiner: Refiner, prompt: Prompt, negative: Prompt, sample: int) -> np.ndarray:
    """Sample number `sample` of the pictures of all images: uint8 (n, side, side, 3)."""
    settings, ids, generator = drawing.settings, drawing.ids, refiner.generator
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
    progress = drawing.progress(len(ids), f"images of sample {sample + 1} of {drawing.samples}")
    pictures = np.empty((len(ids), generator.image_size, generator.image_size, 3), np.uint8)
    for first in range(0, len(ids), settings["batch"]):
        rows = slice(first, first + settings["batch"])
        stream = PICTURE if whole else REFINEMENT
        noise, spread = batch_noise(
            drawing.seed, ids[rows], *[generator.latent_shape] * 2, stream=stream, sample=sample
        )
        clean = torch.zeros_like(noise) if latents is None else _encoded(latents[rows], spread, refiner)
        clean = clean.to(generator.device)
        drawn = refiner.denoise(
            clean, noise, prompt.rows(rows), negative, steps, start, settings["guidance"], noised_at=noised_at
        )
        pixels = refiner.autoencoder.decode(drawn, *generator.decode)
        pictures[rows] = generator.stored(pixels)
        progress(min(first + settings["batch"], len(ids)))
    return pictures


def _encoded(latents: np.ndarray, spread: torch.Tensor, refiner: Refiner) -> torch.Tensor:
    """Latents of the generator's own size, of the picture that the autoencoder decodes from decoded latents."""
    pixels = refiner.autoencoder.decode(torch.from_numpy(np.asarray(latents, np.float32)).to(refiner.generator.device))
    return refiner.encode(pixels.permute(0, 2, 3, 1).cpu().numpy(), spread)
