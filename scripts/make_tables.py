"""Tables of scores, claims, disclosures and provenance, and the configuration as it took effect."""

from pathlib import Path

import yaml

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_file
from fmri2img.artifacts.features import Features
from fmri2img.artifacts.permutations import read_permutations
from fmri2img.artifacts.scores import read_scores
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.reporting.caption_table import caption_rows, caption_table, quoted_captions
from fmri2img.reporting.claims import claims_tables, judge_claims, read_claims
from fmri2img.reporting.estimates import estimates, scored_design
from fmri2img.reporting.gaps import gap_rows, gap_table
from fmri2img.reporting.image_sources import cells_by_source, source_table, with_training_data
from fmri2img.reporting.jobs import job_facts, job_rows, listed_logs
from fmri2img.reporting.leaderboard import leaderboard_table, rank_methods
from fmri2img.reporting.permutation_table import permutation_cells, permutation_table
from fmri2img.reporting.provenance import (
    disclosure_table,
    disclosures,
    provenance,
    provenance_table,
    write_config,
)
from fmri2img.reporting.published import read_published, read_sources
from fmri2img.reporting.split_comparison import Side, check_comparable, common_budget
from fmri2img.reporting.tables import as_csv, lay_out, read_layout, tidy, write_table, write_tables
from fmri2img.reporting.test_sets import alikeness, cells_by_test_set, table_by_test_set
from fmri2img.reporting.transfer_claims import Transfer
from fmri2img.study import Study


def transfer(snakemake, study: Study, of_sets: dict, designs: dict, alike: dict) -> Transfer | None:
    """The test sets of this study and of the one that it is compared with; None if there is one alone."""
    sides = {name: Side(table, designs[name].of_images()) for name, table in of_sets.items()}
    first, budget = designs[study.test_sets[0]], designs[study.test_sets[0]].longest_budget
    if snakemake.input.others:
        config = yaml.safe_load(Path(snakemake.input.other_config).read_text(encoding="utf-8"))
        check_comparable(study, config)
        other = Study(config)
        tables = {name: read_scores(snakemake.input.others, name) for name in other.test_sets if name not in sides}
        found = {name: Side(table, scored_design(other, table).of_images()) for name, table in tables.items()}
        budget = common_budget(first, next(iter(found.values())).design) if found else budget
        sides |= found
    return Transfer(sides, budget, alike) if len(sides) > 1 else None


def main(snakemake) -> None:
    study = Study(snakemake.config)
    scores = read_scores(snakemake.input.scores, study.test_sets[0])
    lacking = snakemake.params.lacking
    design = scored_design(study, scores, lacking)
    folder = Path(snakemake.output.config).parent / "tables"

    overall = estimates(scores, design)
    by_subject = estimates(scores, design, by_subject=True)
    for path in map(Path, snakemake.input.layouts):
        layout = read_layout(path)
        cells = by_subject if "subject" in layout["rows"] else overall
        for budget in design.budgets:
            table = lay_out(layout, cells, design, budget)
            write_table(folder / f"{path.stem}_{budget}", table, tidy(cells[cells["budget"] == budget], design))

    board, compared = rank_methods(scores, overall, design)
    write_table(folder / "leaderboard", leaderboard_table(board, design, design.longest_budget), board)
    with atomic_file(folder / "comparisons.csv") as temporary:
        temporary.write_text(as_csv(compared), encoding="utf-8")

    of_sets = {study.test_sets[0]: scores}
    of_sets |= {name: read_scores(snakemake.input.scores, name) for name in study.test_sets[1:]}
    designs = {
        name: design if table is scores else scored_design(study, table, lacking) for name, table in of_sets.items()
    }
    features = {found.metadata["network"]: found for found in map(Features.open, snakemake.input.features)}
    alike = alikeness(of_sets, study.metrics, features)
    stimuli = Stimuli.open(snakemake.input.stimuli)
    if snakemake.output.test_sets:
        cells = cells_by_test_set(of_sets, designs, alike, stimuli.flags)
        write_table(folder / "test_sets", table_by_test_set(cells, design), cells)
    if snakemake.output.sources:
        cells = with_training_data(cells_by_source(of_sets, designs, stimuli.table, stimuli.flags), study, design)
        write_table(folder / "sources", source_table(cells, design), cells)
    if snakemake.output.permutations:
        cells = permutation_cells(of_sets, designs, read_permutations(snakemake.input.permutations))
        write_table(folder / "permutations", permutation_table(cells, design), cells)

    if snakemake.output.captions:
        quoted = quoted_captions(read_published(snakemake.params.published), list(study.dataset.splits))
        sources = read_sources(snakemake.params.published)
        table = caption_table(overall, quoted, design, sources)
        write_table(folder / "captions", table, caption_rows(overall, quoted, design, sources))

    claims = read_claims(study.registries["methods"], study.registries["metrics"])
    known = {(row.test_set, row.metric): row.alike for row in alike.itertuples()}
    judged = judge_claims(claims, scores, overall, design, transfer(snakemake, study, of_sets, designs, known))
    write_tables(folder / "claims", claims_tables(judged, design), judged)

    missing = gap_rows(lacking)
    write_table(folder / "gaps", gap_table(missing, design), missing)

    split = Split.open(snakemake.input.split)
    disclosed = disclosures(snakemake.input.predictions, design, split)
    write_table(folder / "disclosures", disclosure_table(disclosed, design), disclosed)
    jobs = job_rows(listed_logs(snakemake.params.jobs), snakemake.params.logs)
    with atomic_file(snakemake.output.jobs) as temporary:
        temporary.write_text(as_csv(jobs), encoding="utf-8")
    facts = provenance(study.config, design, split, job_facts(jobs))
    write_table(folder / "provenance", provenance_table(facts), facts)
    write_config(snakemake.output.config, study.config)


if __name__ == "__main__":
    job.run(main)
