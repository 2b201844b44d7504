"""The summary printed at the end of a run, made from the CSV tables alone."""

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fmri2img.metrics.registry import is_scored
from fmri2img.reporting.claims import CHECK, FINDING, NOT_TESTED, counted, method_title, verdicts
from fmri2img.reporting.design import GAP, Design, arrow, is_proportion, number
from fmri2img.reporting.tables import read_csv

CELL_WIDTH = 26  # columns that a score with its interval takes at most, and a gap
MEAN_WIDTH = 16  # of a score alone, under the title of its budget
FEW_TESTS = 4  # of a claim whose numbers are all listed
EXPECTED_TIME = "9 to 11 minutes on two cores of 2.1 GHz"  # of the demo, as measured
BYTES_BUDGET = 4e9


def label_width(design: Design) -> int:
    """Terminal columns of the methods' names."""
    return max(len(entry["title"]) for entry in design.methods.values()) + 4


def full_width(design: Design) -> int:
    """Terminal columns of a table of scores with intervals."""
    return label_width(design) + CELL_WIDTH * len(design.budgets)


def score_tables(cells: pd.DataFrame, design: Design, with_intervals: bool) -> list[tuple[str, Table]]:
    """Heading and table of each metric: its methods down, budgets across; cells are mean [interval] or mean."""
    lookup = cells.set_index(["metric", "method", "budget"])

    def empty_table() -> Table:
        # The gap is rich's padding, which stays where a narrow terminal squeezes the columns.
        table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
        table.add_column(width=label_width(design) - 1)
        for _ in design.budgets:
            table.add_column(width=(CELL_WIDTH if with_intervals else MEAN_WIDTH) - 1)
        return table

    header = empty_table()
    header.add_row("", *(Text(design.budget(budget).title, style="bold") for budget in design.budgets))
    tables = [("", header)]
    for name, metric in design.metrics.items():
        table = empty_table()
        for method, entry in design.methods.items():
            texts = [_cell_text(lookup, (name, method, budget), metric, with_intervals) for budget in design.budgets]
            failed = method in design.gaps and is_scored(entry, metric)
            if failed or any(text.plain != GAP for text in texts):
                table.add_row(Text(f"  {entry['title']}", style="dim" if entry["kind"] == "control" else ""), *texts)
        unit = " in %" if is_proportion(metric) else ""
        chance = "" if metric["chance"] is None else f", chance {number(metric['chance'], metric)}"
        tables.append((f"{metric['title']}{unit} {arrow(metric)}{chance}", table))
    return tables


def _cell_text(lookup: pd.DataFrame, key: tuple, metric: dict, with_interval: bool) -> Text:
    if key not in lookup.index or pd.isna(lookup.loc[key, "mean"]):
        return Text(GAP)
    mean, low, high = (number(lookup.loc[key, part], metric) for part in ("mean", "low", "high"))
    return Text.assemble(mean, (f" [{low}, {high}]" if with_interval else "", "dim"))


def check_lines(tested: pd.DataFrame, design: Design) -> list[Text]:
    """The checks: a line each; of one that fails also what is probably broken, and the tests that failed."""
    lines = []
    for verdict in verdicts(tested[tested["kind"] == CHECK]).itertuples():
        counts = f" ({counted(verdict)})"
        known = "bold green" if verdict.met else "bold white on red"
        colour = "yellow" if verdict.word == NOT_TESTED else known
        lines.append(Text.assemble("  ", (f"{verdict.word:>5}", colour), f"  {verdict.claim}{counts}"))
        if not verdict.met and verdict.word != NOT_TESTED:
            lines.append(Text(f"         {verdict.note}", style="bold red"))
            failed = tested[(tested["claim"] == verdict.claim) & tested["tested"] & ~tested["met"]]
            lines += [Text(line, style="red") for line in _test_lines(failed, design)]
    return lines


def finding_lines(tested: pd.DataFrame, design: Design) -> list[Text]:
    """The published findings: whether each is seen here, with its numbers where they are few, and why it may not be."""
    lines = []
    for verdict in verdicts(tested[tested["kind"] == FINDING]).itertuples():
        rows = tested[tested["claim"] == verdict.claim]
        counts = f" ({counted(verdict)})" if verdict.n_rows != 1 or verdict.n_untested else ""
        colour = "yellow" if verdict.word == NOT_TESTED else "green" if verdict.met else "cyan"
        lines.append(Text.assemble((f"{verdict.word:>10}", colour), f"  {verdict.claim}{counts}"))
        shown = rows if len(rows) <= FEW_TESTS else rows[~rows["met"]]
        lines += [Text(line, style="dim") for line in _test_lines(shown, design)]
        if not verdict.met and verdict.word != NOT_TESTED:
            lines.append(Text(f"            Why it may differ here: {verdict.note}", style="dim"))
    return lines


def _test_lines(rows: pd.DataFrame, design: Design) -> list[str]:
    """A line for each method and metric with what was found, FEW_TESTS at most."""
    lines, several = [], rows["method"].nunique() > 1
    for (_, metric), found in rows.groupby(["method", "metric"], sort=False):
        title = design.metrics[metric]["title"]
        name = f"{method_title(found.iloc[0], design)}, {title}" if several else title
        lines.append(f"            {name}: {' | '.join(found['finding'])}")
    more = len(lines) - FEW_TESTS
    return lines if more <= 0 else [*lines[:FEW_TESTS], f"            and {more} more; tables/claims.html lists them"]


def claim_headings(tested: pd.DataFrame, design: Design) -> dict[str, str]:
    """Kind of claims that the study has -> one line about all of them."""
    found, headings = verdicts(tested), {}
    counts = {
        kind: (int(rows["met"].sum()), int((rows["n_rows"] > 0).sum()), len(rows))
        for kind, rows in found.groupby("kind")
    }
    if CHECK in counts:
        met, n, _ = counts[CHECK]
        headings[CHECK] = f"all {n} hold" if met == n else f"{n - met} of {n} FAIL: something is broken, see below"
    if FINDING in counts:
        met, n, _ = counts[FINDING]
        headings[FINDING] = f"{met} of {n} seen here in full" + (
            "; a small simulated study need not show them all, and the reason is given" if design.simulated else ""
        )
    for kind, (_, n, listed) in counts.items():
        headings[kind] += f"; {listed - n} could not be tested" if listed > n else ""
    return headings


def gap_lines(design: Design) -> list[Text]:
    """What is missing and why: two lines for each reason."""
    lines = []
    for failure in design.failures():
        lines.append(Text.assemble("  ", (failure["lacks"], "bold red")))
        where = f"{failure['job']}: {failure['reason']}"
        lines.append(Text(f"         {where}" + (f" ({failure['log']})" if failure["log"] else ""), style="red"))
    return lines


CLAIMS = {CHECK: ("Checks", check_lines), FINDING: ("Published findings", finding_lines)}


def cost_line(seconds: float | None, peak_mb: float | None) -> str:
    """Wall time next to what the demo takes, and peak memory (MiB) against its budget."""
    parts = []
    if seconds is not None:
        clock = f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
        parts.append(f"{clock} (expected: {EXPECTED_TIME})")
    if peak_mb is not None:
        peak = peak_mb * 2**20
        verdict = "within" if peak <= BYTES_BUDGET else "OVER"
        parts.append(f"peak memory {peak / 1e9:.2f} GB, {verdict} the budget of {BYTES_BUDGET / 1e9:g} GB")
    return "; ".join(parts)


def print_summary(
    results: Path, design: Design, seconds: float | None = None, peak_mb: float | None = None, console=None
) -> None:
    """Print the scores, the claims, the cost and where the report is. The text is plain if there is no terminal."""
    if console is None:
        console = Console(highlight=False)
        if not console.is_terminal:
            console = Console(highlight=False, width=full_width(design.condensed()))
    cells = pd.concat([read_csv(results / "tables" / f"main_{budget}.csv") for budget in design.budgets])
    chances = cells.dropna(subset=["chance"]).drop_duplicates("metric").set_index("metric")["chance"]
    missing = read_csv(results / "tables" / "gaps.csv").fillna({"log": ""})
    design = design.with_chances(chances.to_dict()).with_gaps(missing.to_dict("records"))
    shown = design.condensed()
    tested = read_csv(results / "tables" / "claims.csv")
    present = cells.dropna(subset=["mean"])
    console.print()
    console.print(Text(f"Study {design.study} ({design.data}), split {design.split}", style="bold"))
    seeds = "1 seed" if len(design.seeds) == 1 else f"{len(design.seeds)} seeds"
    with_intervals = console.width >= full_width(shown)
    interval = (
        f"[{100 * design.confidence:g} % interval over images]"
        if with_intervals
        else f"(widen the terminal to {full_width(shown)} columns to see intervals)"
    )
    console.print(
        f"Mean over {len(design.subjects)} subjects, {seeds} and "
        f"{present['n_images'].max() if len(present) else 0} test images {interval}",
        markup=False,
    )
    for heading, table in score_tables(cells, shown, with_intervals):
        console.print(Text(heading, style="bold"))
        console.print(table)
    if len(shown.methods) < len(design.methods):
        others = len(design.methods) - len(shown.methods)
        console.print(f"{others} further variants, stages and controls are on the page and in the tables.", style="dim")
    console.print()
    if len(missing):
        console.print(Text.assemble(("Missing", "bold"), ": run the same command again when it is mended"))
        for line in gap_lines(design):
            console.print(line, soft_wrap=True)
        console.print()
    for kind, heading in claim_headings(tested, design).items():
        title, lines = CLAIMS[kind]
        console.print(Text.assemble((title, "bold"), f": {heading}"), soft_wrap=True)
        for line in lines(tested, design):
            console.print(line, soft_wrap=True)
        console.print()
    cost = cost_line(seconds, peak_mb)
    if cost:
        console.print(Text.assemble(("Cost    ", "bold"), cost))
    report = results / "report.html"
    newest = report.exists() and report.stat().st_mtime >= (results / "tables" / "claims.csv").stat().st_mtime
    where = str(report) if newest else f"not written yet: snakemake --report {report}"
    console.print(Text.assemble(("Page    ", "bold"), str(results / "page.html")), soft_wrap=True)
    console.print(Text.assemble(("Report  ", "bold"), where), soft_wrap=True)
    console.print(Text.assemble(("Tables  ", "bold"), str(results / "tables")), soft_wrap=True)
