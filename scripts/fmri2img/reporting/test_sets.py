"""Scores of a study with several test sets, side by side: does the order of methods hold on other images?

Test sets are different images: some are harder, and identification is harder where a test set's images resemble each
other. So each score also stands between the floor and the ceiling of its own test set, and next to identification
stands how alike the images are.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from fmri2img.artifacts.features import Features
from fmri2img.reporting.design import Design
from fmri2img.reporting.estimates import BOOTSTRAP_SEED, estimates
from fmri2img.reporting.split_comparison import Side, resampled_cells
from fmri2img.reporting.tables import Row, Table, column, note, share_cell, tidy

NORMALISED = ["normalised", "normalised_low", "normalised_high"]


def cells_by_test_set(
    scores: dict[str, pd.DataFrame],
    designs: dict[str, Design],
    alike: pd.DataFrame | None = None,
    flags: pd.Series | None = None,
) -> pd.DataFrame:
    """`tidy` estimates of every method and metric at the longest budget, and of each test set (column `test_set`).

    scores: test set -> Scores of it alone. designs: test set -> the study's design with the chance levels of that test
    set; they depend on how many images it has. alike: of `alikeness`; flags: `Stimuli.flags`. Further columns:
    test_kind, NORMALISED (between the floor and the ceiling of the test set), alike, n_flagged (images).
    """
    parts = []
    for number, (test_set, of_set) in enumerate(scores.items()):
        design = designs[test_set].at_longest()
        cells = tidy(estimates(of_set, design), design)
        at = cells.columns.get_loc("split") + 1
        cells.insert(at, "test_set", test_set)
        cells.insert(at + 1, "test_kind", design.kinds.get(test_set, ""))
        side = Side(of_set, design.of_images())
        _, _, shares = resampled_cells(side, design.longest_budget, BOOTSTRAP_SEED + number)
        found = [shares.get(key, (np.nan,) * 3) for key in zip(cells["metric"], cells["method"], strict=True)]
        cells[NORMALISED] = np.array(found).reshape(-1, 3)
        known = {} if alike is None else alike[alike["test_set"] == test_set].set_index("metric")["alike"].to_dict()
        cells["alike"] = cells["metric"].map(known).astype(float)
        shown = of_set["image_id"].unique()
        cells["n_flagged"] = 0 if flags is None else int((flags.reindex(shown).fillna("") != "").sum())
        parts.append(cells)
    return pd.concat(parts, ignore_index=True)


def alikeness(scores: dict[str, pd.DataFrame], metrics: dict[str, dict], features: dict[str, Features]) -> pd.DataFrame:
    """How alike the images of each test set are to the networks by which reconstructions are identified.

    metrics: registry entries; features: network -> features of the true test images. Returns test_set, metric, alike:
    the mean over all pairs of different images of the correlation of their features, NaN for a single image.
    """
    rows = []
    for test_set, of_set in scores.items():
        of_layers: dict[tuple[str, str], float] = {}
        for name, metric in metrics.items():
            layer = metric["network"], metric["layer"]
            ids = np.sort(of_set.loc[of_set["metric"] == name, "image_id"].unique())
            if "identification" not in metric["function"] or not len(ids) or layer[0] not in features:
                continue
            if layer not in of_layers:
                of_layers[layer] = mean_correlation(features[layer[0]].of(layer[1], ids))
            rows.append([test_set, name, of_layers[layer]])
    return pd.DataFrame(rows, columns=["test_set", "metric", "alike"])


def mean_correlation(rows: np.ndarray) -> float:
    """Mean of Pearson's correlation over all pairs of different rows (n, d); rows that do not vary are left out."""
    centred = rows.astype(np.float64) - rows.mean(axis=1, dtype=np.float64, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1)
    unit = centred[lengths > 0] / lengths[lengths > 0, None]
    n = len(unit)
    return float((np.square(unit.sum(axis=0)).sum() - n) / (n * (n - 1))) if n > 1 else float("nan")


def table_by_test_set(cells: pd.DataFrame, design: Design) -> Table:
    """`cells_by_test_set` with methods down and each metric across, once for each test set."""
    lookup = cells.set_index(["method", "metric", "test_set"])
    shown = [(metric, test_set) for metric in design.metrics for test_set in dict.fromkeys(cells["test_set"])]
    rows, previous = [], None
    for method, entry in design.methods.items():
        found = [(lookup.loc[(method, *key)], design.metrics[key[0]]) for key in shown]
        values = [share_cell(row, row["normalised"], metric) for row, metric in found]
        rows.append(Row([entry["title"]], values, previous not in (None, entry["kind"])))
        previous = entry["kind"]
    columns = []
    for metric, test_set in shown:
        level = cells.loc[(cells["metric"] == metric) & (cells["test_set"] == test_set), "chance"].iloc[0]
        head = column(design.metrics[metric] | {"chance": None if pd.isna(level) else level})
        columns.append(replace(head, detail=", ".join(filter(None, [head.detail, test_set]))))
    title = f"Scores on each test set, trained on {design.budget(design.longest_budget).title}"
    return Table(
        title,
        ["Method"],
        columns,
        rows,
        f"{note(cells.drop(columns='subject'), design)} {test_sets_note(cells, design)}",
    )


def test_sets_note(cells: pd.DataFrame, design: Design) -> str:
    """What is to be known before scores of different test sets are compared."""
    images = cells.groupby("test_set", sort=False)["n_images"].max()
    counts = ", ".join(f"{number} of {test_set}" for test_set, number in images.items())
    text = f"Test images: {counts}. Test sets are different images, so compare methods within one."
    if cells["normalised"].notna().any():
        text += (
            " A percentage behind an interval is the score's place between the floor and the ceiling of its test set."
        )
    alike = cells.dropna(subset="alike").drop_duplicates(["metric", "test_set"])
    if len(alike):
        text += (
            " Two-way identification is at 50 % by chance in a test set of any size, but harder where its images are "
            "alike. Mean correlation between the features of two of its images: "
        )
        of_metrics = {
            design.metrics[metric]["title"]: ", ".join(
                f"{row.alike:.2f} in {row.test_set}".replace("-", "−") for row in part.itertuples()
            )
            for metric, part in alike.groupby("metric", sort=False)
        }
        text += "; ".join(f"{title} {values}" for title, values in of_metrics.items()) + "."
    flagged = cells.groupby("test_set", sort=False)["n_flagged"].max()
    for test_set, number in flagged[flagged > 0].items():
        text += f" Flagged images of {test_set}, which the table by source shows apart: {number}."
    return text


test_sets_note.__test__ = False  # keeps pytest from collecting it
