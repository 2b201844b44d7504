"""Pictures of the page: every test image and its reconstructions, packed into sheets that a browser cuts up."""

import base64
import hashlib
import io
import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from PIL import Image

from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.stimuli import Stimuli, rows_of
from fmri2img.reporting.design import Design
from fmri2img.reporting.estimates import at_budgets
from fmri2img.reporting.ranking import Ranking, rank_name, ranking

SIDES = (
    128,
    96,
    80,
    64,
    48,
    40,
    32,
)  # candidates for the pixels of a picture, at most its own size; the first that fits is used
GRID_SIDE = 128  # for the few pictures of the grids, whose size does not depend on the number of images
PIXELS = 160_000_000  # of all sheets together: about 45 MB of page
QUALITY = 82


class Sheets:
    """Sheets as base64 WebP, each held once however often it is shown."""

    def __init__(self) -> None:
        self.encoded: list[str] = []
        self._known: dict[str, int] = {}

    def add(self, images: np.ndarray, rows: np.ndarray, side: int) -> int:
        """Number of the sheet that holds those rows of `images`, uint8 (images, height, width, 3), in this order."""
        pixels = sheet(images, rows, side)
        name = hashlib.sha256(pixels).hexdigest()
        if name not in self._known:
            self._known[name] = len(self.encoded)
            self.encoded.append(base64.b64encode(webp(pixels)).decode())
        return self._known[name]


def columns(n_images: int) -> int:
    """Pictures in a row of a sheet."""
    return math.ceil(math.sqrt(n_images))


def sheet(images: np.ndarray, rows: np.ndarray, side: int) -> np.ndarray:
    """Rows of `images` at `side` pixels, left to right and top to bottom: uint8 (height, width, 3).

    Images are read one by one, so that the pictures of a large study need not fit in memory.
    """
    across = columns(len(rows))
    canvas = np.zeros((math.ceil(len(rows) / across) * side, across * side, 3), np.uint8)
    for number, row in enumerate(rows):
        image = images[row]
        if image.shape[:2] != (side, side):
            small = Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
            image = np.asarray(small)
        top, left = number // across * side, number % across * side
        canvas[top : top + side, left : left + side] = image
    return canvas


def webp(pixels: np.ndarray) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "WEBP", quality=QUALITY, method=4)
    return target.getvalue()


def plan(n_pictures: dict[str, int], longest: str, native: int) -> tuple[int, list[str]]:
    """Side of a picture and the budgets that are shown, so that all pictures fit a page.

    n_pictures: budget -> pictures to show. Pictures are made smaller first; if that is not enough, budgets other than
    the longest are left out.
    """
    side = next((s for s in SIDES if sum(n_pictures.values()) * min(s, native) ** 2 <= PIXELS), None)
    if side is not None:
        return min(side, native), list(n_pictures)
    side = next((s for s in SIDES if n_pictures[longest] * min(s, native) ** 2 <= PIXELS), SIDES[-1])
    return min(side, native), [longest]


def picture_data(
    stimuli: Stimuli, predictions: dict, scores: pd.DataFrame, design: Design, rank_by: list[str], ranks: list[float]
) -> dict | None:
    """Everything the page needs to show pictures; None where no method made any.

    predictions: `index_predictions(...)`; the first seed of each cell is shown. ranks: fractions of the ranking that
    the grids show. Scores of images are means over the metrics that rank them and over seeds: shares in tenths of a
    percent, others as they are.
    """
    shown = _with_images(predictions, design)
    scored = set(scores["subject"])
    shown = {cell: prediction for cell, prediction in shown.items() if cell[1] in scored}
    if not shown:
        return None
    native = max(prediction.images.shape[1] for prediction in shown.values())
    n_pictures = {label: 0 for label in design.budgets}
    for (_, _, budget), prediction in shown.items():
        n_pictures[budget] += len(prediction.ids)
    longest = max(n_pictures, key=lambda label: (n_pictures[label] > 0, sum(design.budgets[label].values())))
    side, budgets = plan(n_pictures, longest, native)
    shown = {cell: prediction for cell, prediction in shown.items() if cell[2] in budgets}

    sheets, subjects, cells = Sheets(), {}, {}
    grid_side = min(native, GRID_SIDE)
    drawn_of = dict.fromkeys(subject for _, subject, _ in shown)
    rankings = {subject: ranking(scores, design, subject, rank_by, predictions) for subject in drawn_of}
    first = next(iter(rankings.values()))
    values = _image_scores(scores, design, list(first.metrics))
    for (method, subject, budget), prediction in shown.items():
        if subject not in subjects:
            ranked = rankings[subject]
            at, ids = ranked.at(ranks), np.sort(ranked.ids)
            picked = np.array([*at.values()])
            subjects[subject] = {
                "ids": ids.tolist(),
                "sheet": sheets.add(stimuli.images, stimuli.rows(ids), side),
                "columns": columns(len(ids)),
                "grid": [
                    {"rank": rank_name(rank) if ranked.method else "", "id": i, "score": ranked.score(i)}
                    for rank, i in at.items()
                ],
                "gridSheet": sheets.add(stimuli.images, stimuli.rows(picked), grid_side),
            }
        rows = rows_of(np.array(subjects[subject]["ids"]), prediction.ids, prediction.path)
        picked = np.array([entry["id"] for entry in subjects[subject]["grid"]])
        own = values.get((method, subject, budget), pd.Series(dtype=float)).reindex(prediction.ids[rows])
        cells[f"{method}/{subject}/{budget}"] = {
            "sheet": sheets.add(prediction.images, rows, side),
            "gridSheet": sheets.add(prediction.images, rows_of(picked, prediction.ids, prediction.path), grid_side),
            "scores": _stored(own, first),
            "captions": None if prediction.captions is None else prediction.captions["caption"].iloc[rows].tolist(),
        }
    seen = sorted({i for subject in subjects.values() for i in subject["ids"]})
    every = stimuli.captions
    captions = [every[row] or () for row in stimuli.rows(np.array(seen))]
    return {
        "side": side,
        "gridSide": grid_side,
        "gridColumns": columns(len(ranks)),
        "native": native,
        "budgets": budgets,
        "subjects": subjects,
        "cells": cells,
        "captions": {i: next(iter(texts), "") for i, texts in zip(seen, captions, strict=True)},
        "scoreTitle": " and ".join(metric["title"] for metric in first.metrics.values()),
        "share": first.is_share,
        "lowerIsBetter": first.lower_is_better,
        "rankedBy": " and ".join(_rankers(rankings.values(), design)),
        "sheets": sheets.encoded,
    }


def _with_images(predictions: dict, design: Design) -> dict[tuple[str, str, str], Prediction]:
    """(method, subject, budget) -> opened prediction, of those that hold images, in the order of the design."""
    found = {}
    for method in design.methods:
        for subject in design.subjects:
            for budget, of_subject in design.budgets.items():
                path = predictions.get((method, subject, of_subject[subject], design.seeds_of(method)[0]))
                prediction = None if path is None else Prediction.open(path)
                if prediction is not None and prediction.images is not None:
                    found[method, subject, budget] = prediction
    return found


def _rankers(rankings: Iterable[Ranking], design: Design) -> list[str]:
    """Titles of the methods by whose scores images are ranked."""
    return list(dict.fromkeys(design.methods[ranked.method]["title"] for ranked in rankings if ranked.method))


def _stored(values: pd.Series, ranked: Ranking) -> list[float | None]:
    """Scores of images as the page holds them: short, and null for NaN."""
    return [None if v != v else round(1000 * v) if ranked.is_share else round(float(v), 3) for v in values]


def _image_scores(scores: pd.DataFrame, design: Design, metrics: list[str]) -> dict[tuple, pd.Series]:
    """(method, subject, budget) -> mean score of each image, by image_id."""
    rows = at_budgets(scores, design)
    rows = rows[rows["metric"].isin(metrics)]
    means = rows.groupby(["method", "subject", "budget", "image_id"])["value"].mean()
    return {cell: of_cell.droplevel([0, 1, 2]) for cell, of_cell in means.groupby(level=[0, 1, 2])}


def pictures_note(data: dict, design: Design) -> str:
    """The size of the pictures, and what was left out to keep the page small."""
    side, grid, native = data["side"], data["gridSide"], data["native"]
    text = f"Pictures are shown at {grid} × {grid} pixels"
    text += ", their own size" if grid == native else f", reduced from {native} × {native}"
    if side < grid:
        text += f"; those of all test images at {side} × {side}, to keep this page small"
    text += "; WebP compression may soften fine detail"
    left_out = [design.budget(budget).title for budget in design.budgets if budget not in data["budgets"]]
    if left_out:
        text += f". Those trained on {', '.join(left_out)} are left out for the same reason; they are in predictions/"
    return f"{text}. Where there are several seeds, the first is shown."
