"""Decode the test trials of one test set with a fitted decoder."""

import importlib
from pathlib import Path

from fmri2img import job
from fmri2img.artifacts.cells import Cell
from fmri2img.artifacts.decoded import save_decoded
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.interfaces import Decoding
from fmri2img.artifacts.recording import Recording


def main(snakemake) -> None:
    given, params, cell = snakemake.input, snakemake.params, Cell.of(snakemake.wildcards)
    recording = Recording.open(given.recording)
    targets = {name: Embeddings.open(path) for name, path in zip(params.targets, given.targets, strict=True)}
    module, _, function = params.decode.partition(":")
    made = getattr(importlib.import_module(module), function)(
        Decoding(cell, Path(given.decoder), recording, targets, params.settings)
    )
    print(f"{len(made.ids)} test images: {', '.join(made.arrays)}")
    metadata = cell._asdict() | {
        "method": params.method,
        "split": recording.metadata["split"],
        "split_sha256": recording.metadata["split_sha256"],
        "disclosure": made.disclosure.but(origin=params.origin).record(),
    }
    save_decoded(snakemake.output[0], made.ids, metadata | made.facts, made.arrays)


if __name__ == "__main__":
    job.run(main)
