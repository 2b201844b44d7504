"""Score against a bottleneck: how well a decoder does with k bottleneck dimensions (BrainBits, Mayo et al., 2024)."""

import numpy as np
import pandas as pd

from fmri2img.reporting.design import GAP, Design, arrow
from fmri2img.reporting.estimates import BOOTSTRAP_SEED, at_budgets
from fmri2img.reporting.leaderboard import scale_end
from fmri2img.reporting.tables import Cell, Column, Row, Table, share_cell
from fmri2img.stats.bootstrap import bootstrap_groups, image_values
from fmri2img.stats.scale import normalised_score

ALL = 0  # stands for every voxel in the column `dimensions`
COLUMNS = ["metric", "method", "dimensions", "mean", "low", "high", "share", "share_low", "share_high", "floor"]


def with_dimensions(full: pd.DataFrame, restricted: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Scores of the longest budget with a column `dimensions`: ALL in the study's own, `full`."""
    labelled = at_budgets(pd.concat([full.assign(dimensions=ALL), restricted], ignore_index=True), design)
    return labelled[labelled["budget"] == design.longest_budget]


def bottleneck_effects(labelled: pd.DataFrame, methods: list[str], design: Design) -> pd.DataFrame:
    """One row for each metric of images, method and number of dimensions: columns COLUMNS.

    mean, low, high: of the score, as in every table. share: position between the floor (the control of that name) and
    the method's score with all voxels, and its interval; NaN without a floor or if the two do not differ.
    """
    keys = ["metric", "method", "dimensions"]
    found, rows = bootstrap_groups(image_values(labelled, keys), keys, design.resamples, BOOTSTRAP_SEED), []
    for (metric, method, dimensions), estimate in found.items():
        if method not in methods:
            continue
        sign = 1 if design.metrics[metric]["higher_is_better"] else -1
        floor = scale_end(design, method, "floor", metric)
        ends = [(metric, method, dimensions), (metric, floor, ALL), (metric, method, ALL)]
        share = (np.nan,) * 3
        if all(end in found for end in ends):
            share = normalised_score(*(found[end].times(sign) for end in ends), design.confidence)
        floor_mean = found[ends[1]].mean if ends[1] in found else np.nan
        interval = estimate.interval(design.confidence)
        rows.append([metric, method, dimensions, estimate.mean, *interval, *share, floor_mean])
    return pd.DataFrame(rows, columns=COLUMNS)


def _dimensions(effects: pd.DataFrame) -> list[int]:
    """Ascending, with all voxels last."""
    return sorted(effects["dimensions"].unique(), key=lambda k: (k == ALL, k))


def bottleneck_table(effects: pd.DataFrame, design: Design) -> Table:
    """Methods and dimensions down, metrics across: the score and its share of the way from floor to all voxels."""
    lookup, rows = effects.set_index(["metric", "method", "dimensions"]), []
    shown = design.metrics_in(effects)
    for method in dict.fromkeys(effects["method"]):
        for place, dimensions in enumerate(_dimensions(effects)):
            title = "" if place else design.methods[method]["title"]
            cells = [_cell(lookup, (name, method, dimensions), design.metrics[name]) for name in shown]
            heads = [title, "all voxels" if dimensions == ALL else str(dimensions)]
            rows.append(Row(heads, cells, place == 0 and bool(rows)))
    columns = [Column(design.metrics[name]["title"], direction=arrow(design.metrics[name])) for name in shown]
    note = (
        f"Mean [{100 * design.confidence:g} % bootstrap interval over images] when the decoder is given only that many "
        "linear combinations of the voxels, learned from the training responses; then, in percent, the position of the "
        "score between the floor (shuffled brain) and the decoder's score with all voxels. Trained on "
        f"{design.budget(design.longest_budget).title}. Split {design.split}, {design.data}."
    )
    return Table("Score against a bottleneck", ["Method", "Dimensions"], columns, rows, note)


def _cell(lookup: pd.DataFrame, key: tuple, metric: dict) -> Cell:
    if key not in lookup.index:
        return Cell(GAP)
    row = lookup.loc[key]
    return share_cell(row, row["share"], metric)
