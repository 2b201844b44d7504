"""The figure and the table of the encoding analysis: which component of the diffusion model explains which region."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.lines import Line2D

from fmri2img.artifacts.arrays import read_array
from fmri2img.artifacts.tables import read_table
from fmri2img.methods.takagi.components import EARLY, HIGHER
from fmri2img.reporting.brain_maps import outline, projection
from fmri2img.reporting.style import COLOURS, INK, MUTED, PAGE_WIDTH, RULE, look
from fmri2img.stats.bootstrap import percentile_interval

Z, C = COLOURS[0], COLOURS[1]
DRIFT = LinearSegmentedColormap.from_list("drift", [Z, "#8a6f9e", C])
DASHED = (0, (4, 1.5))
STEPS = LinearSegmentedColormap.from_list("steps", ["#a8d5c2", "#009e73", "#00503a"])
IDENTITY = ["name", "kind", "noise", "step", "steps", "layer", "region"]
MEASURES = ["accuracy", "normalised", "significant", "significant_gaussian", "like_z", "like_c", "beyond_z", "at_edge"]
HEAD, MAPS, TITLE, ROW, AXIS = 0.5, 1.5, 0.5, 2.5, 0.5  # inches: heights of heading, maps, title, panel, axis labels


@dataclass(frozen=True)
class Result:
    """Tables of one subject, as `encoding.save` wrote them."""

    subject: str
    regions: pd.DataFrame
    voxels: pd.DataFrame
    draws: np.ndarray

    @classmethod
    def open(cls, subject: str, path: str | Path) -> "Result":
        path = Path(path)
        tables = [read_table(path / f"{name}.parquet") for name in ("regions", "voxels")]
        return cls(subject, *tables, read_array(path / "draws.npy"))


def combined(results: list[Result], confidence: float) -> pd.DataFrame:
    """Means over subjects of every model and region, with the bootstrap interval of accuracy (low, high).

    Images are resampled for all subjects at once. Rows of kind "difference" hold z minus c. Columns: IDENTITY, voxels,
    MEASURES, low and high, in the order of the models.
    """
    first = results[0].regions
    stacked = pd.concat([result.regions.reset_index(names="row") for result in results])
    table = first[IDENTITY].assign(**stacked.groupby("row")[["voxels", *MEASURES]].mean())
    draws = np.mean([result.draws for result in results], axis=0, dtype=np.float64)
    images = int(stacked["images"].min())
    table[["low", "high"]] = [percentile_interval(column, confidence, images) for column in draws.T]
    rows = {kind: np.flatnonzero(table["kind"] == kind) for kind in ("z", "c")}
    difference = table.loc[rows["z"], ["region", "voxels"]].assign(name="z minus c", kind="difference")
    difference["accuracy"] = table["accuracy"].to_numpy()[rows["z"]] - table["accuracy"].to_numpy()[rows["c"]]
    between = draws[:, rows["z"]] - draws[:, rows["c"]]
    difference[["low", "high"]] = [percentile_interval(column, confidence, images) for column in between.T]
    return pd.concat([table, difference], ignore_index=True)


def encoding_figure(results: list[Result], confidence: float):
    """Maps of one subject, accuracy by region, drift with noise, denoising steps and layers: the figure."""
    table = combined(results, confidence)
    final = table[(table["kind"] != "zc") | (table["step"] == table["steps"])]
    levels = sorted(final.loc[final["kind"] == "zc", "noise"].unique())
    traced = table.loc[table["kind"] == "layer", "noise"].iloc[0]
    with look():
        height = HEAD + MAPS + TITLE + ROW + AXIS + TITLE + ROW + AXIS
        figure = plt.figure(figsize=(PAGE_WIDTH, height))
        top = 1 - HEAD / height
        maps = figure.add_gridspec(1, len(levels) + 2, left=0.02, right=0.91, top=top, bottom=top - MAPS / height)
        _maps(figure, maps, results[0], final, levels)
        upper = top - (MAPS + TITLE) / height
        first = figure.add_gridspec(
            1, 2, width_ratios=[1.55, 1], wspace=0.2, left=0.065, right=0.985, top=upper, bottom=upper - ROW / height
        )
        _by_region(figure.add_subplot(first[0]), final, levels)
        _drift(figure.add_subplot(first[1]), final, levels)
        lower = upper - (ROW + AXIS + TITLE) / height
        second = figure.add_gridspec(
            1, 3, width_ratios=[1, 1, 1.6], wspace=0.3, left=0.065, right=0.985, top=lower,
            bottom=lower - ROW / height,
        )  # fmt: skip
        _beyond(figure.add_subplot(second[0]), final, levels)
        _by_step(figure.add_subplot(second[1]), table, traced)
        _by_layer(figure.add_subplot(second[2]), table, traced)
    return figure


def _colour(noise: float):
    return DRIFT(0.12 + 0.76 * noise)


def _maps(figure, grid, result: Result, final: pd.DataFrame, levels: list[float]) -> None:
    names = {"z": "z: the picture"}
    names |= {final.loc[(final["noise"] == noise) & (final["kind"] == "zc"), "name"].iloc[0]: f"zc, noise {noise:g}"
              for noise in levels}  # fmt: skip
    names |= {"c": "c: its captions"}
    accuracies = [result.voxels[f"accuracy {name}"] for name in names]
    limit = max(0.1, np.ceil(20 * max(values.quantile(0.98) for values in accuracies)) / 20)
    shape = tuple(result.voxels[list("xyz")].max() + 2)
    for place, (name, title) in enumerate(names.items()):
        axes = figure.add_subplot(grid[place])
        values, early = projection(
            result.voxels.assign(correlation=result.voxels[f"accuracy {name}"]), shape, "from behind"
        )
        axes.imshow(values, cmap="viridis", vmin=0, vmax=limit, origin="lower", interpolation="nearest")
        outline(axes, early)
        seen = np.argwhere(np.isfinite(values))
        (low_y, low_x), (high_y, high_x) = seen.min(axis=0), seen.max(axis=0)
        axes.set(xlim=(low_x - 1.2, high_x + 1.2), ylim=(low_y - 1.2, high_y + 1.2))
        axes.set_axis_off()
        colour = Z if name == "z" else C if name == "c" else INK
        axes.set_title(title, fontsize=9, color=colour, loc="center", pad=3)
    box = grid.get_grid_positions(figure)
    bar = figure.add_axes((0.925, box[0][0] + 0.15 * (box[1][0] - box[0][0]), 0.012, 0.7 * (box[1][0] - box[0][0])))
    figure.colorbar(ScalarMappable(Normalize(0, limit), "viridis"), cax=bar, extend="both", ticks=[0, limit])
    bar.set_ylabel("accuracy", labelpad=-6)
    height = figure.get_figheight()
    figure.text(
        0.012, 1 - 0.22 / height,
        f"Accuracy on the cortex of {result.subject}, seen from behind. Line: V1 to hV4.", fontsize=10,
    )  # fmt: skip


def _lines(axes, rows: pd.DataFrame, x: str, y: str, **style) -> None:
    """One line for each group of regions: early solid, higher dashed."""
    for region, line in ((EARLY, "-"), (HIGHER, DASHED)):
        here = rows[rows["region"] == region].sort_values(x)
        axes.plot(here[x], here[y], linestyle=line, marker="o", markersize=4.5, **style)


def _finish(axes, title: str, ylabel: str) -> None:
    axes.set_title(title, pad=8)
    axes.set_ylabel(ylabel)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)


def _by_region(axes, final: pd.DataFrame, levels: list[float]) -> None:
    order = [region for region in final["region"].unique() if region not in (EARLY, HIGHER)]
    places = np.arange(len(order))
    models = [("c", final["kind"] == "c", C, 2.4)]
    models += [(f"zc, noise {n:g}", (final["kind"] == "zc") & (final["noise"] == n), _colour(n), 1.1) for n in levels]
    models += [("z", final["kind"] == "z", Z, 2.4)]
    for label, chosen, colour, width in models:
        rows = final[chosen].set_index("region").loc[order]
        strong = label in ("z", "c")
        if strong:
            axes.fill_between(places, rows["low"], rows["high"], color=colour, alpha=0.13, linewidth=0)
        axes.plot(
            places, rows["accuracy"], color=colour, linewidth=width, marker="o" if strong else None,
            label=label, zorder=3 if strong else 2,
        )  # fmt: skip
    axes.set_xticks(places, order)
    axes.set_xlim(-0.25, len(order) - 0.75)
    axes.set_ylim(bottom=0)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], ncol=3, loc="lower left", handlelength=1.6, columnspacing=1.4)
    _finish(axes, "Which component explains which region", "accuracy (r, 95 % interval)")


GROUPS = [Line2D([], [], color=INK, label=EARLY), Line2D([], [], color=INK, linestyle=DASHED, label=HIGHER)]


def _drift(axes, final: pd.DataFrame, levels: list[float]) -> None:
    rows = final[final["kind"] == "zc"]
    _lines(axes, rows, "noise", "like_z", color=Z)
    _lines(axes, rows, "noise", "like_c", color=C)
    axes.set_xticks(levels)
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("noise added to z")
    colours = [Line2D([], [], color=Z, label="with those of z"), Line2D([], [], color=C, label="with those of c")]
    axes.legend(handles=[*colours, *GROUPS], loc="lower left", ncol=2, handlelength=2.2)
    _finish(axes, "zc drifts from z to c", "correlation of predicted betas")


def _beyond(axes, final: pd.DataFrame, levels: list[float]) -> None:
    _lines(axes, final[final["kind"] == "zc"], "noise", "beyond_z", color=INK)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_xticks(levels)
    axes.set_xlabel("noise added to z")
    axes.legend(handles=GROUPS, handlelength=2.2)
    _finish(axes, "What zc adds to z", "gain in accuracy (r)")


def _by_step(axes, table: pd.DataFrame, traced: float) -> None:
    rows = table[(table["kind"] == "zc") & (table["noise"] == traced)]
    _lines(axes, rows, "step", "accuracy", color=_colour(traced))
    axes.set_xticks(sorted(rows["step"].unique()))
    axes.set_xlabel(f"denoising step of {int(rows['steps'].iloc[0])}, from noise {traced:g}")
    axes.set_ylim(bottom=0)
    axes.legend(handles=GROUPS, loc="lower right", handlelength=2.2)
    _finish(axes, "zc while it is denoised", "accuracy (r)")


def _by_layer(axes, table: pd.DataFrame, traced: float) -> None:
    rows = table[table["kind"] == "layer"]
    order, steps = list(rows["layer"].unique()), sorted(rows["step"].unique())
    rows = rows.assign(place=rows["layer"].map(order.index))
    handles = []
    for number, step in enumerate(steps):
        colour = STEPS(number / max(len(steps) - 1, 1))
        _lines(axes, rows[rows["step"] == step], "place", "accuracy", color=colour)
        handles.append(Line2D([], [], color=colour, label=f"step {step:g}"))
    axes.legend(handles=[*handles, *GROUPS], ncol=3, loc="lower right", handlelength=1.8, columnspacing=1.2)
    axes.set_xticks(range(len(order)), order)
    axes.set_xlabel(f"block of the denoising network, from noise {traced:g}")
    axes.set_ylim(bottom=0)
    _finish(axes, "Blocks of the denoising network", "accuracy (r)")
