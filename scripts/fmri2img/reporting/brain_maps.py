"""Brain correlation on the brain of each subject, and by region.

Maps are projections of the subject's own functional volume from three sides: each point is the mean of the voxels on
the line of sight. NSD's functional volumes have no anatomical coordinates, and simulated ones have no anatomy, so
nothing is moved onto a template.
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize

from fmri2img.artifacts.regions import EARLY
from fmri2img.reporting.design import GAP, Design
from fmri2img.reporting.style import INK, MUTED, PAGE_WIDTH, look
from fmri2img.reporting.tables import Cell, Column, Row, Table

REGIONS = {
    "visual_cortex": "Visual cortex", "v1": "V1", "v2": "V2", "v3": "V3", "v4": "V4", "higher": "Higher",
}  # fmt: skip
SCORES = {
    "pattern": "of each image, over the voxels of a region",
    "voxel": "of each voxel of a region, over images",
}
# The axis along the line of sight, and the remaining axes of the volume (left to right, back to front, down to up).
VIEWS = {"from behind": (1, (0, 2)), "from the right": (0, (1, 2)), "from above": (2, (0, 1))}
ACROSS = 5  # maps side by side
MARGIN = 1.5  # voxels around those that are shown
LABEL, GUTTER, TITLE, HEAD = 0.4, 0.14, 0.62, 0.45  # inches
FINE = 12  # points of an outline to a voxel
LETTERS = 21  # of a title in one line


def map_rows(voxels: dict[str, pd.DataFrame], design: Design) -> dict[str, pd.DataFrame]:
    """What a figure shows, by its title: the noise ceiling, the stimuli, then every method that draws.

    voxels: tables of `metrics.brain.voxel_table` of one subject, by method and "stimuli".
    """
    stimuli = voxels["stimuli"]
    titles = {name: entry["title"] for name, entry in design.methods.items() if name in voxels}
    return {
        "Noise ceiling": stimuli.assign(correlation=stimuli["ceiling"]),
        "The stimuli themselves": stimuli,
        **{title: voxels[name] for name, title in titles.items()},
    }


def projection(table: pd.DataFrame, shape: tuple[int, int, int], view: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean correlation on each line of sight, and whether a voxel of V1 to hV4 lies on it.

    table: voxels (x, y, z, correlation, one boolean column a region). Returns float (vertical, horizontal), lowest row
    first, NaN where no voxel lies, and bool of that shape.
    """
    kept = VIEWS[view][1]
    places = tuple(table["xyz"[axis]] for axis in reversed(kept))
    sums, counts, early = (np.zeros([shape[axis] for axis in reversed(kept)]) for _ in range(3))
    np.add.at(sums, places, table["correlation"])
    np.add.at(counts, places, 1)
    np.add.at(early, places, table[[name for name in EARLY if name in table]].any(axis=1))
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0), early > 0


def brain_map(maps: dict[str, pd.DataFrame], brain: np.ndarray, subject: str, trained: str):
    """Tables of voxels (`projection`) by their title, seen from three sides, all on one scale: the figure.

    brain: bool (X, Y, Z), the subject's brain mask, drawn in grey; trained: what the methods were trained on.
    """
    low, high = (next(iter(maps.values()))[list("xyz")].agg(end).to_numpy() for end in ("min", "max"))
    extent = high - low + 1 + 2 * MARGIN
    limit = max(0.1, np.ceil(20 * max(t["correlation"].quantile(0.99) for t in list(maps.values())[1:])) / 20)
    down = -(-len(maps) // ACROSS)
    cell = (PAGE_WIDTH - LABEL) / ACROSS - GUTTER
    wide = max(extent[kept[0]] for _, kept in VIEWS.values())
    heights = [cell * extent[kept[1]] / wide for _, kept in VIEWS.values()]
    block = TITLE + sum(heights) + GUTTER * len(VIEWS)
    size = PAGE_WIDTH, HEAD + block * down
    with look():
        figure = plt.figure(figsize=size)

        def inches(left: float, top: float, width: float, height: float) -> tuple:
            return left / size[0], 1 - (top + height) / size[1], width / size[0], height / size[1]

        for number, (title, table) in enumerate(maps.items()):
            left = LABEL + number % ACROSS * (cell + GUTTER)
            top = HEAD + number // ACROSS * block
            where = {"transform": figure.transFigure, "fontsize": 9}
            mean = f"mean {table['correlation'].mean():.2f}".replace("-0.00", "0.00").replace("-", "−")
            top += TITLE
            lines = textwrap.fill(title, LETTERS)
            figure.text(left / size[0], 1 - (top - 0.22) / size[1], lines, fontweight="bold", va="bottom", **where)
            figure.text(left / size[0], 1 - (top - 0.18) / size[1], mean, color=MUTED, va="top", **where)
            for (view, (along, kept)), height in zip(VIEWS.items(), heights, strict=True):
                axes = figure.add_axes(inches(left, top, cell, height))
                values, early = projection(table, brain.shape, view)
                silhouette = np.where(brain.any(axis=along).T, 1.0, np.nan)
                axes.imshow(silhouette, cmap=ListedColormap(["#e4e7eb"]), origin="lower", interpolation="nearest")
                axes.imshow(values, cmap="viridis", vmin=0, vmax=limit, origin="lower", interpolation="nearest")
                outline(axes, early)
                centre, half = (low + high)[kept[0]] / 2, wide / 2
                axes.set(xlim=(centre - half, centre + half))
                axes.set(ylim=(low[kept[1]] - 0.5 - MARGIN, high[kept[1]] + 0.5 + MARGIN))
                axes.set_axis_off()
                if number % ACROSS == 0:
                    middle = 1 - (top + height / 2) / size[1]
                    figure.text(0.018, middle, view, rotation=90, ha="center", va="center", color=MUTED)
                top += height + GUTTER
        heading = f"{subject}, trained on {trained}. Line: V1 to hV4. Grey: the rest of the brain."
        figure.text(0.01, 1 - 0.25 / size[1], heading, fontsize=10)
        bar = figure.add_axes(inches(PAGE_WIDTH - 2.4, 0.1, 2.2, 0.12))
        scale = ScalarMappable(Normalize(0, limit), "viridis")
        figure.colorbar(scale, cax=bar, orientation="horizontal", extend="both", ticks=[0, limit / 2, limit])
        figure.text((PAGE_WIDTH - 2.6) / size[0], 1 - 0.16 / size[1], "correlation", ha="right", va="center")
    return figure


def outline(axes, inside: np.ndarray) -> None:
    """Draw a line along the edges of pixels. inside: bool (vertical, horizontal)."""
    fine = np.kron(np.pad(inside, 1), np.ones((FINE, FINE)))
    across, along = ((np.arange(n) + 0.5) / FINE - 1.5 for n in reversed(fine.shape))
    for colour, width in (("white", 2), (INK, 0.9)):
        axes.contour(across, along, fine, levels=[0.5], colors=colour, linewidths=width)


def region_tables(regions: pd.DataFrame, design: Design) -> list[Table]:
    """Both scores by region: methods down, regions across, means over subjects, and their share of the noise ceiling.

    regions: tables of `metrics.brain.region_table`, with columns method (or "stimuli") and subject.
    """
    means = regions.groupby(["method", "region"])[["pattern", "pattern_normalised", "voxel", "voxel_normalised"]].mean()
    titles = {"stimuli": "The stimuli themselves"} | {name: entry["title"] for name, entry in design.methods.items()}
    kinds = {"stimuli": "stimuli"} | {name: entry["kind"] for name, entry in design.methods.items()}
    titled = {region: title for region, title in REGIONS.items() if region in set(regions["region"])}
    tables = []
    for score, meaning in SCORES.items():
        rows, previous = [], None
        for method in (name for name in titles if name in means.index.get_level_values("method")):
            found = [means.loc[(method, region)] for region in titled]
            cells = [_cell(row[score], row[f"{score}_normalised"]) for row in found]
            rows.append(Row([titles[method]], cells, previous not in (None, kinds[method])))
            previous = kinds[method]
        counts = regions.drop_duplicates(["subject", "region"]).groupby("region")["voxels"].mean()
        columns = [Column(title, f"{counts[region]:.0f} voxels") for region, title in titled.items()]
        note = (
            "Correlation of measured betas with those that the encoding model predicts from the pictures, mean over "
            f"subjects [share of the noise ceiling]. Split {design.split}, {design.data}. The first row is the "
            "encoding model's own accuracy: no reconstruction is expected to be above it."
        )
        title = f"Brain correlation {meaning}, trained on {design.budget(design.longest_budget).title}"
        tables.append(Table(title, ["Method"], columns, rows, note))
    return tables


def _cell(value: float, share: float) -> Cell:
    if np.isnan(value):
        return Cell(GAP)
    return Cell(f"{value:.3f}".replace("-", "−"), "" if np.isnan(share) else f"[{100 * share:.0f} %]".replace("-", "−"))
