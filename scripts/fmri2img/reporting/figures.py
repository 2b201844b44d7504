"""Figures of the numbers: score against training sessions, and every subject on its own."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

from fmri2img.reporting.design import Design, arrow, is_proportion
from fmri2img.reporting.estimates import at_budgets
from fmri2img.reporting.style import INK, MUTED, PAGE_WIDTH, is_from_scratch, legend_columns, look, method_styles

PANELS_ACROSS = 3
FEW = 6  # methods whose bands may overlap without hiding the lines
BARS_ACROSS = 72  # bars side by side that a page has room for
PANEL_HEIGHT = 2.45  # inches
LEGEND_ROW = 0.24  # inches
SEED_DOT = {
    "marker": "o", "markersize": 3.6, "markerfacecolor": "white", "markeredgecolor": INK, "markeredgewidth": 0.8,
    "linestyle": "none",
}  # fmt: skip


def _panels(design: Design, across: int, others: list[str], sharex: bool):
    """A grid of one panel a metric, with room above it for a legend of the methods and `others`.

    Returns the figure and a dict metric -> Axes, titled and scaled.
    """
    across = min(across, len(design.metrics))
    down = math.ceil(len(design.metrics) / across)
    labels = [entry["title"] for entry in design.methods.values()] + others
    header = 0.1 + LEGEND_ROW * math.ceil(len(labels) / legend_columns(labels))
    size = PAGE_WIDTH, header + PANEL_HEIGHT * down
    figure, axes = plt.subplots(down, across, figsize=size, sharex=sharex, squeeze=False, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08, rect=(0, 0, 1, 1 - header / size[1]))
    panels = {}
    for panel, (name, metric) in zip(axes.flat, design.metrics.items(), strict=False):
        title, _, detail = metric["title"].partition(" (")
        bounds = [
            end if bound is None else f"{bound:g}" for bound, end in zip(metric["range"], ["-∞", "∞"], strict=True)
        ]
        share = "percent" if metric["chance"] is None else "percent correct"
        unit = share if is_proportion(metric) else " to ".join(bounds)
        detail = ", ".join(part for part in (detail.removesuffix(")"), unit.replace("-", "−")) if part)
        panel.set_title(f"{title} {arrow(metric)}", pad=17)
        panel.annotate(detail, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points", color=MUTED)
        if is_proportion(metric):
            panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        panel.grid(axis="y", color="#e4e7eb", linewidth=0.7)
        panel.set_axisbelow(True)
        panels[name] = panel
    for panel in axes.flat[len(design.metrics) :]:
        panel.remove()
    return figure, panels


def _of(cells: pd.DataFrame, metric: str, method: str) -> pd.DataFrame:
    return cells[(cells["metric"] == metric) & (cells["method"] == method)]


def _chance_line(panel, metric: dict, drawn: list) -> None:
    if metric["chance"] is not None:
        drawn.append(panel.axhline(metric["chance"], color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1))


def _legend(figure, handles: list, chance_lines: list) -> None:
    if chance_lines:
        chance_lines[0].set_label("chance level")
        handles = [*handles, chance_lines[0]]
    columns = legend_columns([handle.get_label() for handle in handles])
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.0, 1.0), ncols=columns, handlelength=2.6)


def session_curves(cells: pd.DataFrame, design: Design):
    """Each metric against training sessions (log axis): mean over subjects, with a band for its interval.

    cells: `estimates(scores, design)`. A cell without a full set of scores leaves a hole in its line.
    """
    position = {label: float(np.mean(list(sessions.values()))) for label, sessions in design.budgets.items()}
    labels = sorted(design.budgets, key=position.get)
    x = [position[label] for label in labels]
    ticks = [f"all\n({design.sessions_text(b)})" if b == "all" else b for b in labels]
    styles, chance_lines = method_styles(design), []
    band = 0.18 * min(1, FEW / len(styles))
    with look():
        figure, panels = _panels(design, PANELS_ACROSS, ["chance level"], sharex=True)
        for metric, panel in panels.items():
            _chance_line(panel, design.metrics[metric], chance_lines)
            for method, style in styles.items():
                curve = _of(cells, metric, method).set_index("budget").loc[labels]
                panel.fill_between(x, curve["low"], curve["high"], color=style["color"], alpha=band, linewidth=0)
                panel.plot(x, curve["mean"], **style, markeredgecolor="white", markeredgewidth=0.6, zorder=3)
            panel.set_xscale("log", base=2)
            panel.set_xticks(x, ticks)
            panel.xaxis.set_minor_locator(NullLocator())
            panel.margins(x=0.08, y=0.12)
        _label_bottom(panels, "training sessions (about 1 hour each)")
        handles = [Line2D([], [], **style, label=design.methods[name]["title"]) for name, style in styles.items()]
        _legend(figure, handles, chance_lines)
    return figure


def subject_bars(scores: pd.DataFrame, cells: pd.DataFrame, design: Design, budget: str):
    """Bars of every subject at one budget, with intervals; dots are the single seeds.

    cells: `estimates(scores, design, by_subject=True)`.
    """
    styles, chance_lines = method_styles(design), []
    at_budget = at_budgets(scores, design)
    seeds = at_budget[at_budget["budget"] == budget].groupby(["metric", "method", "subject", "seed"])["value"].mean()
    cells = cells[cells["budget"] == budget]
    width = 0.8 / len(styles)
    looks = {
        name: {
            "color": style["color"],
            "alpha": 0.35 if is_from_scratch(design.methods[name]) else 0.75,
            "linewidth": 0,
        }
        for name, style in styles.items()
    }
    with look():
        across = max(1, min(PANELS_ACROSS, BARS_ACROSS // (len(styles) * len(design.subjects))))
        figure, panels = _panels(design, across, ["single seeds", "chance level"], sharex=False)
        for metric, panel in panels.items():
            for number, method in enumerate(styles):
                bars = _of(cells, metric, method).set_index("subject").loc[design.subjects]
                x = np.arange(len(design.subjects)) + (number - (len(styles) - 1) / 2) * width
                errors = np.abs(bars[["low", "high"]].to_numpy().T - bars["mean"].to_numpy())
                panel.bar(x, bars["mean"], width * 0.88, **looks[method])
                panel.errorbar(x, bars["mean"], errors, fmt="none", ecolor=INK, elinewidth=1.1, zorder=4)
                for place, subject in zip(x, design.subjects, strict=True):
                    values = seeds.get((metric, method, subject), pd.Series(dtype=float)).to_numpy()
                    spread = np.linspace(-1, 1, len(values)) * width * 0.2 if len(values) > 1 else np.zeros(len(values))
                    panel.plot(place + spread, values, **SEED_DOT, zorder=5)
            _chance_line(panel, design.metrics[metric], chance_lines)
            panel.axhline(0, color=MUTED, linewidth=0.8)
            tilt = 45 if across > 1 and len(design.subjects) > 5 else 0
            panel.set_xticks(range(len(design.subjects)), design.subjects, rotation=tilt)
            panel.tick_params(axis="x", length=0)
        handles = [Patch(**looks[name], label=design.methods[name]["title"]) for name in styles]
        _legend(figure, [*handles, Line2D([], [], **SEED_DOT, label="single seeds")], chance_lines)
    return figure


def _label_bottom(panels: dict, text: str) -> None:
    """Label the x axis of the lowest panel of each column, and show its ticks even above a removed panel."""
    names = list(panels)
    across = min(PANELS_ACROSS, len(names))
    for name in names[-across:]:
        panels[name].set_xlabel(text)
        panels[name].tick_params(labelbottom=True)
