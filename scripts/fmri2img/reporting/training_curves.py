"""Training curves of a network: loss terms, learning rate and gradient norm against the optimiser step."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from fmri2img.artifacts.tables import read_table
from fmri2img.reporting.style import COLOURS, INK, PAGE_WIDTH, RULE, look

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
        colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(terms)} | {"loss": INK}
        for column, (name, log) in zip(axes.T, logs.items(), strict=True):
            curves = thinned(log.select_dtypes("number"))
            losses = curves.melt("step", [term for term in colours if term in curves], "term")
            sns.lineplot(
                losses, x="step", y="value", hue="term", hue_order=list(colours), palette=colours, estimator=None,
                errorbar=None, linewidth=1.4, legend=False, ax=column[0],
            )  # fmt: skip
            for panel, key in zip(column[1:], ("learning_rate", "gradient_norm"), strict=True):
                line = {"color": INK, "linewidth": 1.2, "estimator": None, "errorbar": None}
                sns.lineplot(curves, x="step", y=key, ax=panel, **line)
            for panel in (column[0], column[2]):
                panel.set_yscale("log")
                panel.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
                panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                panel.yaxis.set_minor_locator(NullLocator())
            column[1].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1e4 * value:g}"))
            column[0].set_title(name)
            for panel in column:
                panel.set(xlabel="", ylabel="")
                panel.grid(axis="y", color=RULE, linewidth=0.7)
                panel.set_axisbelow(True)
            column[-1].set_xlabel("optimiser step")
        for panel, text in zip(axes[:, 0], ROWS, strict=True):
            panel.set_ylabel(text)
        figure.align_ylabels(axes[:, 0])
        labels = {term: "sum" if term == "loss" else term.removeprefix("loss_").replace("_", " ") for term in colours}
        handles = [Line2D([], [], color=colour, label=labels[term]) for term, colour in colours.items()]
        figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), handlelength=2.0)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")
    return figure
