"""Permutation tests of the predictions of one method, collected while they are scored."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.artifacts.permutations import COLUMNS
from fmri2img.artifacts.prediction import Prediction
from fmri2img.metrics.pairs import WITHOUT
from fmri2img.stats.assignments import assignment_means, assignment_p, assignments

SEED = 0  # the same assignments for every method, metric, budget and seed
MINIMUM = 2  # images; of a single one there is no other assignment


class PermutationTests:
    """Scores of random assignments, by prediction and metric.

    permutations: number of assignments; metrics: entries of config/metrics.yaml by name.
    """

    def __init__(self, permutations: int, metrics: dict[str, dict]) -> None:
        self.permutations, self.metrics = permutations, metrics
        # Means of the true and of random assignments, and the number of images: of each sample of a prediction.
        self._found: dict[tuple, dict[str, list[tuple[float, np.ndarray, int]]]] = {}
        self._random: dict[int, np.ndarray] = {}

    def see(self, prediction: Prediction, metric: str, pairs: Callable[[], np.ndarray] | None) -> None:
        """Keep what a table needs of a prediction and metric. pairs: makes the matrix of `fmri2img.metrics.pairs`."""
        kept = self._found.setdefault(_place(prediction), {}).setdefault(metric, [])
        if pairs is None:
            return
        matrix = pairs()
        n = len(matrix)
        if n < MINIMUM:
            return
        if n not in self._random:
            self._random[n] = assignments(n, self.permutations, SEED)
        (observed,) = assignment_means(matrix, np.arange(n)[None])
        n_images = int(np.isfinite(matrix).any(axis=1).sum())
        kept.append((float(observed), assignment_means(matrix, self._random[n]), n_images))

    def table(self, predictions: list[Prediction]) -> pd.DataFrame:
        """The table of `artifacts.permutations` for all cells of a method.

        predictions: one for each cell, of which several may be one that was seen. Seeds and samples are averaged under
        the same assignments, so the test is one of their mean.
        """
        keys = ["method", "subject", "sessions", "split", "test_set"]
        cells: dict[tuple, list[Prediction]] = {}
        for prediction in predictions:
            cells.setdefault(tuple(prediction.metadata[key] for key in keys), []).append(prediction)
        rows = []
        for cell, of_seeds in cells.items():
            seen = [self._found.get(_place(prediction), {}) for prediction in of_seeds]
            for metric in dict.fromkeys(name for found in seen for name in found):
                # The mean of a prediction's samples first, as in its scores.
                kept = [found[metric] for found in seen if found.get(metric)]
                rows.append([*cell, metric, *self._row(metric, kept, len(of_seeds))])
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def _row(self, metric: str, kept: list[list[tuple[float, np.ndarray, int]]], n_seeds: int) -> list:
        if not kept:
            why = WITHOUT.get(self.metrics[metric]["function"], "its value is undefined for these images")
            return [0, n_seeds, np.nan, np.nan, np.nan, 0, np.nan, why]
        observed = float(np.mean([np.mean([one[0] for one in samples]) for samples in kept]))
        null = np.mean([np.mean([one[1] for one in samples], axis=0) for samples in kept], axis=0)
        p = assignment_p(observed, null, self.metrics[metric]["higher_is_better"])
        why = "" if p == p else "its value is undefined"
        images = min(one[2] for samples in kept for one in samples)
        return [images, n_seeds, observed, float(null.mean()), float(null.std()), self.permutations, p, why]


def _place(prediction: Prediction) -> tuple[Path, str, str]:
    """What distinguishes predictions: a file, of which subjects may have different images."""
    return prediction.path, prediction.metadata["subject"], prediction.metadata["test_set"]
