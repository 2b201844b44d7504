"""Embed all stimuli with one frozen encoder, or with the image encoder of a captioner."""

import importlib.metadata
from collections.abc import Iterator

import numpy as np

from fmri2img import job
from fmri2img.artifacts.embeddings import save_embeddings
from fmri2img.artifacts.shards import WHOLE, Shard
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.registry import Backbone
from fmri2img.backbones.targets import load_target

BLOCK = 256  # images held in memory at a time


def blocks(encoder, images: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """(tokens, joint vectors or None) of BLOCK images at a time, with a line of progress after each."""
    for first in range(0, len(images), BLOCK):
        yield encoder.encode_images(images[first : first + BLOCK])
        print(f"{min(first + BLOCK, len(images))} of {len(images)} images", flush=True)


def embed_stimuli(backbone: Backbone, stimuli_path: str, output: str, shard: Shard = WHOLE) -> None:
    """Write the Embeddings of all images of `stimuli_path`, or of a shard of them."""
    stimuli = Stimuli.open(stimuli_path)
    rows = shard.rows(len(stimuli.ids), BLOCK)
    encoder = load_target("tokens", backbone)
    metadata = backbone.identity | {
        "preprocessing": backbone.record["preprocessing"],
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "open_clip_torch")},
    }
    save_embeddings(output, stimuli.ids[rows], blocks(encoder, stimuli.images[rows]), metadata)


def main(snakemake) -> None:
    embed_stimuli(
        Backbone(snakemake.wildcards.encoder, snakemake.params.record),
        snakemake.input.stimuli,
        snakemake.output[0],
        Shard(*snakemake.params.shard),
    )


if __name__ == "__main__":
    job.run(main)
