"""Compute local features of all stimuli with a frozen teacher, from the images (view 0) or from augmented copies."""

import importlib.metadata
from collections.abc import Iterator

import numpy as np

from fmri2img import job
from fmri2img.artifacts.embeddings import save_embeddings
from fmri2img.artifacts.shards import WHOLE, Shard
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.local_features import LocalFeatures, augmented, load_local_features
from fmri2img.backbones.registry import Backbone

BLOCK = 128  # images held in memory at a time


def blocks(
    teacher: LocalFeatures, stimuli: Stimuli, rows: slice, view: int, augmentation: dict | None
) -> Iterator[tuple[np.ndarray, None]]:
    """Maps of BLOCK images of `rows` at a time, with a line of progress after each."""
    for first in range(rows.start, rows.stop, BLOCK):
        block = slice(first, min(first + BLOCK, rows.stop))
        images, ids = stimuli.images[block], stimuli.ids[block]
        if view:
            images = augmented(images, ids, view, teacher.preprocessing, augmentation)
        yield teacher.maps(images), None
        print(f"{block.stop - rows.start} of {rows.stop - rows.start} images", flush=True)


def embed_local_features(backbone: Backbone, stimuli_path: str, view: int, output: str, shard: Shard = WHOLE) -> None:
    """Write the teacher's maps of all images of `stimuli_path`, or of a shard of them, as Embeddings: one token per
    position, row by row."""
    stimuli = Stimuli.open(stimuli_path)
    rows = shard.rows(len(stimuli.ids), BLOCK)
    teacher = load_local_features(backbone)
    metadata = backbone.identity | {
        "preprocessing": backbone.record["preprocessing"],
        "view": view,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "torchvision")},
    }
    maps = blocks(teacher, stimuli, rows, view, backbone.record.get("augmentation"))
    save_embeddings(output, stimuli.ids[rows], maps, metadata)


def main(snakemake) -> None:
    embed_local_features(
        Backbone(snakemake.wildcards.entry, snakemake.params.record),
        snakemake.input.stimuli,
        int(snakemake.wildcards.view),
        snakemake.output[0],
        Shard(*snakemake.params.shard),
    )


if __name__ == "__main__":
    job.run(main)
