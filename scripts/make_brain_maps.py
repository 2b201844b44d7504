"""Brain correlation of every voxel as maps of each subject's brain, and of every region as a table."""

from pathlib import Path

import pandas as pd

from fmri2img import job
from fmri2img.artifacts.anatomy import Anatomy
from fmri2img.artifacts.tables import read_table
from fmri2img.reporting.brain_maps import brain_map, map_rows, region_tables
from fmri2img.reporting.design import Design
from fmri2img.reporting.glass_brain import glass_brain
from fmri2img.reporting.style import missing_figure, save_figure
from fmri2img.reporting.tables import write_tables
from fmri2img.study import Study


def main(snakemake) -> None:
    given, made = snakemake.input, snakemake.output
    design = Design.of(Study(snakemake.config))
    trained = design.budget(design.longest_budget).title
    stimuli, *methods = [Path(given.accuracy[0]).parent, *map(Path, given.methods)]
    regions = []
    anatomies = {Path(path).name: path for path in given.anatomy}
    encoded = {Path(path).name for path in given.accuracy}
    for number, subject in enumerate(design.subjects):
        if subject not in encoded or subject not in anatomies:
            for picture in (*made.figures[number : number + 1], *made.glass[number : number + 1]):
                save_figure(
                    missing_figure(f"No map of {subject}, because jobs failed; gaps.csv says which."),
                    Path(picture).with_suffix(""),
                )
            continue
        mapped = {f.name: f / subject for f in (stimuli, *methods) if (f / subject / "voxels.parquet").is_file()}
        voxels = {name: read_table(folder / "voxels.parquet") for name, folder in mapped.items()}
        maps, anatomy = map_rows(voxels, design.condensed()), Anatomy.open(anatomies[subject])
        save_figure(brain_map(maps, anatomy.brain, subject, trained), Path(made.figures[number]).with_suffix(""))
        if made.glass:
            drawn = glass_brain(maps, anatomy.brain.shape, anatomy.mni, subject, trained)
            save_figure(drawn, Path(made.glass[number]).with_suffix(""))
        for name, folder in mapped.items():
            regions.append(read_table(folder / "regions.parquet").assign(method=name, subject=subject))
    found = pd.concat(regions, ignore_index=True)
    write_tables(Path(made.table).with_suffix(""), region_tables(found, design), found)


if __name__ == "__main__":
    job.run(main)
