"""Compute local features of all stimuli with a frozen teacher, from the images (view 0) or from augmented copies."""

import importlib.metadata
from collections.abc import Iterator

import numpy as np

from fmri2img import job
from fmri2img.artifacts.embeddings import save_embeddings
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.local_features import LocalFeatures, augmented, load_local_features
from fmri2img.backbones.registry import Backbone

BLOCK = 128  # images held in memory at a time


def blocks(
    teacher: LocalFeatures, stimuli: Stimuli, view: int, augmentation: dict | None
) -> Iterator[tuple[np.ndarray, None]]:
    """Maps of BLOCK images at a time, with a line of progress after each."""
    for first in range(0, len(stimuli.ids), BLOCK):
        images, ids = stimuli.images[first : first + BLOCK], stimuli.ids[first : first + BLOCK]
        if view:
            images = augmented(images, ids, view, teacher.preprocessing, augmentation)
        yield teacher.maps(images), None
        print(f"{first + len(ids)} of {len(stimuli.ids)} images", flush=True)


def embed_local_features(backbone: Backbone, stimuli_path: str, view: int, output: str) -> None:
    """Write the teacher's maps of all images of `stimuli_path` as Embeddings: one token per position, row by row."""
    stimuli = Stimuli.open(stimuli_path)
    teacher = load_local_features(backbone)
    metadata = backbone.identity | {
        "preprocessing": backbone.record["preprocessing"],
        "view": view,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "torchvision")},
    }
    save_embeddings(output, stimuli.ids, blocks(teacher, stimuli, view, backbone.record.get("augmentation")), metadata)


def main(snakemake) -> None:
    embed_local_features(
        Backbone(snakemake.wildcards.entry, snakemake.params.record),
        snakemake.input.stimuli,
        int(snakemake.wildcards.view),
        snakemake.output[0],
    )


if __name__ == "__main__":
    job.run(main)
