"""Drawing: image to image from the blurry picture, under the prior's image tokens; then the best of several samples.

The generator is Versatile Diffusion's image flow (no text), from the picture that the autoencoder decodes of the
low-level latents. Each sample of an image has its own tokens, where the decoder drew as many, and its own noise.
"""

from collections.abc import Callable

import numpy as np
import torch

from fmri2img.backbones.autoencoders import Autoencoder, load_autoencoder
from fmri2img.backbones.dual_unet import load_dual_generator
from fmri2img.backbones.encoders import load_encoder
from fmri2img.errors import UserError
from fmri2img.generation.drawing import Drawing, Drawn
from fmri2img.generation.dual_guided import Context, DualGuidedGenerator, Start

SELECTOR = "cosine of its image tokens with the decoded retrieval vector"
# How the autoencoder is given the blurry picture: mean and deviation of each channel.
PIXELS = {
    "symmetric": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
BATCH = 32  # blurry pictures decoded at a time


def draw(drawing: Drawing) -> Drawn:
    """One picture for each row of the decoded tokens; see settings.Generation.

    Raises UserError for latents that do not fit the autoencoder.
    """
    settings = drawing.settings
    autoencoder = load_autoencoder(drawing.networks["autoencoder"])
    generator = DualGuidedGenerator(load_dual_generator(drawing.networks["generator"]), autoencoder)
    start = None
    if settings["strength"] < 1:
        blurry = blurry_pictures(drawing.array("latents"), autoencoder, str(drawing.decoded.path))
        mean, deviation = PIXELS[settings["start_pixels"]]
        start = Start(blurry, settings["strength"], mean=mean, deviation=deviation)
    samples, ids = settings["samples"], drawing.ids
    candidates = drawing.decoded.arrays.get("candidates")

    def sample(number: int) -> np.ndarray:
        return generator.generate(
            Context(sample_tokens(drawing.array("tokens"), candidates, number), None),
            ids,
            drawing.seed,
            **drawing.chosen("steps", "guidance", "batch"),
            text_share=0.0,
            start=start,
            sample=number,
            progress=drawing.progress(len(ids), f"images of sample {number + 1} of {samples}"),
        )

    if samples == 1:
        return Drawn(drawing.disclosure("generator"), images=sample(0))
    encoder = load_encoder(drawing.networks["encoder"])
    images, chosen = best_of(samples, sample, lambda found: encoder.encode_images(found)[0], drawing.decoded.retrieval)
    disclosure = drawing.disclosure("generator", samples_per_image=samples, selector=SELECTOR)
    return Drawn(disclosure, images=images, facts={"chosen_samples": np.bincount(chosen, minlength=samples).tolist()})


def sample_tokens(tokens: np.ndarray, candidates: np.ndarray | None, number: int) -> np.ndarray:
    """Tokens (images, tokens, width) of sample `number`: the decoder's own of that number, in turn if it has fewer.

    candidates: (images, further samples, tokens, width), or None where the decoder drew one sample.
    """
    drawn = 1 + (0 if candidates is None else candidates.shape[1])
    number %= drawn
    return tokens if number == 0 or candidates is None else candidates[:, number - 1]


def best_of(
    samples: int,
    sample: Callable[[int], np.ndarray],
    encode: Callable[[np.ndarray], np.ndarray],
    wanted: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Of each image the sample whose tokens are most similar to `wanted`, and its number int64 (images,).

    sample: number -> pictures uint8 (images, h, w, 3), called for one sample after the other; encode: pictures ->
    tokens (images, tokens, width); wanted: vectors (images, tokens * width). Similarity is the cosine. The first of
    equal ones is kept.
    """
    images, chosen, best = np.empty(0), np.zeros(len(wanted), np.int64), np.full(len(wanted), -np.inf)
    for number in range(samples):
        found = sample(number)
        similarity = _cosine(encode(found), wanted)
        better = similarity > best
        images = found if number == 0 else np.where(better[:, None, None, None], found, images)
        chosen[better], best = number, np.maximum(best, similarity)
    return images, chosen


def _cosine(tokens: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    a, b = (np.asarray(values, np.float32).reshape(len(wanted), -1) for values in (tokens, wanted))
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def blurry_pictures(latents: np.ndarray, autoencoder: Autoencoder, path: str) -> np.ndarray:
    """Pictures float32 (n, h, w, 3) in 0..1 from scaled latents (n, channels, side, side) of any float type."""
    if latents.shape[1] != autoencoder.channels:
        raise UserError(
            f"{path}: its latents have {latents.shape[1]} channels, but mindeye1.autoencoder has "
            f"{autoencoder.channels}; name one like the autoencoder that the decoder was trained with"
        )
    parts = []
    for first in range(0, len(latents), BATCH):
        block = torch.from_numpy(np.asarray(latents[first : first + BATCH], np.float32)).to(autoencoder.device)
        parts.append(autoencoder.decode(block).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(parts)
