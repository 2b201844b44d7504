"""Draw what a method decodes, with its drawing pipeline, and write it as a Prediction."""

import importlib

from fmri2img import job
from fmri2img.artifacts.cells import Cell
from fmri2img.artifacts.prediction import save_prediction
from fmri2img.artifacts.shards import Shard, save_empty
from fmri2img.backbones.registry import Backbone
from fmri2img.generation.drawing import Drawing, identity_of


def write_drawn(drawing: Drawing, function: str, method: str, origin: str, output: str) -> None:
    """Call a pipeline's function (module:name) and write the Prediction `method`, or the shard of the drawing."""
    if drawing.shard.shards > 1 and not len(drawing.ids):
        return save_empty(output)
    module, _, name = function.partition(":")
    drawn = getattr(importlib.import_module(module), name)(drawing)
    identity = identity_of(drawing.decoded) if drawn.identity is None else drawn.identity
    retrieval = drawn.retrieval
    if retrieval is None and "retrieval" in drawing.outputs:
        retrieval = drawing.decoded.retrieval
    disclosure = drawn.disclosure.but(origin=origin)
    metadata = identity | {
        "method": method,
        "disclosure": disclosure.record(),
        "encoder": disclosure.encoder,
        "drawing": {"function": function, "settings": drawing.settings},
    }
    ids = drawing.ids if drawn.ids is None else drawn.ids
    save_prediction(output, ids, metadata | drawn.facts, drawn.images, drawn.captions, retrieval, samples=drawn.samples)


def main(snakemake) -> None:
    params = snakemake.params
    drawing = Drawing(
        cell=Cell.of(snakemake.wildcards),
        paths={name: str(path) for name, path in snakemake.input.items() if name != "model"},
        networks={role: Backbone(*entry) for role, entry in params.networks.items()},
        settings=params.settings,
        names=params.arrays,
        outputs=tuple(params.outputs),
        samples=params.samples,
        shard=Shard(*params.shard),
    )
    write_drawn(drawing, params.function, snakemake.wildcards.method, params.origin, snakemake.output[0])


if __name__ == "__main__":
    job.run(main)
