"""The look every figure shares: fonts, a palette safe for colour-blind readers, and byte-identical files."""

from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

from fmri2img.artifacts.atomic import atomic_file
from fmri2img.reporting.design import Design

mpl.use("Agg")  # figures are made on machines without a display

PAGE_WIDTH = 10.0  # inches
INK, MUTED = "#1f2933", "#6b7785"
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
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "svg.hashsalt": "fmri2img",
    "savefig.facecolor": "white",
}
# Decoders take the colours of the Okabe-Ito palette that stand out on white; controls are greys told apart by dashes.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c4799", "#7f5539"]
GREYS = ["#4a5560", "#9aa5b1", "#6b7785", "#b8c1ca"]
MARKERS = ["o", "s", "D", "^", "v", "P", "X", "h"]
DASHES = [(0, (5, 1.6)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2))]


def method_styles(design: Design) -> dict[str, dict]:
    """colour, marker and linestyle of each method, by its place in the registry."""
    styles, n_decoders, n_controls = {}, 0, 0
    for name, entry in design.methods.items():
        if entry["kind"] == "control":
            colour, line = GREYS[n_controls % len(GREYS)], DASHES[n_controls % len(DASHES)]
            n_controls += 1
        else:
            colour, line = COLOURS[n_decoders % len(COLOURS)], "-"
            n_decoders += 1
        styles[name] = {"color": colour, "marker": MARKERS[len(styles) % len(MARKERS)], "linestyle": line}
    return styles


@contextmanager
def look():
    """matplotlib with the shared settings."""
    with mpl.rc_context(SETTINGS):
        yield


def save_figure(figure, stem: str | Path, formats: tuple[str, ...] = ("svg", "png"), dpi: int = 160) -> None:
    """Write `stem`.<format> for each format, without dates, so that the same numbers give the same bytes."""
    for form in formats:
        metadata = {"Date": None, "Creator": "fmri2img"} if form == "svg" else {"Software": None}
        with look(), atomic_file(f"{stem}.{form}") as temporary:
            figure.savefig(temporary, format=form, dpi=dpi, metadata=metadata)
    plt.close(figure)
