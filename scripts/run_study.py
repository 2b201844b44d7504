"""Run a study, then print each score with its chance level and p-value, and what the study downloaded.

    python scripts/run_study.py config/laion_check.yaml

For small studies whose answer is a few numbers; the study's page has everything else. A study without permutation tests
(key `statistics.permutations`) is refused.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from fmri2img import runs
from fmri2img.artifacts.tables import read_table
from fmri2img.datasets.inventory import DOWNLOADED, Source
from fmri2img.errors import UserError
from fmri2img.reporting.design import is_proportion, number
from fmri2img.reporting.tables import read_csv
from fmri2img.settings.base import problem
from fmri2img.settings.files import read_files
from fmri2img.study import Study

PAGE = "page.html"  # everything that is printed is made before it
CELL = ["method", "subject", "sessions", "metric"]


def score_lines(means: pd.DataFrame, tests: pd.DataFrame, study: Study) -> Iterator[str]:
    """A heading for each subject and budget, then a line for each method and metric.

    means: rows of tables/subjects_<budget>.csv; tests: rows of permutations/<method>.parquet for the same test set.
    """
    titles = {name: study.registries["methods"][name]["title"] for name in study.methods}
    means = means.dropna(subset=["mean"]).astype({"sessions": float})
    found = means.merge(tests.astype({"sessions": float})[[*CELL, "null_mean", "p"]], "left", CELL)
    width = max(len(titles[row.method]) + len(study.metrics[row.metric]["title"]) for row in found.itertuples()) + 2
    for (subject, sessions), rows in found.groupby(["subject", "sessions"], sort=False):
        budget = f"{sessions:g} session{'' if sessions == 1 else 's'}"
        yield f"{subject}, {budget}, {rows['n_images'].max()} test images of {study.test_sets[0]}"
        for row in rows.itertuples():
            metric = study.metrics[row.metric]
            label = f"{titles[row.method]}: {metric['title']}"
            score = f"{number(row.mean, metric)} [{number(row.low, metric)}, {number(row.high, metric)}]"
            tested = "" if pd.isna(row.p) else f"  by chance {number(row.null_mean, metric)}, p = {row.p:.2g}"
            yield f"  {label:{width}}  {score}{' %' if is_proportion(metric) else ''}{tested}"


def comparison_lines(comparisons: pd.DataFrame, tests: pd.DataFrame, study: Study) -> Iterator[str]:
    """A line for each pair of methods and each metric that has no permutation test.

    comparisons: tables/comparisons.csv, whose p-values are of flipped signs of the differences between methods.
    """
    tested = set(tests.dropna(subset=["p"])["metric"])
    for row in comparisons[~comparisons["metric"].isin(tested)].itertuples():
        first, second = sorted((row.method, row.other), key=study.methods.index)
        difference = row.difference if first == row.method else -row.difference
        title, other = (study.registries["methods"][name]["title"] for name in (first, second))
        metric = study.metrics[row.metric]
        yield f"  {metric['title']}, {title} less {other}: {difference:z.3f}, p = {row.p:.2g}"


def download_lines(sources: Iterable[Source]) -> Iterator[str]:
    """What was downloaded, its size, and how much of that is kept: of large files, only what the study reads."""
    for source in sources:
        files = [file for path in map(Path, source.files) for file in ([path] if path.is_file() else path.rglob("*"))]
        kept = sum(file.stat().st_size for file in files if file.is_file())
        if source.way == DOWNLOADED:
            size = "" if source.gigabytes is None else f"about {source.gigabytes:.2g} GB, of which "
            yield f"  {source.what}, from {source.origin}: {size}{kept / 1e6:,.1f} MB are kept there"


def print_results(study: Study, results: Path) -> None:
    """Print what a finished study found."""
    tables = [read_csv(results / "tables" / f"subjects_{budget.label}.csv") for budget in study.training_budgets]
    parts = [read_table(results / "permutations" / f"{method}.parquet") for method in study.methods]
    tests = pd.concat(part[part["test_set"] == study.test_sets[0]] for part in parts)
    print(f"\nStudy {study.name} ({study.dataset.label}), split {study.config['split']}")
    print(*score_lines(pd.concat(tables), tests, study), sep="\n")
    count = study.settings.statistics.permutations
    print(f"p: share of {count:,} random assignments of predictions to images that score as well, (1 + n) / (1 + N).")
    compared = list(comparison_lines(read_csv(results / "tables" / "comparisons.csv"), tests, study))
    if compared:
        print("Scores without such a test, by flipped signs of the differences of images:", *compared, sep="\n")
    downloads = list(download_lines(study.dataset.inventory(study)))
    print(*(["Downloaded", *downloads] if downloads else ["Downloaded: nothing"]), sep="\n")
    print(f"Page: {results / PAGE}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="+", help="configuration files of the study, each laid over the one before")
    arguments = parser.parse_args()
    try:
        study = Study(read_files(arguments.study))
        if not study.settings.statistics.permutations:
            raise problem("statistics.permutations", "is 0, so there are no p-values; set it to 1000 or more")
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    command = ["--cores", str(min(os.cpu_count() or 1, 8)), "--quiet", "rules", "host", "--show-failed-logs"]
    results = Path("results", study.name)
    if code := runs.status(runs.snakemake([*command, str(results / PAGE), "--configfile", *arguments.study])):
        return code
    print_results(study, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
