"""The theme of every figure: fonts, a palette safe for colour-blind readers, and byte-identical files."""

import textwrap
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from fmri2img.artifacts.atomic import atomic_file
from fmri2img.reporting.design import Design

mpl.use("Agg")  # figures are made on machines without a display

PAGE_WIDTH = 10.0  # inches
LEGEND_ACROSS, LETTER, LEGEND_HANDLE = 5, 0.07, 0.62  # entries in a row; inches of a letter, a handle and its gaps
INK, MUTED, RULE = "#1f2933", "#6b7785", "#e4e7eb"
SETTINGS = {
    "font.family": "DejaVu Sans",  # the one family that comes with matplotlib, so figures agree everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "svg.hashsalt": "fmri2img",
    "savefig.facecolor": "white",
}
# Decoders take the colours of the Okabe-Ito palette that are visible on white; controls are greys with dashed lines.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c4799", "#7f5539"]
GREYS = ["#4a5560", "#94a0ac", "#6b7785"]
MARKERS = ["o", "s", "D", "^", "v", "P", "X", "h"]
TINTS = [0, 0.2, 0.35, 0.45, 0.52]  # of the methods of a family, in their order
FROM_SCRATCH = (0, (3, 1.2))
DASHES = [(0, (5, 1.6)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2))]


def missing_figure(text: str):
    """A figure that says why there is none."""
    with look():
        figure = plt.figure(figsize=(PAGE_WIDTH, 1.2))
        figure.text(0.02, 0.5, textwrap.fill(text, 130), va="center", color=MUTED, fontsize=10)
    return figure


def method_styles(design: Design) -> dict[str, dict]:
    """colour, marker and linestyle of each method, by its place in the design.

    A family has one colour, of which its variants and stages have lighter tints and markers of their own. Networks
    trained from scratch are dashed.
    """
    styles, n_families, n_controls = {}, 0, 0
    for members in design.families.values():
        for place, name in enumerate(members):
            entry = design.methods[name]
            if entry["kind"] == "control":
                # Three greys and four dashes distinguish twelve controls.
                colour, line = GREYS[n_controls % len(GREYS)], DASHES[n_controls % len(DASHES)]
                marker = MARKERS[n_controls % len(MARKERS)]
                n_controls += 1
            else:
                colour = tinted(COLOURS[n_families % len(COLOURS)], TINTS[min(place, len(TINTS) - 1)])
                marker = MARKERS[(n_families + place) % len(MARKERS)]
                line = FROM_SCRATCH if is_from_scratch(entry) else "-"
            styles[name] = {"color": colour, "marker": marker, "linestyle": line}
        n_families += design.methods[members[0]]["kind"] != "control"
    return {name: styles[name] for name in design.methods}


def tinted(colour: str, share: float) -> str:
    """A colour (#rrggbb) mixed with a share of white."""
    channels = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(value + share * (255 - value)):02x}" for value in channels)


def is_from_scratch(entry: dict) -> bool:
    """Whether a method trains a network that is not pretrained on other subjects. entry: of the registry."""
    return "training" in entry and not entry["training"]["pretrained"]


def legend_columns(labels: list[str]) -> int:
    """The most columns, at most five, in which a legend of these labels fits on a page."""
    for columns in range(min(LEGEND_ACROSS, len(labels)), 1, -1):
        widths = [max(map(len, part)) * LETTER + LEGEND_HANDLE for part in np.array_split(labels, columns)]
        if sum(widths) <= PAGE_WIDTH:
            return columns
    return 1


@contextmanager
def look():
    """seaborn's theme "ticks" with the settings that all figures share."""
    # Imported here, because jobs that draw nothing import this module too, and seaborn takes about a second.
    import seaborn as sns

    with mpl.rc_context():
        sns.set_theme(style="ticks", palette=COLOURS, color_codes=False, rc=SETTINGS)
        yield


def save_figure(figure, stem: str | Path, formats: tuple[str, ...] = ("svg", "png"), dpi: int = 160) -> None:
    """Write `stem`.<format> for each format, without dates, so that the same numbers give the same bytes."""
    for form in formats:
        metadata = {"Date": None, "Creator": "fmri2img"} if form == "svg" else {"Software": None}
        with look(), atomic_file(f"{stem}.{form}") as temporary:
            figure.savefig(temporary, format=form, dpi=dpi, metadata=metadata)
    plt.close(figure)
