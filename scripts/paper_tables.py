"""Tables and figures of the papers, published next to ours, and the published numbers as separate tables."""

from pathlib import Path

from fmri2img import job
from fmri2img.artifacts.scores import read_scores
from fmri2img.reporting.estimates import scored_design
from fmri2img.reporting.paper_figures import curve_points, paper_figure, read_paper_figures
from fmri2img.reporting.paper_tables import compare, lay_out_paper, published_cells, read_paper_layout, tidy
from fmri2img.reporting.published import nothing_quoted, quoted_rows, quoted_table, read_published, read_sources
from fmri2img.reporting.style import save_figure
from fmri2img.reporting.tables import write_table
from fmri2img.study import Study


def main(snakemake) -> None:
    study = Study(snakemake.config)
    registry = study.registries["metrics"]
    scores = read_scores(snakemake.input.scores, study.test_sets[0])
    design = scored_design(study, scores)
    folder = Path(snakemake.params.published)
    published = read_published(folder)
    output = Path(snakemake.output.tables[0]).parent

    for path in map(Path, snakemake.input.layouts):
        layout = read_paper_layout(path)
        cells = compare(published_cells(layout, published, path), scores, design)
        table = lay_out_paper(layout, cells, design, registry)
        write_table(output / path.stem, table, tidy(cells, path.stem, layout, design))

    layout = read_paper_figures(snakemake.input.figures)
    for name, figure in layout["figures"].items():
        points = curve_points(layout, figure, published, scores, design)
        save_figure(paper_figure(figure, points, published, design, registry), output / name)

    sources = read_sources(folder)
    for split in study.dataset.splits:
        rows = quoted_rows(published, split)
        table = quoted_table(rows, list(registry), registry, sources) if len(rows) else nothing_quoted(split)
        write_table(output / f"quoted_{split}", table, rows)


if __name__ == "__main__":
    job.run(main)
