"""Figures of scores: against sessions, by subject, on each test set, against similarity or a bottleneck, on two splits.

Means and intervals are the study's own (`estimates`, `fmri2img.stats`); seaborn draws them and computes none.
"""

import math

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from fmri2img.metrics.registry import is_scored
from fmri2img.reporting.bottleneck import ALL
from fmri2img.reporting.design import Design, arrow, is_proportion, matching
from fmri2img.reporting.estimates import at_budgets
from fmri2img.reporting.similarity import quarter_means
from fmri2img.reporting.style import (
    INK,
    LETTER,
    MUTED,
    PAGE_WIDTH,
    RULE,
    is_from_scratch,
    legend_columns,
    look,
    method_styles,
    missing_figure,
)

PANELS_ACROSS = 3
FEW = 6  # methods whose bands may overlap without hiding the lines
BARS_ACROSS = 72  # bars that fit side by side on a page
POINTS_ACROSS = 130  # points with their intervals
PANEL_HEIGHT, ROW_HEIGHT = 2.3, 0.24  # inches; a row is a method's in `split_figure`
BAR_WIDTH, BAR_GAP = 0.86, 0.12  # of all bars of a subject in the fullest panel; share of a bar left free
STEPS = [1, 2, 2.5, 5, 10]  # between ticks, times a power of ten
GREY_RAMP = ["#3d4852", "#c3cad2"]  # of the bars of controls
CHANCE = {"color": MUTED, "linewidth": 0.9, "linestyle": (0, (2, 2)), "zorder": 1}
MISSING = {"marker": "_", "color": INK, "markersize": 5, "markeredgewidth": 1.2, "linestyle": "none"}


def draw_curves(panel, curves: pd.DataFrame, styles: dict[str, dict], band: float, **line) -> None:
    """Means as lines and their intervals as bands. Rows whose mean is NaN are gaps: nothing is drawn across them.

    curves: x, method, mean, low, high; styles: of `method_styles`; band: opacity of bands; line: of all lines.
    """
    line |= {"markeredgecolor": "white", "markeredgewidth": 0.6, "zorder": 3, "estimator": None, "errorbar": None}
    curves = curves.sort_values("x", kind="stable")
    stretch = curves["mean"].isna().groupby(curves["method"]).cumsum()  # seaborn would join the two ends of a gap
    curves = curves.assign(stretch=stretch)[curves["mean"].notna()]
    for (method, _), part in curves.groupby(["method", "stretch"], sort=False):
        style = styles[method]
        panel.fill_between(part["x"], part["low"], part["high"], color=style["color"], alpha=band, linewidth=0)
        sns.lineplot(part, x="x", y="mean", legend=False, ax=panel, **style, **line)


def head(panel, metric: dict) -> None:
    """Title, detail below it, and unit of a panel for one metric (registry entry)."""
    title, _, detail = metric["title"].partition(" (")
    unit = ""
    if is_proportion(metric):
        unit = "percent" if metric["chance"] is None else "percent correct"
    elif None not in metric["range"]:
        unit = " to ".join(f"{bound:g}" for bound in metric["range"]).replace("-", "−")
    panel.set_title(f"{title} {arrow(metric)}", pad=17)
    panel.annotate(
        ", ".join(filter(None, [detail.removesuffix(")"), unit])), (0, 1), (0, 6), xycoords="axes fraction",
        textcoords="offset points", color=MUTED,
    )  # fmt: skip


def _format(axis, metric: dict) -> None:
    if is_proportion(metric):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))


def _panels(data: pd.DataFrame, design: Design, metrics: list[str], across: int, height: float, **share):
    """A FacetGrid with one panel for each metric. height: of a panel, in inches; share: sharex, sharey."""
    across = min(across, len(metrics))
    grid = sns.FacetGrid(data, col="metric", col_order=metrics, col_wrap=across, legend_out=False, **share)
    for name, panel in grid.axes_dict.items():
        head(panel, design.metrics[name])
        panel.set_axisbelow(True)
    grid.figure.set_size_inches(PAGE_WIDTH, height * math.ceil(len(metrics) / across))
    return grid


def _curve_panels(data: pd.DataFrame, design: Design, metrics: list[str], across: int = PANELS_ACROSS):
    grid = _panels(data, design, metrics, across, PANEL_HEIGHT, sharex=True, sharey=False)
    for name, panel in grid.axes_dict.items():
        _format(panel.yaxis, design.metrics[name])
        panel.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        panel.grid(axis="y", color=RULE, linewidth=0.7)
    return grid


def _finish(grid, handles: list, xlabel: str = ""):
    """Lay the panels out below a legend, and make the figure taller by the legend's rows. Returns the figure."""
    grid.set_axis_labels("", "")
    figure, columns = grid.figure, legend_columns([handle.get_label() for handle in handles])
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.2 + 0.19 * math.ceil(len(handles) / columns))
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, handlelength=2.6)
    if xlabel:
        figure.supxlabel(xlabel, fontsize=9)
    return figure


def _handles(styles: dict[str, dict], design: Design) -> list[Line2D]:
    return [Line2D([], [], **style, label=design.methods[name]["title"]) for name, style in styles.items()]


def _chance_lines(grid, design: Design) -> list:
    """Draw the chance level of each metric that has one. Returns the legend's entry, or nothing."""
    known = {name: design.metrics[name]["chance"] for name in grid.axes_dict}
    for name, panel in grid.axes_dict.items():
        if known[name] is not None:
            panel.axhline(known[name], **CHANCE)
    return [Line2D([], [], **CHANCE, label="chance level")] if any(c is not None for c in known.values()) else []


def _band(styles: dict) -> float:
    return 0.18 * min(1, FEW / len(styles))


def session_curves(cells: pd.DataFrame, design: Design):
    """Each metric against training sessions (log axis): mean over subjects, with a band for its interval.

    cells: `estimates(scores, design)`. A cell without a full set of scores leaves a hole in its line. Of many methods,
    the first of each family is drawn.
    """
    design = design.condensed()
    cells = cells[cells["method"].isin(design.methods)]
    position = {label: float(np.mean(list(sessions.values()))) for label, sessions in design.budgets.items()}
    labels = sorted(design.budgets, key=position.get)
    ticks = [f"all ({design.budget(b).count})" if b == "all" else b for b in labels]
    styles, cells = method_styles(design), cells.assign(x=cells["budget"].map(position))
    with look():
        grid = _curve_panels(cells, design, list(design.metrics))
        chance = _chance_lines(grid, design)
        for metric, panel in grid.axes_dict.items():
            draw_curves(panel, cells[cells["metric"] == metric], styles, _band(styles))
            panel.set_xscale("log", base=2)
            panel.set_xticks([position[label] for label in labels], ticks)
            panel.xaxis.set_minor_locator(NullLocator())
            panel.margins(x=0.08, y=0.12)
        return _finish(grid, _handles(styles, design) + chance, "training sessions (about 1 hour each)")


def subject_bars(scores: pd.DataFrame, cells: pd.DataFrame, design: Design, budget: str):
    """Bars of every subject at one budget, with intervals; dots are single seeds, dashes mark missing scores.

    cells: `estimates(scores, design, by_subject=True)`. A panel has the methods that its metric applies to; of many,
    the first of each family.
    """
    design = design.condensed()
    at_budget = at_budgets(scores, design)
    seeds = at_budget[at_budget["budget"] == budget]
    seeds = seeds.groupby(["metric", "method", "subject", "seed"])["value"].mean().reset_index()
    many_seeds = any(len(design.seeds_of(method)) > 1 for method in design.methods)
    cells = cells[(cells["budget"] == budget) & cells["method"].isin(design.methods)]
    with look():
        colours = _bar_colours(design)
        across = max(1, min(PANELS_ACROSS, BARS_ACROSS // (len(colours) * len(design.subjects))))
        grid = _panels(cells, design, list(design.metrics), across, PANEL_HEIGHT, sharex=False, sharey=False)
        applicable = {
            metric: [name for name, entry in design.methods.items() if is_scored(entry, design.metrics[metric])]
            for metric in design.metrics
        }
        width = BAR_WIDTH / max(map(len, applicable.values()))
        inches = PAGE_WIDTH / across * 0.9 * width / len(design.subjects)
        missing = []
        for metric, panel in grid.axes_dict.items():
            _format(panel.yaxis, design.metrics[metric])
            panel.grid(axis="y", color=RULE, linewidth=0.7)
            shown = applicable[metric]
            palette = {name: colours[name] for name in shown}
            if not shown:
                continue
            bars = cells[(cells["metric"] == metric) & cells["method"].isin(shown)]
            sns.barplot(
                bars, x="subject", y="mean", order=design.subjects, hue="method", hue_order=shown, palette=palette,
                saturation=1, errorbar=None, width=width * len(shown), gap=BAR_GAP, linewidth=0, legend=False, ax=panel,
            )  # fmt: skip
            places = bars["subject"].map(design.subjects.index).to_numpy()
            x = places + (bars["method"].map(shown.index).to_numpy() - (len(shown) - 1) / 2) * width
            errors = np.abs(bars[["low", "high"]].to_numpy().T - bars["mean"].to_numpy())
            panel.errorbar(x, bars["mean"], errors, fmt="none", ecolor=INK, elinewidth=min(1.1, 12 * inches), zorder=4)
            if many_seeds:
                place = bars.assign(x=x).set_index(["method", "subject"])["x"]
                dots = seeds[(seeds["metric"] == metric) & seeds["method"].isin(shown)]
                dots = dots.assign(x=place.loc[list(zip(dots["method"], dots["subject"], strict=True))].to_numpy())
                sns.scatterplot(dots, x="x", y="value", color="white", legend=False, ax=panel, **_seed_dot(inches))
            gaps = x[bars["mean"].isna().to_numpy()]
            if len(gaps):
                missing = [Line2D([], [], **MISSING, label="missing scores")]
                panel.plot(gaps, np.full(len(gaps), 0.02), **MISSING, transform=panel.get_xaxis_transform(), zorder=5)
            panel.axhline(0, color=MUTED, linewidth=0.8)
            panel.set_xlim(-0.5, len(design.subjects) - 0.5)
            panel.tick_params(axis="x", length=0, rotation=45 if across > 1 and len(design.subjects) > 5 else 0)
        handles = [Patch(color=colour, label=design.methods[name]["title"]) for name, colour in colours.items()]
        if many_seeds:
            dot = {"marker": "o", "markerfacecolor": "white", "markeredgecolor": INK, "markersize": 3.6}
            handles.append(Line2D([], [], **dot, markeredgewidth=0.7, linestyle="none", label="single seeds"))
        return _finish(grid, handles + _chance_lines(grid, design) + missing)


def test_set_figure(cells: pd.DataFrame, design: Design, patterns: list[str]):
    """A panel for each metric that matches, test sets across: the mean of each method with its interval, side by side.

    cells: `cells_by_test_set`. A line joins a method's test sets, so that a change of order shows as a crossing;
    nothing lies between them. Dashes: the chance level, which depends on how many images a test set has. Of many
    methods, the first of each family is drawn.
    """
    design = design.condensed()
    names, shown = list(dict.fromkeys(cells["test_set"])), matching(design.metrics, patterns) or list(design.metrics)
    cells = cells[cells["method"].isin(design.methods) & cells["metric"].isin(shown)]
    shown = [name for name in shown if cells.loc[cells["metric"] == name, "mean"].notna().any()]
    if not shown:
        return missing_figure("No method has a full set of scores on any test set.")
    cells = cells[cells["metric"].isin(shown)]
    styles = method_styles(design)
    offsets = dict(zip(styles, spread(len(styles)), strict=True))
    x = cells["test_set"].map(names.index) + cells["method"].map(offsets)
    cells, marked = cells.assign(x=x), False
    with look():
        labels = len(names) * (max(map(len, names)) + 1) * LETTER / (0.82 * PAGE_WIDTH)  # share of a page
        across = max(1, min(PANELS_ACROSS, POINTS_ACROSS // (len(names) * len(styles)), int(1 / labels)))
        grid = _curve_panels(cells, design, shown, across)
        for metric, panel in grid.axes_dict.items():
            of_metric = cells[cells["metric"] == metric]
            for method, style in styles.items():
                own = of_metric[of_metric["method"] == method]
                panel.plot(
                    own["x"], own["mean"], color=style["color"], linestyle=style["linestyle"], linewidth=0.8, alpha=0.55
                )
                own = own.dropna(subset="mean")
                panel.vlines(own["x"], own["low"], own["high"], color=style["color"], linewidth=1.3, zorder=2)
                panel.scatter(
                    own["x"], own["mean"], marker=style["marker"], s=26, color=style["color"], edgecolor="white",
                    linewidth=0.6, zorder=3,
                )  # fmt: skip
            levels = of_metric.drop_duplicates("test_set").set_index("test_set")["chance"].dropna()
            for name, level in levels.items():
                panel.hlines(level, names.index(name) - 0.45, names.index(name) + 0.45, **CHANCE)
            marked = marked or len(levels) > 0
            panel.set_xticks(range(len(names)), names)
            panel.set_xlim(-0.55, len(names) - 0.45)
            panel.tick_params(axis="x", length=0)
            for between in range(1, len(names)):
                panel.axvline(between - 0.5, color=RULE, linewidth=0.7, zorder=0)
        chance = [Line2D([], [], **CHANCE, label="chance level")] if marked else []
        return _finish(grid, _handles(styles, design) + chance)


test_set_figure.__test__ = False  # keeps pytest from collecting it


def spread(n: int) -> np.ndarray:
    """Places of n points around 0, side by side within a test set's width of 1: float64 (n,)."""
    step = min(0.13, 0.8 / max(n, 1))
    return step * (np.arange(n) - (n - 1) / 2)


def _bar_colours(design: Design) -> dict[str, tuple]:
    """Of each method: decoders as in the curves, networks from scratch lighter, controls from dark to light grey."""
    controls = [name for name, entry in design.methods.items() if entry["kind"] == "control"]
    greys = dict(zip(controls, sns.blend_palette(GREY_RAMP, len(controls)), strict=True)) if controls else {}
    for name, style in method_styles(design).items():
        shade = 3 if is_from_scratch(design.methods[name]) else 8
        greys.setdefault(name, sns.blend_palette(["white", style["color"]], 10)[shade])
    return {name: greys[name] for name in design.methods}


def _seed_dot(inches: float) -> dict:
    """A white dot with a dark edge, no wider than a bar of this many inches."""
    size = min(3.6, max(1.6, 72 * inches * 0.7))
    return {"s": size**2, "edgecolor": INK, "linewidth": 0.7 * size / 3.6, "zorder": 5}


def similarity_curves(labelled: pd.DataFrame, design: Design, budget: str):
    """Each metric in quarters of test images, from the least to the most similar to a training image.

    labelled: `with_similarity(...)`. Of many methods, the first of each family is drawn.
    """
    if labelled.empty:
        return missing_figure("No metric of the study has values for single images.")
    found, similarity = quarter_means(labelled, design, budget)
    design = design.condensed()
    curves = found.reset_index()
    curves = curves[curves["method"].isin(design.methods)].copy()
    curves["x"] = curves["quarter"].map(similarity)
    styles = {name: style for name, style in method_styles(design).items() if name in set(curves["method"])}
    with look():
        grid = _curve_panels(curves, design, list(design.metrics))
        chance = _chance_lines(grid, design)
        for metric, panel in grid.axes_dict.items():
            draw_curves(panel, curves[curves["metric"] == metric], styles, _band(styles))
        label = "cosine to the nearest training image (quarters of the test images)"
        return _finish(grid, _handles(styles, design) + chance, label)


def bottleneck_curves(effects: pd.DataFrame, design: Design):
    """Each metric against bottleneck dimensions (log axis), all voxels at the right end; thin dashes: the floor.

    effects: `bottleneck_effects(...)`.
    """
    dimensions = sorted(effects["dimensions"].unique(), key=lambda k: (k == ALL, k))
    x = {k: 4 * max(dimensions) if k == ALL else k for k in dimensions}
    styles = {name: style for name, style in method_styles(design).items() if name in set(effects["method"])}
    floors = effects.dropna(subset="floor").drop_duplicates(["metric", "floor"])
    # A number of dimensions without scores is a gap like any other.
    every = pd.MultiIndex.from_product([effects["metric"].unique(), styles, dimensions])
    curves = effects.set_index(["metric", "method", "dimensions"]).reindex(
        every.set_names(["metric", "method", "dimensions"])
    )
    curves = curves.reset_index().assign(x=lambda table: table["dimensions"].map(x))
    with look():
        grid = _curve_panels(curves, design, design.metrics_in(effects))
        for metric, panel in grid.axes_dict.items():
            levels = floors[floors["metric"] == metric]
            for row in levels.itertuples():
                colour = {"color": styles[row.method]["color"]} if len(levels) > 1 else {}
                panel.axhline(row.floor, **CHANCE | colour)
            draw_curves(panel, curves[curves["metric"] == metric], styles, _band(styles))
            panel.set_xscale("log", base=2)
            panel.set_xticks(list(x.values()), ["all" if k == ALL else str(k) for k in x])
            panel.xaxis.set_minor_locator(NullLocator())
        floor = [Line2D([], [], **CHANCE, label="floor: shuffled brain")] if len(floors) else []
        return _finish(grid, _handles(styles, design) + floor, "bottleneck dimensions")


def split_figure(effects: pd.DataFrame, design: Design):
    """A panel for each metric, a row for each method: its score on the other split (open) and on this one (filled).

    effects: `split_effects(...)`.
    """
    shown, (other, own, _) = design.metrics_in(effects), effects["split"].unique()
    styles = {name: style for name, style in method_styles(design).items() if name in set(effects["method"])}
    row = {method: number for number, method in enumerate(styles)}
    height = 0.75 + ROW_HEIGHT * len(styles)
    with look():
        grid = _panels(effects, design, shown, PANELS_ACROSS, height, sharex=False, sharey=True)
        for metric, panel in grid.axes_dict.items():
            for split, offset in ((other, -0.16), (own, 0.16)):
                points = effects[(effects["metric"] == metric) & (effects["split"] == split)]
                y, colours = points["method"].map(row) + offset, [styles[m]["color"] for m in points["method"]]
                panel.hlines(y, points["low"], points["high"], color=colours, linewidth=1.2, zorder=2)
                faces = colours if split == own else "white"
                panel.scatter(points["mean"], y, s=22, color=faces, edgecolor=colours, linewidth=1.2, zorder=3)
            _format(panel.xaxis, design.metrics[metric])
            panel.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
            panel.margins(x=0.06)
            panel.set_yticks(range(len(styles)), [design.methods[method]["title"] for method in styles])
            panel.set_ylim(len(styles) - 0.5, -0.5)
            panel.grid(axis="both", color=RULE, linewidth=0.7)
            panel.tick_params(axis="y", length=0)
        dot = {"marker": "o", "markeredgecolor": INK, "linestyle": "none"}
        handles = [
            Line2D([], [], **dot, markerfacecolor=face, label=split) for split, face in ((other, "white"), (own, INK))
        ]
        return _finish(grid, handles)
