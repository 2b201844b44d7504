"""Brain correlation on the brain of each subject, and by region.

Maps are slices of the subject's own functional volume, over the outline of its brain. NSD's functional volumes carry no
anatomical coordinates, and simulated ones have no anatomy, so that nothing is moved onto a template.
"""

import matplotlib.pyplot as plt
import nibabel
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from fmri2img.reporting.design import GAP, Design
from fmri2img.reporting.style import MUTED, PAGE_WIDTH, look
from fmri2img.reporting.tables import Cell, Column, Row, Table

REGIONS = {
    "visual_cortex": "Visual cortex", "v1": "V1", "v2": "V2", "v3": "V3", "v4": "V4", "higher": "Higher",
}  # fmt: skip
SCORES = {
    "pattern": "of each image, over the voxels of a region",
    "voxel": "of each voxel of a region, over images",
}
SLICES = 6
COLOURS = "viridis"
LEAST = 1e-3  # correlations below are drawn as this: nilearn leaves out voxels that are 0
LABEL, ROW, HEAD, FOOT = 2.0, 0.95, 0.62, 0.34  # inches: labels, a row of slices, above and below the rows


def slice_positions(z: np.ndarray) -> np.ndarray:
    """Axial slices to show, evenly spaced among those that hold voxels, int (at most SLICES,). z: (voxels,)."""
    filled = np.unique(z)
    return np.unique(filled[np.rint(np.linspace(0, len(filled) - 1, SLICES + 2)[1:-1]).astype(int)])


def map_rows(voxels: dict[str, pd.DataFrame], design: Design) -> dict[str, pd.DataFrame]:
    """What a figure shows, by its label: the noise ceiling, the stimuli, then every method that draws.

    voxels: tables of `metrics.brain.voxel_table` of one subject, by method and "stimuli".
    """
    stimuli = voxels["stimuli"]
    titles = {name: entry["title"] for name, entry in design.methods.items() if name in voxels}
    return {
        "Noise ceiling": stimuli.assign(correlation=stimuli["ceiling"]),
        "The stimuli themselves": stimuli,
        **{title: voxels[name] for name, title in titles.items()},
    }


def brain_map(rows: dict[str, pd.DataFrame], brain: nibabel.Nifti1Image, subject: str, trained: str):
    """Axial slices of a subject's volume: one row a table of voxels (x, y, z, correlation), all on one scale.

    brain: its brain mask; trained: what the methods were trained on. Returns the figure.
    """
    from nilearn.plotting import plot_img

    inside = np.asarray(brain.dataobj) > 0
    first = next(iter(rows.values()))
    z = slice_positions(first["z"].to_numpy())
    cuts = nibabel.affines.apply_affine(brain.affine, np.stack([np.zeros_like(z), np.zeros_like(z), z], 1))[:, 2]
    top = max(0.1, float(np.ceil(10 * max(table["correlation"].max() for table in rows.values())) / 10))
    silhouette = nibabel.Nifti1Image(inside.astype(np.float32), brain.affine)
    height = HEAD + ROW * len(rows) + FOOT
    with look():
        figure = plt.figure(figsize=(PAGE_WIDTH, height))
        for number, (label, table) in enumerate(rows.items()):
            bottom = 1 - (HEAD + ROW * (number + 1)) / height
            place = (LABEL / PAGE_WIDTH, bottom, 1 - LABEL / PAGE_WIDTH, 0.94 * ROW / height)
            values = np.zeros(inside.shape, np.float32)
            values[table["x"], table["y"], table["z"]] = table["correlation"].clip(LEAST, top)
            display = plot_img(
                nibabel.Nifti1Image(values, brain.affine),
                bg_img=silhouette,
                display_mode="z",
                cut_coords=cuts,
                axes=place,
                figure=figure,
                annotate=False,
                draw_cross=False,
                threshold=LEAST / 2,
                cmap=COLOURS,
                vmin=0,
                vmax=top,
                black_bg=False,
                interpolation="nearest",
                resampling_interpolation="nearest",
                colorbar=False,
            )
            mean = f"mean {table['correlation'].mean():.2f}".replace("-", "−")
            middle = bottom + 0.5 * ROW / height
            figure.text(0.1 / PAGE_WIDTH, middle, label, va="bottom", fontweight="bold")
            figure.text(0.1 / PAGE_WIDTH, middle - 0.03 / height, mean, va="top", color=MUTED)
            if number == 0:
                for axes, position in zip(display.axes.values(), z, strict=True):
                    axes.ax.set_title(f"z = {position}", loc="center", fontsize=8.5, fontweight="normal")
        figure.text(0.1 / PAGE_WIDTH, 1 - 0.1 / height, f"{subject}, trained on {trained}", va="top", fontsize=11)
        bar = figure.add_axes(((PAGE_WIDTH - 2.6) / PAGE_WIDTH, 1 - 0.2 / height, 2.4 / PAGE_WIDTH, 0.1 / height))
        figure.colorbar(ScalarMappable(Normalize(0, top), COLOURS), cax=bar, orientation="horizontal")
        bar.set_xticks(np.linspace(0, top, 3))
        figure.text(
            (PAGE_WIDTH - 2.75) / PAGE_WIDTH, 1 - 0.15 / height, "correlation over images", ha="right", va="center"
        )
    return figure


def region_tables(regions: pd.DataFrame, design: Design) -> list[Table]:
    """Both scores by region: methods down, regions across, means over subjects, and their share of the noise ceiling.

    regions: tables of `metrics.brain.region_table`, with columns method (or "stimuli") and subject.
    """
    means = regions.groupby(["method", "region"])[["pattern", "pattern_normalised", "voxel", "voxel_normalised"]].mean()
    titles = {"stimuli": "The stimuli themselves"} | {name: entry["title"] for name, entry in design.methods.items()}
    kinds = {"stimuli": "stimuli"} | {name: entry["kind"] for name, entry in design.methods.items()}
    tables = []
    for score, meaning in SCORES.items():
        rows, previous = [], None
        for method in (name for name in titles if name in means.index.get_level_values("method")):
            found = [means.loc[(method, region)] for region in REGIONS]
            cells = [_cell(row[score], row[f"{score}_normalised"]) for row in found]
            rows.append(Row([titles[method]], cells, previous not in (None, kinds[method])))
            previous = kinds[method]
        counts = regions.drop_duplicates(["subject", "region"]).groupby("region")["voxels"].mean()
        columns = [Column(title, f"{counts[region]:.0f} voxels") for region, title in REGIONS.items()]
        note = (
            "Correlation of measured betas with those that the encoding model predicts from the pictures, mean over "
            f"subjects [share of the noise ceiling]. Split {design.split}, {design.data}. The first row is the encoding "
            "model's own accuracy: no reconstruction is expected to be above it."
        )
        title = f"Brain correlation {meaning}, trained on {design.budget_title(design.longest_budget)}"
        tables.append(Table(title, ["Method"], columns, rows, note))
    return tables


def _cell(value: float, share: float) -> Cell:
    if np.isnan(value):
        return Cell(GAP)
    return Cell(f"{value:.3f}".replace("-", "−"), "" if np.isnan(share) else f"[{100 * share:.0f} %]".replace("-", "−"))
