"""Each subject's scores with their intervals and with the p-value of a permutation test within the subject."""

import pandas as pd

from fmri2img.reporting.design import GAP, Design
from fmri2img.reporting.estimates import estimates
from fmri2img.reporting.tables import Cell, Row, Table, column, score_cell, tidy

COLUMNS = ["observed", "null_mean", "null_sd", "permutations", "p", "why"]


def permutation_cells(
    scores: dict[str, pd.DataFrame], designs: dict[str, Design], permutations: pd.DataFrame
) -> pd.DataFrame:
    """`tidy` estimates of every subject, budget and test set (column `test_set`), with COLUMNS of `permutations`.

    scores, designs: as in `cells_by_test_set`; permutations: of `artifacts.permutations`. Cells without a full set of
    scores, and those of metrics that a method is not scored by, have no p.
    """
    parts = []
    for test_set, of_set in scores.items():
        design = designs[test_set]
        cells = estimates(of_set, design, by_subject=True)
        places = zip(cells["budget"], cells["subject"], strict=True)
        cells["trained"] = [float(design.budgets[budget][subject]) for budget, subject in places]
        of_test_set = permutations[permutations["test_set"] == test_set].astype({"sessions": float})
        found = of_test_set.rename(columns={"sessions": "trained"})[
            ["method", "subject", "metric", "trained", *COLUMNS]
        ]
        keys = ["method", "subject", "metric", "trained"]
        joined = cells.merge(found, on=keys, how="left", validate="many_to_one")
        joined.loc[joined["mean"].isna(), "p"] = float("nan")
        part = tidy(cells, design)
        part.insert(part.columns.get_loc("split") + 1, "test_set", test_set)
        parts.append(part.assign(**{name: joined[name].to_numpy() for name in COLUMNS}))
    return pd.concat(parts, ignore_index=True)


def permutation_table(cells: pd.DataFrame, design: Design) -> Table:
    """`permutation_cells` of the longest budget: methods and subjects down, metrics across, p behind the interval."""
    cells = cells[cells["budget"] == design.longest_budget]
    several = cells["test_set"].nunique() > 1
    metrics = [name for name in design.metrics if cells.loc[cells["metric"] == name, "p"].notna().any()]
    lookup = cells.set_index(["method", "subject", "test_set", "metric"])
    rows = []
    for method, entry in design.methods.items():
        places = [(subject, test_set) for subject in design.subjects for test_set in dict.fromkeys(cells["test_set"])]
        for number, place in enumerate(places):
            found = [_cell(lookup.loc[(method, *place, name)], design.metrics[name]) for name in metrics]
            heads = ["" if number else entry["title"], *(place if several else place[:1])]
            rows.append(Row(heads, found, number == 0 and bool(rows)))
    heads = ["Method", "Subject", *(["Test set"] if several else [])]
    title = f"Permutation tests within subjects, trained on {design.budget(design.longest_budget).title}"
    return Table(title, heads, [column(design.metrics[name]) for name in metrics], rows, _note(cells, design))


def _cell(row: pd.Series, metric: dict) -> Cell:
    cell = score_cell(row["mean"], row["low"], row["high"], metric)
    return Cell(cell.mean, f"{cell.interval} {p_text(row['p'])}".strip()) if cell.mean != GAP else cell


def p_text(p: float) -> str:
    """ "p 0.012"; "" where there is none."""
    return "" if pd.isna(p) else "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def _note(cells: pd.DataFrame, design: Design) -> str:
    tested = cells[cells["p"].notna()]
    number = int(tested["permutations"].max()) if len(tested) else 0
    text = (
        f"Mean [{100 * design.confidence:g} % bootstrap interval over images] and the one-sided p-value of {number:,} "
        "random assignments of a subject's predictions to its test images: p = (1 + assignments that score at least as "
        f"well) / (1 + {number:,}). Seeds are averaged under the same assignment. Pools of retrieval are not drawn in "
        "the test: it takes the mean over all pools of their size. p-values are not corrected for their number. "
    )
    reasons: dict[str, list[str]] = {}
    for metric, part in cells[cells["why"].fillna("") != ""].groupby("metric", sort=False):
        if metric not in set(tested["metric"]):
            reasons.setdefault(part["why"].iloc[0], []).append(design.metrics[metric]["title"])
    for why, titles in reasons.items():
        text += f"Not tested: {', '.join(titles)} ({why}). "
    return f"{text}Split {design.split}, {design.data}."
