"""Make a method's Prediction, or its Decoded to draw from, with the function that its method.yaml names."""

import importlib

from fmri2img import job
from fmri2img.artifacts.cells import Cell
from fmri2img.artifacts.decoded import save_decoded
from fmri2img.artifacts.interfaces import Given
from fmri2img.artifacts.prediction import save_prediction


def main(snakemake) -> None:
    params, cell = snakemake.params, Cell.of(snakemake.wildcards)
    paths = dict(snakemake.input.items()) | {"of": params.of, "captioner": params.captioner}
    given = Given(cell, paths, params.settings)
    module, _, function = params.function.partition(":")
    made = getattr(importlib.import_module(module), function)(given)
    metadata = cell._asdict() | {
        "method": params.method,
        "split": given.split.name,
        "split_sha256": given.split.of(cell.subject).sha256,
        "disclosure": made.disclosure.but(origin=params.origin).record(),
    }
    if params.of:
        metadata["of"] = given.source.metadata["method"]
    if params.makes == "decoded":
        save_decoded(snakemake.output[0], made.ids, metadata | made.facts, made.arrays)
    else:
        save_prediction(snakemake.output[0], made.ids, metadata | made.facts, **made.arrays)


if __name__ == "__main__":
    job.run(main)
