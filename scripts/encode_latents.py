"""Encode all stimuli with an autoencoder, as targets of decoders that make pictures from latents."""

import importlib.metadata
from collections.abc import Iterator
from functools import partial

import numpy as np

from fmri2img import job
from fmri2img.artifacts.embeddings import save_embeddings
from fmri2img.artifacts.shards import WHOLE, Shard
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.registry import Backbone
from fmri2img.backbones.targets import load_target
from fmri2img.generation.noise import HIERARCHY, batch_noise

BLOCK = 16  # images encoded at a time


def blocks(autoencoder, images: np.ndarray, ids: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, None]]:
    """Latents (images, tokens, width) of BLOCK images at a time, with a line of progress from time to time.

    ids: image_id of each image, which fixes what is random in its latents.
    """
    for first in range(0, len(images), BLOCK):
        rows = slice(first, first + BLOCK)
        noise = partial(batch_noise, 0, ids[rows], stream=HIERARCHY)
        yield autoencoder.encode_stimuli(images[rows], size, noise), None
        if first // BLOCK % 16 == 15 or first + BLOCK >= len(images):
            print(f"{min(first + BLOCK, len(images))} of {len(images)} images", flush=True)


def encode_latents(backbone: Backbone, stimuli_path: str, image_size: int, output: str, shard: Shard = WHOLE) -> None:
    """Write the latents of all images of `stimuli_path`, or of a shard of them, at `image_size` pixels."""
    stimuli = Stimuli.open(stimuli_path)
    rows = shard.rows(len(stimuli.ids), BLOCK)
    images, ids = stimuli.images[rows], stimuli.ids[rows]
    autoencoder = load_target("latents", backbone)
    metadata = backbone.identity | {
        "preprocessing": {"image_size": image_size, "interpolation": "bilinear", "antialias": True},
        **autoencoder.facts,
        "axes": autoencoder.axes(image_size).record(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "diffusers")},
    }
    save_embeddings(output, ids, blocks(autoencoder, images, ids, image_size), metadata)


def main(snakemake) -> None:
    encode_latents(
        Backbone(snakemake.wildcards.entry, snakemake.params.record),
        snakemake.input.stimuli,
        snakemake.params.image_size,
        snakemake.output[0],
        Shard(*snakemake.params.shard),
    )


if __name__ == "__main__":
    job.run(main)
