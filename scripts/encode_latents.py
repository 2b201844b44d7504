"""Compute scaled autoencoder latents of all stimuli, the targets of a decoder's low-level head."""

import importlib.metadata
from collections.abc import Iterator

import numpy as np

from fmri2img import job
from fmri2img.artifacts.embeddings import save_embeddings
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.autoencoders import Autoencoder, load_autoencoder
from fmri2img.backbones.pixels import resize, to_unit
from fmri2img.backbones.registry import Backbone

BLOCK = 16  # images encoded at a time


def blocks(autoencoder: Autoencoder, images: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, None]]:
    """Latents (images, side * side, channels) of BLOCK images at a time, with a line of progress from time to time."""
    for first in range(0, len(images), BLOCK):
        pixels = resize(to_unit(images[first : first + BLOCK]), size)
        latents = autoencoder.encode(pixels.permute(0, 2, 3, 1).numpy())
        yield latents.flatten(2).transpose(1, 2).cpu().numpy(), None
        if first // BLOCK % 16 == 15 or first + BLOCK >= len(images):
            print(f"{min(first + BLOCK, len(images))} of {len(images)} images", flush=True)


def encode_latents(backbone: Backbone, stimuli_path: str, image_size: int, output: str) -> None:
    """Write mean latents of all images of `stimuli_path`, resized to `image_size`, as Embeddings.

    One token per position, row by row; one dimension per channel, multiplied by the autoencoder's scaling factor.
    """
    stimuli = Stimuli.open(stimuli_path)
    autoencoder = load_autoencoder(backbone)
    metadata = {
        "encoder": backbone.name,
        "revision": backbone.revision,
        "preprocessing": {"image_size": image_size, "interpolation": "bilinear", "antialias": True},
        "scaling_factor": autoencoder.scaling_factor,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "diffusers")},
    }
    save_embeddings(output, stimuli.ids, blocks(autoencoder, stimuli.images, image_size), metadata)


def main(snakemake) -> None:
    encode_latents(
        Backbone(snakemake.wildcards.entry, snakemake.params.record),
        snakemake.input.stimuli,
        snakemake.params.image_size,
        snakemake.output[0],
    )


if __name__ == "__main__":
    job.run(main)
