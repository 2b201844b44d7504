"""Compare the study with another one that differs in the split: a table and a figure."""

from pathlib import Path

import yaml

from fmri2img import job
from fmri2img.artifacts.scores import read_scores
from fmri2img.reporting.estimates import scored_design
from fmri2img.reporting.figures import split_figure
from fmri2img.reporting.split_comparison import (
    Side,
    check_comparable,
    common_budget,
    split_effects,
    split_table,
)
from fmri2img.reporting.style import save_figure
from fmri2img.reporting.tables import write_table
from fmri2img.study import Study


def side(config: dict, scores: list[str]) -> Side:
    study = Study(config)
    table = read_scores(scores, study.test_sets[0])
    return Side(table, scored_design(study, table).of_images())


def main(snakemake) -> None:
    given = snakemake.input
    other = yaml.safe_load(Path(given.config).read_text(encoding="utf-8"))
    check_comparable(Study(snakemake.config), other)
    here, there = side(snakemake.config, given.scores), side(other, given.others)
    effects = split_effects(here, there, common_budget(here.design, there.design))
    write_table(Path(snakemake.output.table).with_suffix(""), split_table(effects, here.design), effects)
    save_figure(split_figure(effects, here.design), Path(snakemake.output.figure).with_suffix(""))


if __name__ == "__main__":
    job.run(main)
