"""A paper's figures of score against training sessions: published values on the left, this study's on the right."""

import math
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import yaml
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from fmri2img.errors import UserError
from fmri2img.reporting.design import Design, arrow, is_proportion
from fmri2img.reporting.estimates import estimates
from fmri2img.reporting.figures import draw_curves
from fmri2img.reporting.published import metric_entry
from fmri2img.reporting.style import COLOURS, FROM_SCRATCH, INK, MARKERS, MUTED, PAGE_WIDTH, RULE, look, method_styles
from fmri2img.schemas import check_schema

PANEL_HEIGHT, HEADER = 2.2, 0.75  # inches
PAIRS_ACROSS = 2  # metrics side by side, each with its two panels
SIDES = ("published", "ours")


def read_paper_figures(path: str | Path) -> dict:
    """Read config/paper_tables/figures.yaml. Raises UserError when it breaks its schema."""
    layout = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    check_schema(layout, "paper_figures", str(path))
    return layout


def curve_points(layout: dict, figure: dict, published: pd.DataFrame, scores: pd.DataFrame, design: Design):
    """Every point of a figure: side (published or ours), curve (its number), metric, sessions, mean, low, high.

    Ours are of the figure's subject at all budgets of the study (of its first subject where data are simulated and it
    lacks that one), without those that lack a full set of scores; published points have no interval (NaN).
    """
    parts = []
    rows = published[(published["file"] == layout["file"]) & (published["split"] == layout["split"])]
    rows = rows[(rows["subject"] == layout["subject"]) & rows["metric"].isin(figure["metrics"])]
    own = _own(layout["subject"], figure["metrics"], scores, design)
    columns = ["side", "curve", "metric", "sessions", "mean", "low", "high"]
    for number, curve in enumerate(figure["curves"]):
        found = rows[rows["method"] == curve["method"]]
        if found.empty:
            raise UserError(f"paper figure '{figure['title']}': no published rows of method {curve['method']}")
        parts.append(found.rename(columns={"value": "mean"}).assign(side="published", curve=number))
        answer = design.answering(curve["ours"])
        parts.append(own[own["method"] == answer].assign(side="ours", curve=number))
    points = pd.concat(parts, ignore_index=True).reindex(columns=columns)
    # Where no score is ours, the empty table has columns of objects, which no figure draws.
    points = points.astype(dict.fromkeys(columns[3:], float))
    return points.dropna(subset="mean").sort_values(["side", "curve", "metric", "sessions"], ignore_index=True)


def _own(subject: str, metrics: list[str], scores: pd.DataFrame, design: Design) -> pd.DataFrame:
    if subject not in design.subjects:
        if not design.simulated:
            return pd.DataFrame(columns=["method", "metric", "sessions", "mean", "low", "high"])
        subject = design.subjects[0]
    sessions = sorted({of_subject[subject] for of_subject in design.budgets.values()})
    budgets = {f"{s:g}": {subject: s} for s in sessions}
    metrics = {name: entry for name, entry in design.metrics.items() if name in metrics}
    reduced = replace(design, subjects=[subject], budgets=budgets, metrics=metrics)
    table = estimates(scores[scores["subject"] == subject], reduced)
    return table.assign(sessions=table["budget"].map({label: b[subject] for label, b in budgets.items()}))


def normalised(points: pd.DataFrame, figure: dict, design: Design) -> pd.DataFrame:
    """`points` scaled for each side and metric so that 0 is its chance level and 1 its best-trained `one` curve.

    Metrics that a side has no `one` for are left out of it. low and high are scaled alike.
    """
    numbers = [n for n, curve in enumerate(figure["curves"]) if curve["method"] == figure["normalise"]["one"]]
    zeros = figure["normalise"]["zeros"]
    parts = []
    for (side, metric), group in points.groupby(["side", "metric"], sort=False):
        longest = group[group["curve"].isin(numbers)].sort_values("sessions").tail(1)
        zero = zeros.get(metric)
        if side == "ours" and zero is not None:
            zero = design.metrics[metric]["chance"]
        if zero is None or longest.empty:
            continue
        span = longest["mean"].item() - zero
        scaled = group.assign(**{name: (group[name] - zero) / span for name in ("mean", "low", "high")})
        parts.append(scaled)
    return pd.concat(parts, ignore_index=True) if parts else points.iloc[:0]


def paper_figure(figure: dict, points: pd.DataFrame, published: pd.DataFrame, design: Design, registry: dict):
    """One figure of the paper. points: `curve_points(...)`; registry: entries of metrics.yaml."""
    entries = {name: metric_entry(name, registry, published) for name in figure["metrics"]}
    with look():
        if "normalise" in figure:
            return _normalised_figure(figure, normalised(points, figure, design), entries, design)
        return _panels_figure(figure, points, entries, design)


def _side_title(side: str, design: Design) -> str:
    if side == "published":
        return "published"
    return f"{design.study} (simulated: not comparable)" if design.simulated else f"study {design.study}"


def _time_axis(panel, sessions) -> None:
    """Sessions on a log axis; shares of a session in minutes (′)."""
    # A label that would run into its right neighbour is left out, its tick stays.
    ticks, labels, last = sorted(set(sessions), reverse=True), [], float("inf")
    for tick in ticks:
        crowded = last / tick < 1.45
        labels.append("" if crowded else f"{tick:g}" if tick >= 1 else f"{60 * tick:.0f}′")
        last = last if crowded else tick
    panel.set_xscale("log", base=2)
    panel.set_xticks(ticks, labels)
    panel.xaxis.set_minor_locator(NullLocator())
    panel.margins(x=0.06, y=0.12)


def _styles(figure: dict, design: Design) -> dict[int, dict]:
    """colour, marker and linestyle of each curve, by its number: those of the answering method in all figures of the
    study, and for curves that only the paper has, colours that no method of the study has as long as there are any."""
    known = method_styles(design)
    answers = [design.answering(curve["ours"]) for curve in figure["curves"]]
    taken = {known[name]["color"] for name in answers if name in known}
    used = {style["color"] for style in known.values()}
    free = [pair for pair in zip(COLOURS, MARKERS, strict=True) if pair[0] not in taken]
    free = iter(sorted(free, key=lambda pair: pair[0] in used))
    styles = {}
    for number, (name, curve) in enumerate(zip(answers, figure["curves"], strict=True)):
        if name in known:
            styles[number] = known[name]
            continue
        colour, marker = next(free)
        line = FROM_SCRATCH if "scratch" in curve["method"] else "-"
        styles[number] = {"color": colour, "marker": marker, "linestyle": line}
    return styles


def _empty(panel) -> None:
    panel.text(0.5, 0.5, "not run", transform=panel.transAxes, ha="center", va="center", color=MUTED)
    panel.set_xticks([])
    panel.tick_params(axis="y", length=0)


def _frame(figure, title: str, size: tuple[float, float], handles: list) -> None:
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, rect=(0, 0, 1, 1 - HEADER / size[1]))
    figure.text(0.008, 1 - 0.1 / size[1], title, va="top", fontsize=11, weight="bold")
    anchor = (0.0, 1 - 0.33 / size[1])
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=anchor, ncols=min(len(handles), 5), handlelength=3)


def _panels_figure(figure: dict, points: pd.DataFrame, entries: dict, design: Design):
    names, styles = list(entries), _styles(figure, design)
    across = min(PAIRS_ACROSS, len(names))
    down = math.ceil(len(names) / across)
    size = PAGE_WIDTH, HEADER + PANEL_HEIGHT * down
    drawn, axes = plt.subplots(down, 2 * across, figsize=size, squeeze=False, layout="constrained")
    for place, name in enumerate(names):
        row, left = divmod(place, across)
        pair = axes[row, 2 * left : 2 * left + 2]
        pair[1].sharey(pair[0])
        for side, panel in zip(SIDES, pair, strict=True):
            _metric_panel(panel, points[(points["side"] == side) & (points["metric"] == name)], styles)
            panel.set_title(f"{entries[name]['title']} {arrow(entries[name])}" if side == "published" else "", pad=16)
            panel.annotate(
                _side_title(side, design), (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points",
                color=MUTED, fontsize=8,
            )  # fmt: skip
            if is_proportion(entries[name]):
                panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
            panel.tick_params(labelleft=side == "published")
            if row == down - 1:
                panel.set_xlabel("training sessions")
    for panel in axes.flat[2 * len(names) :]:
        panel.remove()
    handles = [Line2D([], [], **styles[n], label=curve["title"]) for n, curve in enumerate(figure["curves"])]
    _frame(drawn, figure["title"], size, handles)
    return drawn


def _metric_panel(panel, points: pd.DataFrame, styles: dict[int, dict]) -> None:
    panel.grid(axis="y", color=RULE, linewidth=0.7)
    panel.set_axisbelow(True)
    if points.empty:
        _empty(panel)
        return
    curves = points.rename(columns={"sessions": "x", "curve": "method"})
    draw_curves(panel, curves, styles, 0.18, linewidth=1.5, markersize=4)
    panel.set(xlabel="", ylabel="")
    _time_axis(panel, points["sessions"])


def _normalised_figure(figure: dict, points: pd.DataFrame, entries: dict, design: Design):
    size = PAGE_WIDTH, HEADER + 0.25 + 3.4
    drawn, axes = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    colours = dict(zip(entries, COLOURS, strict=False))
    dashes = dict(zip(range(len(figure["curves"])), ["", (4, 1.6), (1, 1)], strict=False))
    for side, panel in zip(SIDES, axes, strict=True):
        of_side = points[points["side"] == side]
        panel.set_title(_side_title(side, design))
        panel.grid(axis="y", color=RULE, linewidth=0.7)
        if of_side.empty:
            _empty(panel)
            continue
        styles = {"x": "sessions", "y": "mean", "style": "curve", "style_order": list(dashes), "dashes": dashes}
        styles |= {"errorbar": None, "legend": False, "ax": panel}
        sns.lineplot(of_side, hue="metric", palette=colours, estimator=None, linewidth=1.0, alpha=0.85, **styles)
        medians = of_side.groupby(["curve", "sessions"], as_index=False)["mean"].median()
        sns.lineplot(medians, color=INK, estimator=None, linewidth=2.4, **styles)
        panel.set(xlabel="", ylabel="")
        _time_axis(panel, of_side["sessions"])
        panel.set_xlabel("training sessions")
    one = next(c["title"] for c in figure["curves"] if c["method"] == figure["normalise"]["one"])
    axes[0].set_ylabel(f"0: chance, 1: {one} on all sessions")
    handles = [Line2D([], [], color=colours[name], label=entries[name]["title"]) for name in entries]
    for number, curve in enumerate(figure["curves"]):
        line = {"color": INK, "linewidth": 2.4, "linestyle": (0, dashes[number] or None)}
        handles.append(Line2D([], [], **line, label=f"{curve['title']} (median)"))
    _frame(drawn, figure["title"], size, handles)
    drawn.get_layout_engine().set(rect=(0, 0, 1, 1 - (HEADER + 0.25) / size[1]))
    return drawn
