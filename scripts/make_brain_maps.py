"""Brain correlation of every voxel as maps of each subject's brain, and of every region as a table."""

from pathlib import Path

import pandas as pd

from fmri2img import job
from fmri2img.datasets.nsd_volumes import read_volume
from fmri2img.reporting.brain_maps import brain_map, map_rows, region_tables
from fmri2img.reporting.design import Design
from fmri2img.reporting.style import save_figure
from fmri2img.reporting.tables import write_tables
from fmri2img.study import Study


def main(snakemake) -> None:
    job.start(snakemake)
    given, made = snakemake.input, snakemake.output
    design = Design.of(Study(snakemake.config))
    trained = design.budget_title(design.longest_budget)
    folders = [Path(path) for path in (*given.accuracy, *given.methods)]
    regions = []
    for subject, brain, figure in zip(design.subjects, given.brains, made.figures, strict=True):
        mapped = {f.parent.name: f for f in folders if f.name == subject and (f / "voxels.parquet").is_file()}
        voxels = {name: pd.read_parquet(folder / "voxels.parquet") for name, folder in mapped.items()}
        drawn = brain_map(map_rows(voxels, design), read_volume(brain) > 0, subject, trained)
        save_figure(drawn, Path(figure).with_suffix(""))
        for name, folder in mapped.items():
            regions.append(pd.read_parquet(folder / "regions.parquet").assign(method=name, subject=subject))
    found = pd.concat(regions, ignore_index=True)
    write_tables(Path(made.table).with_suffix(""), region_tables(found, design), found)


main(snakemake)
