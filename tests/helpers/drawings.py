"""Predictions as the rule `draw` writes them, made by tests without Snakemake."""

from draw import write_drawn
from fmri2img.artifacts.cells import Cell
from fmri2img.artifacts.prediction import Prediction
from fmri2img.generation.drawing import Drawing
from fmri2img.generation.pipelines import pipelines

CELL = Cell("subj01", 1, 7, "test")


def drawn(
    pipeline, networks, settings, output, method="ridge", cell=CELL, outputs=("images",), origin="port", **paths
) -> Prediction:
    """Draw with a pipeline of generation/pipelines.yaml. paths: its inputs by name."""
    drawing = Drawing(cell, {name: str(path) for name, path in paths.items()}, networks, settings, outputs=outputs)
    write_drawn(drawing, pipelines()[pipeline].function, method, origin, str(output))
    return Prediction.open(output)
