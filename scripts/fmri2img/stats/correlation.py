"""Correlations over images, their intervals, and whether they are above chance.

Rank correlation of per-image scores with a property of the images; Pearson correlation of predicted with measured
responses, voxel by voxel.
"""

import numpy as np
import pandas as pd

from fmri2img.stats.bootstrap import draw_counts, percentile_interval

COLUMN_BLOCK = 512  # columns whose draws are held at once
TOLERANCE = 1e-6  # two correlations this close differ only by float32 rounding


def rank_correlation(
    property_: pd.DataFrame, values: pd.DataFrame, resamples: int, confidence: float, seed: int
) -> tuple[float, float, float]:
    """Mean over subjects of Spearman's correlation over images, and its bootstrap interval: correlation, low, high.

    property_, values: (images, subjects) with the same index and columns, NaN for missing values. Images are drawn for
    all subjects at once; ranks are those among all images and are not recomputed in each resample. All three are NaN if
    a subject has fewer than three images or values that do not vary, or if values do not vary in so large a share of
    the resamples that an interval would mean nothing (a metric with a single hit).
    """
    counts = draw_counts(len(values), resamples, np.random.default_rng(seed))
    found, draws, images = [], [], len(values)
    for subject in values:
        both = (property_[subject].notna() & values[subject].notna()).to_numpy()
        images = min(images, int(both.sum()))
        if images < 3:
            return np.nan, np.nan, np.nan
        x, y = (table[subject][both].rank().to_numpy() for table in (property_, values))
        found.append(weighted_correlations(x, y, np.ones((1, both.sum())))[0])
        draws.append(weighted_correlations(x, y, counts[:, both]))
    mean, together = float(np.mean(found)), np.mean(draws, axis=0)
    if not np.isfinite(mean) or np.isnan(together).mean() > 1 - confidence:
        return np.nan, np.nan, np.nan
    return mean, *percentile_interval(together, confidence, images)


def weighted_correlations(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson correlation of each column of x with the same column of y under each row of weights.

    x, y: (images, ...) of one shape; weights: (draws, images). Returns float64 (draws, ...), NaN where a column of
    either is constant.
    """
    x, y = x - x.mean(axis=0, dtype=np.float64), y - y.mean(axis=0, dtype=np.float64)
    total = weights.sum(axis=1).reshape(-1, *[1] * (x.ndim - 1))
    mx, my, mxx, myy, mxy = (np.tensordot(weights, moment, 1) / total for moment in (x, y, x * x, y * y, x * y))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation: np.ndarray = (mxy - mx * my) / np.sqrt((mxx - mx**2) * (myy - my**2))
    return correlation


def column_correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson correlation of each column of x (images, columns) with the same column of y: float64 (columns,).

    It is 0 where a column of either is constant.
    """
    x, y = _standardised(x), _standardised(y)
    found: np.ndarray = np.einsum("ij,ij->j", x, y)
    return found


def group_intervals(x: np.ndarray, y: np.ndarray, groups: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Bootstrap draws over images of the mean, over each group of columns, of `column_correlations`.

    x, y: (images, columns); groups: bool (groups, columns). A column that is constant in a resample counts 0 there.
    Every call with this seed and number of images draws the same images. Returns float64 (resamples, groups).
    """
    counts = draw_counts(len(x), resamples, np.random.default_rng(seed))
    sums = np.zeros((resamples, len(groups)))
    for start in range(0, x.shape[1], COLUMN_BLOCK):
        columns = slice(start, start + COLUMN_BLOCK)
        sums += np.nan_to_num(weighted_correlations(x[:, columns], y[:, columns], counts)) @ groups[:, columns].T
    means: np.ndarray = sums / np.maximum(groups.sum(axis=1), 1)
    return means


def correlation_test(x: np.ndarray, y: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """One-sided p-value of each column of x correlating with the same column of y more than unrelated images would.

    x, y: (images, columns). The null distribution of a column comes from `permutations` assignments of the rows of y
    to the rows of x, the same ones for all columns. p includes the observed assignment, so that it is never zero; a
    constant column has p 1. Returns float64 (columns,).
    """
    x, y = (_standardised(values).astype(np.float32) for values in (x, y))
    observed = np.einsum("ij,ij->j", x, y)
    rng, extreme = np.random.default_rng(seed), np.zeros(x.shape[1], np.int64)
    for _ in range(permutations):
        extreme += np.einsum("ij,ij->j", x, y[rng.permutation(len(x))]) >= observed - TOLERANCE
    p: np.ndarray = (1 + extreme) / (1 + permutations)
    return p


def _standardised(columns: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and length 1, float64; constant ones become 0."""
    centred = columns - columns.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(centred, axis=0)
    constant = length <= 1e-6 * np.linalg.norm(columns.astype(np.float64), axis=0)
    unit: np.ndarray = np.divide(centred, length, out=np.zeros_like(centred), where=~constant)
    return unit
