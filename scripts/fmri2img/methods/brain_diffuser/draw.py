"""Brain-Diffuser's two steps: a picture from latents, redrawn under decoded image tokens and caption states."""

import numpy as np

from fmri2img.backbones.autoencoders import load_autoencoder
from fmri2img.backbones.dual_unet import load_dual_generator
from fmri2img.backbones.encoders import load_encoder
from fmri2img.backbones.pixels import resize, to_uint8, to_unit
from fmri2img.backbones.prompts import load_prompts
from fmri2img.backbones.registry import Backbone
from fmri2img.backbones.vdvae import LatentHierarchy, load_vdvae
from fmri2img.generation.drawing import Drawing, Drawn
from fmri2img.generation.dual_guided import Context, DualGuidedGenerator, Start
from fmri2img.generation.noise import HIERARCHY, batch_noise

BATCH = 32  # pictures that the very deep VAE decodes at a time
GREY = np.full((1, 224, 224, 3), 0.5, np.float32)  # what a picture of zeros is to an encoder of pixels in -1..1


def first_stage(drawing: Drawing) -> Drawn:
    """The pipeline of the first step alone: the very deep VAE decodes the latents."""
    images = first_pictures(
        load_vdvae(drawing.networks["hierarchy"]), drawing.array("latents"), drawing.ids, drawing.seed
    )
    return Drawn(drawing.disclosure("hierarchy"), images=images)


def first_pictures(hierarchy: LatentHierarchy, latents: np.ndarray, ids: np.ndarray, seed: int) -> np.ndarray:
    """Pictures uint8 (n, side, side, 3) of latents (n, values), enlarged to the registered size (bicubic).

    ids: image_id (n,); with the seed it fixes the noise of the levels that are not decoded, and of the pixels.
    """
    pictures = []
    for first in range(0, len(ids), BATCH):
        rows = slice(first, first + BATCH)
        noise = batch_noise(seed, ids[rows], *hierarchy.noise_shapes, stream=HIERARCHY)
        small = hierarchy.decode(latents[rows], noise)
        pictures.append(to_uint8(resize(to_unit(small), hierarchy.image_size, "bicubic")))
    return np.concatenate(pictures)


def guided(drawing: Drawing) -> Drawn:
    """The pipeline of both steps; at strength 1 of the second alone."""
    arrays = {name: drawing.array(name) for name in ("latents", "texts", "tokens")}
    images = redrawn(
        drawing.networks, arrays, drawing.ids, drawing.seed, drawing.settings, drawing.progress(len(drawing.ids))
    )
    roles = ["generator"] if drawing.settings["strength"] == 1 else ["hierarchy", "generator"]
    return Drawn(drawing.disclosure(*roles), images=images)


def redrawn(
    networks: dict[str, Backbone], arrays: dict[str, np.ndarray], ids: np.ndarray, seed: int, settings: dict, progress
) -> np.ndarray:
    """Pictures uint8 (n, side, side, 3) of decoded latents, texts and tokens (n, ...), as settings.Generation says."""
    start = None
    if settings["strength"] < 1:
        pictures = first_pictures(load_vdvae(networks["hierarchy"]), arrays["latents"], ids, seed)
        start = Start(pictures, settings["strength"], settings["early_noise"])
    generator = DualGuidedGenerator(
        load_dual_generator(networks["generator"]), load_autoencoder(networks["autoencoder"])
    )
    return generator.generate(
        Context(arrays["tokens"], arrays["texts"]),
        ids,
        seed,
        **{key: settings[key] for key in ("steps", "guidance", "text_share", "batch")},
        unconditional=unconditional(networks) if settings["unconditional"] == "encoded" else None,
        start=start,
        progress=progress,
    )


def unconditional(networks: dict[str, Backbone]) -> Context:
    """Context of a grey picture and of the empty sentence, one row of each."""
    tokens, _ = load_encoder(networks["encoder"]).encode_images(GREY)
    return Context(tokens, load_prompts(networks["prompts"]).encode([""]).states)
