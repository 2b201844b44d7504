"""Rank correlation of per-image scores with a property of the images, and its interval."""

import numpy as np
import pandas as pd

from fmri2img.stats.bootstrap import draw_counts, percentile_interval


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
    found, draws = [], []
    for subject in values:
        both = (property_[subject].notna() & values[subject].notna()).to_numpy()
        if both.sum() < 3:
            return np.nan, np.nan, np.nan
        x, y = (table[subject][both].rank().to_numpy() for table in (property_, values))
        found.append(_weighted_correlation(x, y, np.ones((1, both.sum())))[0])
        draws.append(_weighted_correlation(x, y, counts[:, both]))
    mean, together = float(np.mean(found)), np.mean(draws, axis=0)
    if not np.isfinite(mean) or np.isnan(together).mean() > 1 - confidence:
        return np.nan, np.nan, np.nan
    return mean, *percentile_interval(together, confidence)


def _weighted_correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson correlation of x and y (images,) under each row of weights (draws, images): (draws,)."""
    x, y = x - x.mean(), y - y.mean()
    moments = np.column_stack([x, y, x * x, y * y, x * y])
    with np.errstate(invalid="ignore", divide="ignore"):
        mx, my, mxx, myy, mxy = ((weights @ moments) / weights.sum(axis=1, keepdims=True)).T
        correlation: np.ndarray = (mxy - mx * my) / np.sqrt((mxx - mx**2) * (myy - my**2))
    return correlation
