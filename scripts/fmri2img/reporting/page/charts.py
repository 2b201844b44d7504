"""Geometry of line charts with intervals; the page's template draws it as SVG, in colours that follow its theme."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from fmri2img.reporting.design import Design, arrow, is_proportion, number
from fmri2img.reporting.style import method_styles
from fmri2img.reporting.tables import score_cell

WIDTH, HEIGHT = 340, 220  # units of the drawing
LEFT, RIGHT, TOP, BOTTOM = 40, 14, 8, 38
MARGIN = 0.07  # of the values' range, above and below them
TICKS = 4
# What style.py names as matplotlib does: outline of a marker of radius 4 around the origin, and lengths of dashes.
OUTLINES = {
    "o": "M-3.6,0a3.6,3.6 0 1 0 7.2,0a3.6,3.6 0 1 0 -7.2,0Z", "s": "M-3.3,-3.3H3.3V3.3H-3.3Z",
    "D": "M0,-4.3L4.3,0L0,4.3L-4.3,0Z", "^": "M0,-4.4L4.1,3.2H-4.1Z", "v": "M0,4.4L4.1,-3.2H-4.1Z",
    "P": "M-1.5,-4.2H1.5V-1.5H4.2V1.5H1.5V4.2H-1.5V1.5H-4.2V-1.5H-1.5Z",
    "X": "M-4,-2L-2,-4L0,-2L2,-4L4,-2L2,0L4,2L2,4L0,2L-2,4L-4,2L-2,0Z",
    "h": "M0,-4.3L3.7,-2.1V2.1L0,4.3L-3.7,2.1V-2.1Z",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A method's curve. paths and bands have a part for each stretch without gaps; points are (x, y, text). Where what
    lies between two points means nothing, intervals are bars (x, y of either end) and not bands."""

    method: str
    paths: list[str]
    bands: list[str]
    points: list[tuple[float, float, str]]
    bars: list[tuple[float, float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Panel:
    """One metric: its heading, its scales as (position, text), the chance level's position or None, and its lines.

    chances: chance levels that differ along the axis, as (x, x, y).
    """

    metric: str
    title: str
    detail: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    chance: float | None
    lines: list[Line]
    summary: str
    chances: list[tuple[float, float, float]] = field(default_factory=list)

    @property
    def methods(self) -> list[str]:
        return [line.method for line in self.lines]


def looks(design: Design) -> dict[str, dict]:
    """colour, outline of the marker and dashes (SVG) of each method, as in the other figures."""
    found = {}
    for name, style in method_styles(design).items():
        dashes = "" if style["linestyle"] == "-" else " ".join(f"{2 * length:g}" for length in style["linestyle"][1])
        found[name] = {"colour": style["color"], "outline": OUTLINES[style["marker"]], "dashes": dashes}
    return found


def panels(
    curves: pd.DataFrame, design: Design, places: dict, labels: dict, shifts: dict[str, float] | None = None
) -> list[Panel]:
    """A panel for each metric that has values.

    curves: metric, method, at, mean, low, high, with `at` a key of places (its position, any scale) and of labels. NaN
    leaves a gap in a line. shifts: method -> by how much of the distance between two places its points are shifted, for
    places between which nothing lies; curves then also has the column chance, of each place.
    """
    if not places:  # no metric has values for single images
        return []
    ends = min(places.values()), max(places.values())
    margin = 0.0 if shifts is None else (WIDTH - LEFT - RIGHT) / len(places) / 2 - 8
    inner = LEFT + 12 + margin, WIDTH - RIGHT - 8 - margin
    across = {at: _scaled(place, ends, inner) for at, place in places.items()}
    found = []
    for name, metric in design.metrics.items():
        values = curves[(curves["metric"] == name) & curves["mean"].notna()]
        if len(values):
            found.append(_panel(name, metric, values, design, across, labels, shifts))
    return found


def _panel(
    name: str,
    metric: dict,
    values: pd.DataFrame,
    design: Design,
    across: dict,
    labels: dict,
    shifts: dict[str, float] | None,
) -> Panel:
    extremes = [*values[["low", "high", "mean"]].min(), *values[["low", "high", "mean"]].max()]
    levels = {} if shifts is None else values.dropna(subset="chance").groupby("at")["chance"].first().to_dict()
    chance = metric["chance"] if shifts is None else None
    extremes += [*levels.values(), *([] if chance is None else [chance])]
    low, high = np.nanmin(extremes), np.nanmax(extremes)
    slack = MARGIN * (high - low) or MARGIN * (abs(high) or 1)
    ends = float(low - slack), float(high + slack)

    def down(value: float) -> float:
        return round(_scaled(value, ends, (HEIGHT - BOTTOM, TOP)), 1)

    ticks = [tick for tick in MaxNLocator(TICKS).tick_values(*ends) if ends[0] <= tick <= ends[1]]
    factor = 100 if is_proportion(metric) else 1
    lines, summaries = [], []
    for method, entry in design.methods.items():
        own = values[values["method"] == method].set_index("at")
        if len(own):
            shift = None if shifts is None else shifts[method] * _distance(across)
            lines.append(_line(method, entry["title"], metric, own, across, labels, down, shift))
            summaries.append(
                f"{entry['title']}: {', '.join(number(own['mean'].get(at, np.nan), metric) for at in across)}"
            )
    title, _, detail = metric["title"].partition(" (")
    detail = ", ".join(filter(None, [detail.removesuffix(")"), "%" if is_proportion(metric) else ""]))
    return Panel(
        metric=name,
        title=f"{title} {arrow(metric)}",
        detail=detail,
        x_ticks=[(round(x, 1), labels[at]) for at, x in across.items()],
        y_ticks=[(down(tick), f"{factor * tick:.6g}".replace("-", "−")) for tick in ticks],
        chance=None if chance is None else down(chance),
        lines=lines,
        summary="; ".join(summaries),
        chances=[
            (round(x - 0.45 * _distance(across), 1), round(x + 0.45 * _distance(across), 1), down(levels[at]))
            for at, x in across.items()
            if at in levels
        ],
    )


def _distance(across: dict) -> float:
    """Between two neighbouring places."""
    return (max(across.values()) - min(across.values())) / max(len(across) - 1, 1) or float(WIDTH - LEFT - RIGHT)


def _line(
    method: str, title: str, metric: dict, own: pd.DataFrame, across: dict, labels: dict, down, shift: float | None
) -> Line:
    stretches: list[list] = [[]]
    for at in across:
        if at in own.index:
            stretches[-1].append(at)
        elif stretches[-1]:
            stretches.append([])
    paths, bands, points, bars = [], [], [], []
    across = {at: x + (shift or 0.0) for at, x in across.items()}
    for stretch in filter(None, stretches):
        upper, middle, lower = (
            [f"{across[at]:.1f},{down(own.loc[at, part])}" for at in stretch] for part in ("high", "mean", "low")
        )
        paths.append("M" + "L".join(middle))
        if shift is not None:
            whole = [at for at in stretch if own.loc[at, ["low", "high"]].notna().all()]
            bars += [(round(across[at], 1), down(own.loc[at, "low"]), down(own.loc[at, "high"])) for at in whole]
        elif own.loc[stretch, ["low", "high"]].notna().all(axis=None):
            bands.append("M" + "L".join([*upper, *reversed(lower)]) + "Z")
        for at in stretch:
            shown = score_cell(*own.loc[at, ["mean", "low", "high"]], metric)
            text = f"{title}, {labels[at]}: {shown}"
            points.append((round(across[at], 1), down(own.loc[at, "mean"]), text))
    return Line(method, paths, bands, points, bars)


def _scaled(value: float, source: tuple[float, float], target: tuple[float, float]) -> float:
    """`value` moved linearly from one range to another; the middle of the target where the source has no length."""
    if source[0] == source[1]:
        return sum(target) / 2
    return target[0] + (value - source[0]) / (source[1] - source[0]) * (target[1] - target[0])


def session_panels(board: pd.DataFrame, design: Design) -> list[Panel]:
    """Score against training sessions (log scale). board: rows of the leaderboard, all budgets."""
    sessions = {label: float(np.mean(list(of_subject.values()))) for label, of_subject in design.budgets.items()}
    places = {label: float(np.log2(sessions[label])) for label in sorted(sessions, key=sessions.get)}
    labels = {
        label: f"all ({design.budget(label).count})" if label == "all" else label.replace("min", " min")
        for label in places
    }
    return panels(board.rename(columns={"budget": "at"}), design, places, labels)


def similarity_panels(quarters: pd.DataFrame, similarity: pd.Series, design: Design) -> list[Panel]:
    """Score against similarity to the nearest training image, in quarters of the test images.

    quarters: `quarter_means`, flat; similarity: mean similarity of each quarter.
    """
    places = {quarter: float(value) for quarter, value in similarity.items()}
    labels = {quarter: f"{value:.2f}".replace("-", "−") for quarter, value in places.items()}
    return panels(quarters.rename(columns={"quarter": "at"}), design, places, labels)


def test_set_panels(cells: pd.DataFrame, design: Design) -> list[Panel]:
    """Score on each test set, families of methods side by side. cells: `cells_by_test_set`."""
    names = list(dict.fromkeys(cells["test_set"]))
    families = list(design.families.values())
    step = min(0.13, 0.8 / len(families))
    shifts = {name: step * (n - (len(families) - 1) / 2) for n, members in enumerate(families) for name in members}
    places = {name: float(number) for number, name in enumerate(names)}
    return panels(cells.rename(columns={"test_set": "at"}), design, places, {name: name for name in names}, shifts)


test_set_panels.__test__ = False  # keeps pytest from collecting it
