"""Compute image tokens of augmented copies of all stimuli, on which MindEye1's high-level network is trained."""

import importlib.metadata
from collections.abc import Iterator

import numpy as np

from fmri2img import job
from fmri2img.artifacts.embeddings import save_embeddings
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.encoders import load_encoder
from fmri2img.backbones.registry import Backbone
from fmri2img.methods.mindeye1.views import augmented

BLOCK = 128  # images held in memory at a time


def blocks(encoder, stimuli: Stimuli, view: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """(tokens, joint vectors) of BLOCK augmented images at a time, with a line of progress after each."""
    for first in range(0, len(stimuli.ids), BLOCK):
        images, ids = stimuli.images[first : first + BLOCK], stimuli.ids[first : first + BLOCK]
        yield encoder.encode_images(augmented(images, ids, view))
        print(f"{first + len(ids)} of {len(stimuli.ids)} images", flush=True)


def embed_views(backbone: Backbone, stimuli_path: str, view: int, output: str) -> None:
    """Write the Embeddings of view number `view` (from 1) of all images of `stimuli_path`."""
    stimuli = Stimuli.open(stimuli_path)
    metadata = {
        "encoder": backbone.name,
        "revision": backbone.revision,
        "preprocessing": backbone.record["preprocessing"],
        "view": view,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "torchvision")},
    }
    save_embeddings(output, stimuli.ids, blocks(load_encoder(backbone), stimuli, view), metadata)


def main(snakemake) -> None:
    embed_views(
        Backbone(snakemake.wildcards.encoder, snakemake.params.record),
        snakemake.input.stimuli,
        int(snakemake.wildcards.view),
        snakemake.output[0],
    )


if __name__ == "__main__":
    job.run(main)
