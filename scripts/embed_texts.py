"""Embed the captions of all stimuli: the states of a text encoder, their mean over an image's captions."""

import importlib.metadata
from collections.abc import Iterator

import numpy as np

from fmri2img import job
from fmri2img.artifacts.axes import Axes
from fmri2img.artifacts.embeddings import save_embeddings
from fmri2img.artifacts.shards import WHOLE, Shard
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.registry import Backbone
from fmri2img.backbones.targets import load_target
from fmri2img.errors import UserError

CAPTIONS = 5  # of an image, at most: what COCO has of most images
BLOCK = 64  # images at a time


def captions_of(stimuli: Stimuli) -> list[list[str]]:
    """Up to CAPTIONS captions of each image; the empty text for test images of which no one wrote any.

    Raises UserError for another image without one.
    """
    captions = [[""] if texts is None else texts[:CAPTIONS] for texts in stimuli.captions]
    empty = [int(image) for image, texts in zip(stimuli.ids, captions, strict=True) if not texts]
    if empty:
        raise UserError(
            f"{stimuli.path / 'stimuli.parquet'}: image_id {empty[0]} has no caption ({len(empty)} images have none); "
            "use a dataset with captions, or decode no texts"
        )
    return captions


def blocks(encoder, captions: list[list[str]]) -> Iterator[tuple[np.ndarray, None]]:
    """Mean states (images, tokens, width) of BLOCK images at a time, with a line of progress from time to time."""
    for first in range(0, len(captions), BLOCK):
        block = captions[first : first + BLOCK]
        states = np.asarray(encoder.encode([text for texts in block for text in texts]).states, np.float32)
        counts = np.array([len(texts) for texts in block])
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        yield np.add.reduceat(states, starts, axis=0) / counts[:, None, None].astype(np.float32), None
        if first // BLOCK % 16 == 15 or first + BLOCK >= len(captions):
            print(f"{min(first + BLOCK, len(captions))} of {len(captions)} images", flush=True)


def embed_texts(backbone: Backbone, stimuli_path: str, output: str, shard: Shard = WHOLE) -> None:
    """Write the mean states of the captions of all images of `stimuli_path`, or of a shard of them, as Embeddings."""
    stimuli = Stimuli.open(stimuli_path)
    rows = shard.rows(len(stimuli.ids), BLOCK)
    captions = captions_of(stimuli)
    encoder = load_target("texts", backbone)
    shape = encoder.encode(captions[0][:1]).states.shape[1:]
    metadata = backbone.identity | {
        "captions": f"mean over the first {CAPTIONS} of an image",
        "axes": Axes.tokens(*shape, "token of a sentence").record(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "open_clip_torch")},
    }
    save_embeddings(output, stimuli.ids[rows], blocks(encoder, captions[rows]), metadata)


def main(snakemake) -> None:
    embed_texts(
        Backbone(snakemake.wildcards.entry, snakemake.params.record),
        snakemake.input.stimuli,
        snakemake.output[0],
        Shard(*snakemake.params.shard),
    )


if __name__ == "__main__":
    job.run(main)
