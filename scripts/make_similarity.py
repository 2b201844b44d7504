"""Score against similarity to the nearest training image: a table of correlations and a figure."""

from pathlib import Path

import pandas as pd

from fmri2img import job
from fmri2img.artifacts.scores import read_scores
from fmri2img.artifacts.tables import read_table
from fmri2img.reporting.estimates import scored_design
from fmri2img.reporting.figures import similarity_curves
from fmri2img.reporting.similarity import (
    SIMILARITY_COLUMNS,
    similarity_effects,
    similarity_table,
    with_similarity,
)
from fmri2img.reporting.style import save_figure
from fmri2img.reporting.tables import write_table
from fmri2img.study import Study


def main(snakemake) -> None:
    study = Study(snakemake.config)
    scores = read_scores(snakemake.input.scores, study.test_sets[0])
    design = scored_design(study, scores).of_images()
    similarity = pd.concat(
        [read_table(path, SIMILARITY_COLUMNS) for path in snakemake.input.similarity], ignore_index=True
    )
    labelled = with_similarity(scores, similarity, design)
    effects = similarity_effects(labelled, design)
    table = similarity_table(effects, design, design.longest_budget)
    write_table(Path(snakemake.output.table).with_suffix(""), table, effects)
    figure = similarity_curves(labelled, design, design.longest_budget)
    save_figure(figure, Path(snakemake.output.figure).with_suffix(""))


if __name__ == "__main__":
    job.run(main)
