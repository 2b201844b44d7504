"""The study's page: leaderboard, charts, claims, pictures, cost and provenance in one HTML file."""

from pathlib import Path

import pandas as pd
import yaml

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_file
from fmri2img.artifacts.scores import read_scores
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.artifacts.tables import read_table
from fmri2img.integrity import sha256
from fmri2img.reporting.analyses import shown_analyses
from fmri2img.reporting.caption_table import caption_table, quoted_captions
from fmri2img.reporting.estimates import scored_design
from fmri2img.reporting.grids import index_predictions
from fmri2img.reporting.image_sources import source_table
from fmri2img.reporting.page.build import Parts, page
from fmri2img.reporting.page.costs import costs
from fmri2img.reporting.page.pictures import picture_data
from fmri2img.reporting.permutation_table import permutation_table
from fmri2img.reporting.published import quoted_rows, quoted_table, read_published, read_sources
from fmri2img.reporting.similarity import SIMILARITY_COLUMNS, quarter_means, with_similarity
from fmri2img.reporting.split_comparison import split_table
from fmri2img.reporting.tables import read_csv
from fmri2img.reporting.test_sets import table_by_test_set
from fmri2img.study import Study


def main(snakemake) -> None:
    study = Study(snakemake.config)
    scores = read_scores(snakemake.input.scores, study.test_sets[0])
    design = scored_design(study, scores, snakemake.params.lacking)
    settings = yaml.safe_load(Path(snakemake.input.settings).read_text(encoding="utf-8"))
    stimuli = Stimuli.open(snakemake.input.stimuli)
    effects = curves = None
    if snakemake.input.similarity and snakemake.input.effects:
        parts = [read_table(path, SIMILARITY_COLUMNS) for path in snakemake.input.similarity]
        labelled = with_similarity(scores, pd.concat(parts, ignore_index=True), design.of_images())
        means, similarity = quarter_means(labelled, design.of_images(), design.longest_budget)
        curves = means.reset_index(), similarity
        effects = read_csv(Path(snakemake.input.effects))
    splits = None
    if snakemake.input.splits:
        splits = split_table(read_csv(Path(snakemake.input.splits)), design)
    test_sets = of_sets = sources = permutations = None
    if snakemake.input.test_sets:
        of_sets = read_csv(Path(snakemake.input.test_sets))
        test_sets = table_by_test_set(of_sets, design)
    if snakemake.input.sources:
        sources = source_table(read_csv(Path(snakemake.input.sources)), design.condensed())
    if snakemake.input.permutations:
        permutations = permutation_table(read_csv(Path(snakemake.input.permutations)), design.condensed())
    board, captions = read_csv(Path(snakemake.input.leaderboard)), None
    if study.reads("captions"):
        published = read_published(snakemake.params.published)
        found = quoted_captions(published, list(study.dataset.splits))
        quoted_sources = read_sources(snakemake.params.published)
        captions = caption_table(board, found, design, quoted_sources)
    registry, quoted = study.registries["metrics"], None
    rows = quoted_rows(read_published(snakemake.params.published), design.split)
    if len(rows):
        quoted = quoted_table(rows, list(registry), registry, read_sources(snakemake.params.published))
    checksums = dict(stimuli.metadata.get("sources_sha256", {}))
    checksums |= {str(path): sha256(path) for path in snakemake.input.scores}
    # Disclosures say "none" where nothing was selected, which is a value and not a gap.
    texts = {"dtype": str, "keep_default_na": False}
    html = page(
        Parts(
            board=board,
            claims=read_csv(Path(snakemake.input.claims)),
            disclosures=pd.read_csv(snakemake.input.disclosures, **texts),
            facts=pd.read_csv(snakemake.input.provenance, **texts),
            rank_by=settings["rank_by"],
            configuration=Path(snakemake.input.config).read_text(encoding="utf-8"),
            effects=effects,
            curves=curves,
            pictures=picture_data(
                stimuli,
                index_predictions(snakemake.input.predictions, design),
                scores,
                design,
                settings["rank_by"],
                settings["grid"]["ranks"],
            ),
            analyses=shown_analyses(study.analyses, snakemake.params.analyses),
            brain=[Path(path) for path in snakemake.input.brain if path.endswith(".png")],
            quoted=quoted,
            splits=splits,
            captions=captions,
            test_sets=test_sets,
            of_sets=of_sets,
            sources=sources,
            permutations=permutations,
            costs=costs(snakemake.params.benchmarks),
            checksums=checksums,
        ),
        design,
    )
    with atomic_file(snakemake.output[0]) as temporary:
        temporary.write_text(html, encoding="utf-8")
    print(f"{snakemake.output[0]}: {len(html.encode()) / 1e6:.1f} MB")


if __name__ == "__main__":
    job.run(main)
