"""How a network's training went: loss terms, learning rate and gradient norm against the optimiser step."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, LogFormatter

from fmri2img.artifacts.tables import read_table
from fmri2img.reporting.style import COLOURS, INK, MUTED, PAGE_WIDTH, look

POINTS = 300  # of a curve; longer logs are averaged
PANEL_HEIGHT = 1.9  # inches
ROWS = ("loss terms", "learning rate (10⁻⁴)", "gradient norm")


def thinned(log: pd.DataFrame, points: int = POINTS) -> pd.DataFrame:
    """Means of at most `points` runs of consecutive steps, equally long but for the last."""
    return log.groupby(np.arange(len(log)) // -(-len(log) // points)).mean()


def training_curves(runs: dict[str, str | Path], title: str):
    """One column of panels for each training. runs: heading -> directory of the stored decoder."""
    logs = {name: read_table(Path(path) / "log.parquet", {"step": "iu", "loss": "f"}) for name, path in runs.items()}
    height = 0.5 + PANEL_HEIGHT * len(ROWS)
    with look():
        figure, axes = plt.subplots(
            len(ROWS), len(logs), figsize=(PAGE_WIDTH, height), sharex="col", sharey="row", squeeze=False,
            layout="constrained",
        )  # fmt: skip
        terms = list(dict.fromkeys(name for log in logs.values() for name in log if name.startswith("loss_")))
        for column, (name, log) in zip(axes.T, logs.items(), strict=True):
            curves = thinned(log.select_dtypes("number"))
            for number, term in enumerate(term for term in terms if term in curves):
                label = term.removeprefix("loss_").replace("_", " ")
                column[0].plot(
                    curves["step"], curves[term], color=COLOURS[number % len(COLOURS)], linewidth=1.4, label=label
                )
            column[0].plot(curves["step"], curves["loss"], color=INK, linewidth=1, label="sum")
            column[1].plot(curves["step"], curves["learning_rate"], color=INK, linewidth=1.4)
            column[2].plot(curves["step"], curves["gradient_norm"], color=INK, linewidth=1)
            for panel in (column[0], column[2]):
                panel.set_yscale("log")
                panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                panel.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.5)))
            column[1].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1e4 * value:g}"))
            column[0].set_title(name)
            column[-1].set_xlabel("optimiser step")
            for panel in column:
                panel.grid(axis="y", color="#e4e7eb", linewidth=0.7)
                panel.set_axisbelow(True)
                panel.tick_params(axis="y", which="minor", labelsize=7, labelcolor=MUTED)
        for panel, text in zip(axes[:, 0], ROWS, strict=True):
            panel.set_ylabel(text)
        figure.align_ylabels(axes[:, 0])
        axes[0, -1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure
