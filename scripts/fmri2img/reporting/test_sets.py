"""Scores of a study with several test sets, side by side: does the order of methods hold on other images?"""

from dataclasses import replace

import pandas as pd

from fmri2img.reporting.design import Design
from fmri2img.reporting.estimates import estimates
from fmri2img.reporting.tables import Row, Table, column, note, score_cell, tidy


def cells_by_test_set(scores: dict[str, pd.DataFrame], designs: dict[str, Design]) -> pd.DataFrame:
    """`tidy` estimates of every method and metric at the longest budget, and of each test set (column `test_set`).

    scores: test set -> Scores of it alone. designs: test set -> the study's design with the chance levels of that test
    set; they depend on how many images it has.
    """
    parts = []
    for test_set, of_set in scores.items():
        design = designs[test_set]
        cells = estimates(of_set, design)
        cells = tidy(cells[cells["budget"] == design.longest_budget], design)
        cells.insert(cells.columns.get_loc("split") + 1, "test_set", test_set)
        parts.append(cells)
    return pd.concat(parts, ignore_index=True)


def table_by_test_set(cells: pd.DataFrame, design: Design) -> Table:
    """`cells_by_test_set` with methods down and each metric across, once for each test set."""
    lookup = cells.set_index(["method", "metric", "test_set"])
    shown = [(metric, test_set) for metric in design.metrics for test_set in dict.fromkeys(cells["test_set"])]
    rows, previous = [], None
    for method, entry in design.methods.items():
        values = [
            score_cell(*lookup.loc[(method, *key), ["mean", "low", "high"]], design.metrics[key[0]]) for key in shown
        ]
        rows.append(Row([entry["title"]], values, previous not in (None, entry["kind"])))
        previous = entry["kind"]
    columns = []
    for metric, test_set in shown:
        level = cells.loc[(cells["metric"] == metric) & (cells["test_set"] == test_set), "chance"].iloc[0]
        found = column(design.metrics[metric] | {"chance": None if pd.isna(level) else level})
        columns.append(replace(found, detail=", ".join(filter(None, [found.detail, test_set]))))
    images = cells.groupby("test_set", sort=False)["n_images"].max()
    counts = ", ".join(f"{number} of {test_set}" for test_set, number in images.items())
    text = (
        f"{note(cells, design)} Test images: {counts}. Test sets are different images, so compare methods within one."
    )
    title = f"Scores on each test set, trained on {design.budget(design.longest_budget).title}"
    return Table(title, ["Method"], columns, rows, text)
