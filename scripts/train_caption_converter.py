"""Fit the map from an encoder's tokens to those that a captioner takes, on images outside all test sets."""

import numpy as np
import torch

from fmri2img import job
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.splits import Split
from fmri2img.backbones.converter_fit import fit_converter
from fmri2img.backbones.converters import save_converter

HELD_OUT = 10  # every tenth image is used for evaluation instead of training


def train_caption_converter(encoder: str, captioner: str, split: str, names: dict, sweeps: int, output: str) -> None:
    """Write a converter. encoder, captioner: paths of Embeddings of the same images; names: their networks."""
    source, target, held_back = Embeddings.open(encoder), Embeddings.open(captioner), Split.open(split)
    ids = np.setdiff1d(np.intersect1d(source.ids, target.ids), [*held_back.test_ids, *held_back.unused_ids])
    pairs = np.stack([source.rows(ids), target.rows(ids)], axis=1)
    measured = np.arange(len(ids)) % HELD_OUT == HELD_OUT - 1
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = pairs[~measured], pairs[measured]
    converter, explained = fit_converter(source.tokens, target.tokens, *rows, sweeps=sweeps, device=device)
    record = {
        **names,
        "split": held_back.name,
        "split_sha256": held_back.sha256,
        "training_images": int((~measured).sum()),
        "held_out_images": int(measured.sum()),
        "explained_variance": explained,
    }
    save_converter(output, converter, record)


def main(snakemake) -> None:
    train_caption_converter(
        snakemake.input.encoder,
        snakemake.input.captioner,
        snakemake.input.split,
        snakemake.params.names,
        snakemake.params.sweeps,
        snakemake.output[0],
    )


if __name__ == "__main__":
    job.run(main)
