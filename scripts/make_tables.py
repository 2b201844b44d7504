"""Tables of scores, claims, disclosures and provenance, and the configuration as it took effect."""

from pathlib import Path

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_file
from fmri2img.artifacts.scores import read_scores
from fmri2img.artifacts.splits import Split
from fmri2img.reporting.caption_table import caption_rows, caption_table, quoted_captions
from fmri2img.reporting.claims import claims_tables, judge_claims, read_claims
from fmri2img.reporting.estimates import estimates, scored_design
from fmri2img.reporting.gaps import gap_rows, gap_table
from fmri2img.reporting.jobs import job_facts, job_rows, listed_logs
from fmri2img.reporting.leaderboard import leaderboard_table, rank_methods
from fmri2img.reporting.provenance import (
    disclosure_table,
    disclosures,
    provenance,
    provenance_table,
    write_config,
)
from fmri2img.reporting.published import read_published, read_sources
from fmri2img.reporting.tables import as_csv, lay_out, read_layout, tidy, write_table, write_tables
from fmri2img.reporting.test_sets import cells_by_test_set, table_by_test_set
from fmri2img.study import Study


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

    if snakemake.output.test_sets:
        of_sets = {name: read_scores(snakemake.input.scores, name) for name in study.test_sets}
        designs = {name: scored_design(study, table, lacking) for name, table in of_sets.items()}
        cells = cells_by_test_set(of_sets, designs)
        write_table(folder / "test_sets", table_by_test_set(cells, design), cells)

    if snakemake.output.captions:
        quoted = quoted_captions(read_published(snakemake.params.published), list(study.dataset.splits))
        sources = read_sources(snakemake.params.published)
        table = caption_table(overall, quoted, design, sources)
        write_table(folder / "captions", table, caption_rows(overall, quoted, design, sources))

    claims = read_claims(study.registries["methods"], study.registries["metrics"])
    judged = judge_claims(claims, scores, overall, design)
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
