"""Brain correlation on a glass brain, the transparent MNI152 template.

The map from the template to a subject's functional volume (`artifacts.anatomy`) holds for every millimetre of the
template the place in that volume, counted from 1, or 9999 outside it. Its first axis runs from right to left, and its
origin is at (91, 126, 72) after that axis is reversed (nsdcode, `nsd_mapdata` and `nsd_write_vol`).
"""

import matplotlib.pyplot as plt
import nibabel
import numpy as np
import pandas as pd

from fmri2img.artifacts.anatomy import NOWHERE
from fmri2img.reporting.style import MUTED, PAGE_WIDTH, look

ORIGIN = (91, 126, 72)
STEP = 2  # every second millimetre: the functional voxels have 1.8
ROW, HEAD, LABEL = 1.5, 0.5, 2.0  # inches


def on_template(table: pd.DataFrame, shape: tuple[int, int, int], transform: np.ndarray) -> nibabel.Nifti1Image:
    """Correlation on the template, 0 where no voxel of the table lies.

    table: voxels (x, y, z, correlation) of a functional volume of this shape; transform: (X, Y, Z, 3), as above. Each
    place of the template takes the nearest voxel, so that no value is a mixture.
    """
    values = np.zeros(shape, np.float32)
    values[table["x"], table["y"], table["z"]] = table["correlation"].clip(lower=0)
    places = transform[::-1][::STEP, ::STEP, ::STEP]
    inside = (places != NOWHERE).all(axis=3)
    nearest = np.rint(np.where(inside[..., None], places, 1)).astype(int) - 1
    inside &= ((nearest >= 0) & (nearest < shape)).all(axis=3)
    nearest[~inside] = 0
    found = np.where(inside, values[tuple(np.moveaxis(nearest, 3, 0))], np.float32(0))
    affine = np.diag([STEP, STEP, STEP, 1.0])
    affine[:3, 3] = -np.array(ORIGIN)
    return nibabel.Nifti1Image(found, affine)


def glass_brain(
    maps: dict[str, pd.DataFrame], shape: tuple[int, int, int], transform: np.ndarray, subject: str, trained
):
    """One row a map, all on one scale, the largest value on each line of sight (nilearn): the figure.

    maps: by title, as for `brain_maps.brain_map`; trained: what the methods were trained on.
    """
    from nilearn.plotting import plot_glass_brain

    limit = max(0.1, np.ceil(20 * max(t["correlation"].quantile(0.99) for t in list(maps.values())[1:])) / 20)
    size = PAGE_WIDTH, HEAD + ROW * len(maps)
    with look():
        figure = plt.figure(figsize=size)
        for number, (title, table) in enumerate(maps.items()):
            bottom = 1 - (HEAD + ROW * (number + 1)) / size[1]
            plot_glass_brain(
                on_template(table, shape, transform),
                display_mode="lyrz",
                figure=figure,
                axes=(LABEL / size[0], bottom, 1 - LABEL / size[0], ROW / size[1]),
                cmap="viridis",
                vmin=0,
                vmax=limit,
                threshold=1e-3,
                plot_abs=False,
                colorbar=True,
                cbar_tick_format="%.2f",
                annotate=number == 0,
            )
            middle = bottom + 0.5 * ROW / size[1]
            mean = f"mean {table['correlation'].mean():.2f}".replace("-0.00", "0.00").replace("-", "−")
            figure.text(0.01, middle, title, fontweight="bold", va="bottom")
            figure.text(0.01, middle - 0.02 / size[1], mean, color=MUTED, va="top")
        heading = f"{subject} on the MNI152 template, trained on {trained}. Largest correlation on each line of sight."
        figure.text(0.01, 1 - 0.25 / size[1], heading, fontsize=10)
    return figure
