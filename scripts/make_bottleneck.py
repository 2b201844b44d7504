"""Table and figure of scores against a bottleneck between brain and embedding."""

from pathlib import Path

import pandas as pd

from fmri2img import job
from fmri2img.artifacts.scores import read_scores
from fmri2img.reporting.bottleneck import bottleneck_effects, bottleneck_table, with_dimensions
from fmri2img.reporting.estimates import scored_design
from fmri2img.reporting.figures import bottleneck_curves
from fmri2img.reporting.style import save_figure
from fmri2img.reporting.tables import write_table
from fmri2img.study import Study


def main(snakemake) -> None:
    study, given = Study(snakemake.config), snakemake.input
    full = read_scores(given.scores, study.test_sets[0])
    design = scored_design(study, full).of_images()
    # .../bottleneck/{dimensions}/scores/{method}.parquet
    restricted = pd.concat(
        [
            read_scores(path, study.test_sets[0]).assign(dimensions=int(Path(path).parts[-3]))
            for path in given.restricted
        ]
    )
    effects = bottleneck_effects(with_dimensions(full, restricted, design), study.bottlenecked, design)
    write_table(Path(snakemake.output.table).with_suffix(""), bottleneck_table(effects, design), effects)
    save_figure(bottleneck_curves(effects, design), Path(snakemake.output.figure).with_suffix(""))


if __name__ == "__main__":
    job.run(main)
