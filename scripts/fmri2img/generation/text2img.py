"""Text to image: pictures drawn from noise, conditioned on captions alone."""

from collections.abc import Callable

import numpy as np
import torch

from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.backbones.autoencoders import load_autoencoder
from fmri2img.backbones.generators import load_generator
from fmri2img.backbones.prompts import Prompt, prompts_of
from fmri2img.generation.drawing import Drawing, Drawn, drawn_by
from fmri2img.generation.img2img import Refiner
from fmri2img.generation.noise import batch_noise


@torch.inference_mode()
def draw(
    refiner: Refiner,
    ids: np.ndarray,
    prompt: Prompt,
    negative: Prompt,
    seed: int,
    steps: int,
    guidance: float,
    batch: int = 32,
    progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """One picture per row of `prompt`: refinement that starts at the first step, without any picture.

    ids: image_id (n,); with `seed` it fixes an image's noise. negative: a single row, shared by all images. progress:
    called with the number of pictures done, after each batch. Returns uint8 (n, side, side, 3), where `side` is the
    generator's image_size.
    """
    generator, autoencoder = refiner.generator, refiner.autoencoder
    side = generator.image_size
    pictures = np.empty((len(ids), side, side, 3), np.uint8)
    for first in range(0, len(ids), batch):
        rows = slice(first, first + batch)
        (noise,) = batch_noise(seed, ids[rows], generator.latent_shape)
        nothing = torch.zeros_like(noise).to(generator.device)
        latents = refiner.denoise(nothing, noise, prompt.rows(rows), negative, steps, 0, guidance)
        pictures[rows] = generator.stored(autoencoder.decode(latents, *generator.decode))
        progress(min(first + batch, len(ids)))
    return pictures


def draw_true_captions(drawing: Drawing) -> Drawn:
    """The pipeline: pictures from the first reference caption of every image of the cell's test set.

    An image of which no one wrote a caption has the empty text.
    """
    stimuli, split = drawing.stimuli, drawing.split
    ids = drawing.ids
    every = stimuli.captions
    captions = ["" if every[row] is None else every[row][0] for row in stimuli.rows(ids)]
    generator = load_generator(drawing.networks["generator"])
    negative_prompt = drawing.settings["negative_prompt"]
    prompt, negative = prompts_of(captions, negative_prompt, drawing.networks["prompts"], generator)
    images = draw(
        Refiner(generator, load_autoencoder(drawing.networks["autoencoder"])),
        ids,
        prompt,
        negative,
        drawing.seed,
        **drawing.chosen("steps", "guidance", "batch"),
        progress=drawing.progress(len(ids)),
    )
    disclosure = Disclosure(
        test_averaging="none: the true image's first caption", **drawn_by(drawing.networks["generator"])
    )
    own = split.of(drawing.cell.subject)
    identity = drawing.cell._asdict() | {"split": own.name, "split_sha256": own.sha256}
    return Drawn(disclosure, images=images, captions=captions, ids=ids, identity=identity)
