"""A score in context: its position between chance and ceiling, and its variation between seeds."""

import numpy as np
import pandas as pd

from fmri2img.stats.bootstrap import percentile_interval


def normalised_score(
    method: tuple[float, np.ndarray],
    floor: tuple[float, np.ndarray],
    ceiling: tuple[float, np.ndarray],
    confidence: float,
) -> tuple[float, float, float]:
    """(method - floor) / (ceiling - floor) and its percentile interval: score, low, high.

    Each argument is an estimate and its draws (resamples,), the same resamples for all three, and larger must be
    better. All three are NaN unless the interval of ceiling - floor is entirely above zero: otherwise the data cannot
    distinguish the length of the scale from zero, and the ratio has no bounded interval (Fieller, 1954).
    """
    length = ceiling[1] - floor[1]
    if not percentile_interval(length, confidence)[0] > 0:
        return np.nan, np.nan, np.nan
    score = (method[0] - floor[0]) / (ceiling[0] - floor[0])
    # The few resamples in which the scale has no length are put at the ends, on the side of the score.
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = np.where(length > 0, (method[1] - floor[1]) / length, np.copysign(np.inf, method[1] - floor[1]))
    draws[np.isnan(method[1]) | np.isnan(length)] = np.nan
    low, high = (1 - confidence) / 2, (1 + confidence) / 2
    ends = np.nanquantile(draws, low, method="lower"), np.nanquantile(draws, high, method="higher")
    return float(score), float(ends[0]), float(ends[1])


def between_seed_sd(scores: pd.DataFrame, by: list[str]) -> pd.Series:
    """Standard deviation over seeds (n - 1) of the mean over subjects of the mean over images, per group of `by`.

    scores: columns subject, seed, value and those of `by`. NaN with a single seed.
    """
    subjects = scores.groupby([*by, "seed", "subject"], observed=True)["value"].mean()
    return subjects.groupby([*by, "seed"], observed=True).mean().groupby(by, observed=True).std(ddof=1)
