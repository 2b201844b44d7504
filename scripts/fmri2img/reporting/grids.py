"""Pictures: stimuli next to their reconstructions."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from fmri2img.artifacts.cells import ALL
from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.errors import UserError
from fmri2img.integrity import again
from fmri2img.reporting.design import Design
from fmri2img.reporting.style import MUTED, look

TILE = 144  # pixels of one image
GUTTER = 8  # pixels between images; groups of images are three gutters apart
COLUMNS = 10  # columns of a grid that fit on a page
INCHES_PER_TILE, MARGIN = 0.92, 0.1


@dataclass(frozen=True)
class Strip:
    """Images that go together, one for each picked stimulus.

    group, label: e.g. method and budget. images: uint8 (picked, height, width, 3).
    """

    group: str
    label: str
    images: np.ndarray


def index_predictions(paths: list[str], design: Design) -> dict:
    """(method, subject, sessions, seed) -> path, of the design's test set.

    A Prediction that does not vary with the subject, the budget or the seed is found under all of the design's.
    """
    found = {}
    for path in paths:
        record = Prediction.open(path).metadata
        if record["test_set"] != design.test_set:
            continue
        for subject in design.subjects if record["subject"] == ALL else [record["subject"]]:
            budgets = {sessions[subject] for sessions in design.budgets.values()}
            for sessions in budgets if record["sessions"] == ALL else [record["sessions"]]:
                seeds = design.seeds_of(record["method"]) if record["seed"] == ALL else [record["seed"]]
                found |= {(record["method"], subject, sessions, seed): path for seed in seeds}
    return found


def strips(stimuli: Stimuli, predictions: dict, design: Design, subject: str, ids: np.ndarray) -> list[Strip]:
    """The stimuli `ids`, then their reconstructions by every method and budget that has images (its first seed).

    predictions: (method, subject, sessions, seed) -> path of its Prediction.
    """
    found = [Strip("", "stimulus", stimuli.images[stimuli.rows(ids)])]
    for method, entry in design.methods.items():
        for budget in sorted(design.budgets, key=lambda label: design.budgets[label][subject]):
            sessions = design.budgets[budget][subject]
            path = predictions.get((method, subject, sessions, design.seeds_of(method)[0]))
            if path is None:
                continue
            prediction = Prediction.open(path)
            if prediction.images is None:
                continue
            rows = np.searchsorted(prediction.ids, ids)
            if (rows == len(prediction.ids)).any() or (prediction.ids[rows] != ids).any():
                raise UserError(f"{path}: lacks some test images that were scored; {again(path)}")
            found.append(Strip(entry["title"], sessions_label(sessions), prediction.images[rows]))
    return found


def sessions_label(sessions: int) -> str:
    return f"{sessions} session{'' if sessions == 1 else 's'}"


def _tile(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((TILE, TILE), Image.Resampling.LANCZOS))


def _offsets(groups: list[str]) -> list[int]:
    """Pixel offset of each strip; a new group starts after a wider gap. The last entry is the total length."""
    offsets, position = [], 0
    for number, group in enumerate(groups):
        if number:
            position += GUTTER * (3 if group != groups[number - 1] else 1)
        offsets.append(position)
        position += TILE
    return [*offsets, position]


def _canvas(images: list[np.ndarray], down: list[int], across: list[int]) -> np.ndarray:
    """Tiles on white. images: rows of images, each row (across, height, width, 3); down, across: `_offsets`."""
    canvas = np.full((down[-1], across[-1], 3), 255, np.uint8)
    for top, row in zip(down, images, strict=False):
        for left, image in zip(across, row, strict=False):
            canvas[top : top + TILE, left : left + TILE] = _tile(image)
    return canvas


def _pictures(canvases: list[np.ndarray], left: float, top: float):
    """A figure that shows `canvases` below each other, pixel by pixel, each with `left` and `top` inches for labels.

    Returns the figure and one Axes a canvas, in pixel coordinates.
    """
    scale = INCHES_PER_TILE / TILE
    heights = [top + canvas.shape[0] * scale for canvas in canvases]
    total_width = left + max(canvas.shape[1] for canvas in canvases) * scale + MARGIN
    total_height = sum(heights) + MARGIN
    figure, panels, bottom = plt.figure(figsize=(total_width, total_height)), [], total_height
    for canvas, height in zip(canvases, heights, strict=True):
        bottom -= height
        size = canvas.shape[1] * scale / total_width, canvas.shape[0] * scale / total_height
        axes = figure.add_axes((left / total_width, bottom / total_height, *size))
        axes.imshow(canvas, interpolation="none")
        axes.set_autoscale_on(False)
        axes.set_axis_off()
        panels.append(axes)
    return figure, panels


def _blocks(picked: list[Strip]) -> list[list[Strip]]:
    """The strips in blocks that fit a page: each begins with the stimulus, and no method is split."""
    stimulus, blocks = picked[0], []
    for group in dict.fromkeys(strip.group for strip in picked[1:]):
        members = [strip for strip in picked[1:] if strip.group == group]
        if not blocks or len(blocks[-1]) + len(members) > COLUMNS:
            blocks.append([stimulus])
        blocks[-1] += members
    return blocks or [[stimulus]]


def grid(picked: list[Strip], row_labels: list[str]):
    """Rows: stimuli; columns: the stimulus, then each method at each budget (training sessions above the column).

    picked: as `strips` gives them. Methods that do not fit next to the others are in another block below.
    """
    blocks, down = _blocks(picked), _offsets([""] * len(row_labels))
    offsets = [_offsets([strip.group for strip in block]) for block in blocks]
    canvases = []
    for block, across in zip(blocks, offsets, strict=True):
        rows = [[strip.images[number] for strip in block] for number in range(len(row_labels))]
        canvases.append(_canvas(rows, down, across))
    with look():
        figure, panels = _pictures(canvases, left=1.05, top=0.75)
        for axes, block, across in zip(panels, blocks, offsets, strict=True):
            _label_grid(axes, block, across)
            for top, label in zip(down, row_labels, strict=False):
                axes.text(-14, top + TILE / 2, label, ha="right", va="center", fontsize=8.5)
    return figure


def _label_grid(axes, block: list[Strip], across: list[int]) -> None:
    """Budget above each column, method above its columns."""
    for left, strip in zip(across, block, strict=False):
        axes.text(left + TILE / 2, -10, strip.label, ha="center", va="bottom", fontsize=8.5)
    for group in dict.fromkeys(strip.group for strip in block[1:]):
        starts = [left for left, strip in zip(across, block, strict=False) if strip.group == group]
        ends = starts[0], starts[-1] + TILE
        axes.plot(ends, [-46, -46], color=MUTED, linewidth=0.8, clip_on=False)
        axes.text(sum(ends) / 2, -54, group, ha="center", va="bottom", fontsize=9.5, weight="bold")


def banner(picked: list[Strip]):
    """Stimuli above their reconstructions, one row a strip."""
    across, down = _offsets([""] * len(picked[0].images)), _offsets([strip.group for strip in picked])
    with look():
        figure, (axes,) = _pictures([_canvas([strip.images for strip in picked], down, across)], left=1.2, top=MARGIN)
        for top, strip in zip(down, picked, strict=False):
            axes.text(-18, top + TILE / 2, strip.label, ha="right", va="center", fontsize=11)
    return figure
