"""Score against a bottleneck: how far a decoder gets with k dimensions of the brain (BrainBits, Mayo et al., 2024)."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from fmri2img.reporting.design import GAP, Design, arrow, is_proportion
from fmri2img.reporting.estimates import BOOTSTRAP_SEED, at_budgets
from fmri2img.reporting.leaderboard import scale_end
from fmri2img.reporting.style import MUTED, PAGE_WIDTH, legend_columns, look, method_styles
from fmri2img.reporting.tables import Cell, Column, Row, Table, share_cell
from fmri2img.stats import bootstrap_groups, image_values, normalised_score
from fmri2img.stats.bootstrap import percentile_interval

ALL = 0  # stands for every voxel in the column `dimensions`
COLUMNS = ["metric", "method", "dimensions", "mean", "low", "high", "share", "share_low", "share_high", "floor"]
PANELS_ACROSS, PANEL_HEIGHT = 3, 2.3  # inches


def with_dimensions(full: pd.DataFrame, restricted: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Scores of the longest budget with a column `dimensions`: ALL in the study's own, `full`."""
    labelled = at_budgets(pd.concat([full.assign(dimensions=ALL), restricted], ignore_index=True), design)
    return labelled[labelled["budget"] == design.longest_budget]


def bottleneck_effects(labelled: pd.DataFrame, methods: list[str], design: Design) -> pd.DataFrame:
    """One row for each metric of images, method and number of dimensions: columns COLUMNS.

    mean, low, high: of the score, as in every table. share: how much of the way from the floor (the control of that
    name) to what the method reaches with all voxels, and its interval; NaN where there is no floor, or no such way.
    """
    keys = ["metric", "method", "dimensions"]
    estimates, draws = bootstrap_groups(image_values(labelled, keys), keys, design.resamples, BOOTSTRAP_SEED)
    rows = []
    for (metric, method, dimensions), estimate in estimates["mean"].items():
        if method not in methods:
            continue
        sign = 1 if design.metrics[metric]["higher_is_better"] else -1
        floor = scale_end(design, method, "floor", metric)
        ends = [(metric, method, dimensions), (metric, floor, ALL), (metric, method, ALL)]
        share = (np.nan,) * 3
        if all(end in estimates.index for end in ends):
            oriented = [(sign * estimates["mean"][end], sign * draws[end].to_numpy()) for end in ends]
            share = normalised_score(*oriented, design.confidence)
        interval = percentile_interval(draws[metric, method, dimensions].to_numpy(), design.confidence)
        floor_mean = estimates["mean"].get((metric, floor, ALL), np.nan)
        rows.append([metric, method, dimensions, estimate, *interval, *share, floor_mean])
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
        f"Mean [{100 * design.confidence:g} % bootstrap interval over images] where the decoder hears that many linear "
        "combinations of the voxels, learned from the training responses; then, in percent, how far that is on the way "
        "from the floor, the shuffled brain, to what it reaches with all voxels. Trained on "
        f"{design.budget_title(design.longest_budget)}. Split {design.split}, {design.data}."
    )
    return Table("Score against a bottleneck", ["Method", "Dimensions"], columns, rows, note)


def _cell(lookup: pd.DataFrame, key: tuple, metric: dict) -> Cell:
    if key not in lookup.index:
        return Cell(GAP)
    row = lookup.loc[key]
    return share_cell(row, row["share"], metric)


def bottleneck_curves(effects: pd.DataFrame, design: Design):
    """Each metric against dimensions (log axis), all voxels at the right end; dashed: the floor."""
    shown, dimensions = design.metrics_in(effects), _dimensions(effects)
    x = {k: 4 * max(dimensions) if k == ALL else k for k in dimensions}
    curves = {name: style for name, style in method_styles(design).items() if name in set(effects["method"])}
    across = min(PANELS_ACROSS, len(shown))
    down = math.ceil(len(shown) / across)
    handles = [Line2D([], [], **style, label=design.methods[name]["title"]) for name, style in curves.items()]
    if effects["floor"].notna().any():
        handles.append(Line2D([], [], color=MUTED, linestyle="--", label="floor (shuffled brain)"))
    columns = legend_columns([handle.get_label() for handle in handles])
    header = 0.3 + 0.24 * math.ceil(len(handles) / columns)
    size = PAGE_WIDTH, header + PANEL_HEIGHT * down
    with look():
        figure, axes = plt.subplots(down, across, figsize=size, sharex=True, squeeze=False, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08, rect=(0, 0, 1, 1 - header / size[1]))
        for panel, name in zip(axes.flat, shown, strict=False):
            metric = design.metrics[name]
            for method, style in curves.items():
                points = effects[(effects["metric"] == name) & (effects["method"] == method)]
                points = points.assign(x=points["dimensions"].map(x)).sort_values("x")
                panel.fill_between(points["x"], points["low"], points["high"], color=style["color"], alpha=0.15, lw=0)
                panel.plot(points["x"], points["mean"], **style, markeredgecolor="white", markeredgewidth=0.6)
                panel.axhline(points["floor"].iloc[0], color=MUTED, linewidth=0.9, linestyle="--", zorder=1)
            panel.set_title(f"{metric['title']} {arrow(metric)}", fontsize=8.5)
            if is_proportion(metric):
                panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
            panel.set_xscale("log", base=2)
            panel.set_xticks(list(x.values()), ["all" if k == ALL else str(k) for k in x])
            panel.xaxis.set_minor_locator(NullLocator())
            panel.grid(axis="y", color="#e4e7eb", linewidth=0.7)
            panel.tick_params(labelbottom=True)
        for panel in axes.flat[len(shown) :]:
            panel.remove()
        figure.supxlabel("dimensions of the brain that the decoder hears", fontsize=9)
        figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, 1), ncols=columns, handlelength=2.6)
    return figure
