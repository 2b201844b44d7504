"""Compute image tokens of augmented copies of all stimuli, on which MindEye1's high-level network is trained."""

import importlib.metadata
from collections.abc import Iterator

import numpy as np

from fmri2img import job
from fmri2img.artifacts.embeddings import save_embeddings
from fmri2img.artifacts.shards import WHOLE, Shard
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.encoders import load_encoder
from fmri2img.backbones.registry import Backbone
from fmri2img.methods.mindeye1.views import augmented

BLOCK = 128  # images held in memory at a time


def blocks(encoder, stimuli: Stimuli, rows: slice, view: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """(tokens, joint vectors) of BLOCK augmented images of `rows` at a time, with a line of progress after each."""
    for first in range(rows.start, rows.stop, BLOCK):
        block = slice(first, min(first + BLOCK, rows.stop))
        images, ids = stimuli.images[block], stimuli.ids[block]
        yield encoder.encode_images(augmented(images, ids, view))
        print(f"{block.stop - rows.start} of {rows.stop - rows.start} images", flush=True)


def embed_views(backbone: Backbone, stimuli_path: str, view: int, output: str, shard: Shard = WHOLE) -> None:
    """Write the Embeddings of view number `view` (from 1) of all images of `stimuli_path`, or of a shard of them."""
    stimuli = Stimuli.open(stimuli_path)
    rows = shard.rows(len(stimuli.ids), BLOCK)
    metadata = {
        "encoder": backbone.name,
        "revision": backbone.revision,
        "preprocessing": backbone.record["preprocessing"],
        "view": view,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "torchvision")},
    }
    save_embeddings(output, stimuli.ids[rows], blocks(load_encoder(backbone), stimuli, rows, view), metadata)


def main(snakemake) -> None:
    embed_views(
        Backbone(snakemake.wildcards.encoder, snakemake.params.record),
        snakemake.input.stimuli,
        int(snakemake.wildcards.view),
        snakemake.output[0],
        Shard(*snakemake.params.shard),
    )


if __name__ == "__main__":
    job.run(main)
