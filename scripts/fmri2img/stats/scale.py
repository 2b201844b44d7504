"""A score in context: its position between chance and ceiling, and its variation between seeds."""

import numpy as np
import pandas as pd

from fmri2img.stats.bootstrap import Resampled, percentile_interval, tail


def normalised_score(
    method: Resampled, floor: Resampled, ceiling: Resampled, confidence: float
) -> tuple[float, float, float]:
    """(method - floor) / (ceiling - floor) and its bootstrap interval: score, low, high.

    All three are drawn from the same resamples, and larger must be better. All three results are NaN unless the
    interval of ceiling - floor is entirely above zero: otherwise the data cannot distinguish the length of the scale
    from zero, and the ratio has no bounded interval (Fieller, 1954).
    """
    length, images = ceiling.draws - floor.draws, min(method.images, floor.images, ceiling.images)
    if not percentile_interval(length, confidence, images)[0] > 0:
        return np.nan, np.nan, np.nan
    score = (method.mean - floor.mean) / (ceiling.mean - floor.mean)
    above = method.draws - floor.draws
    # The few resamples in which the scale has no length are put at the ends, on the side of the score.
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = np.where(length > 0, above / length, np.copysign(np.inf, above))
    draws[np.isnan(method.draws) | np.isnan(length)] = np.nan
    beyond = tail(confidence, images)
    ends = np.nanquantile(draws, beyond, method="lower"), np.nanquantile(draws, 1 - beyond, method="higher")
    return float(score), float(ends[0]), float(ends[1])


def between_seed_sd(scores: pd.DataFrame, by: list[str]) -> pd.Series:
    """Standard deviation over seeds (n - 1) of the mean over subjects of the mean over images, per group of `by`.

    scores: columns subject, seed, value and those of `by`. NaN with a single seed.
    """
    subjects = scores.groupby([*by, "seed", "subject"], observed=True)["value"].mean()
    return subjects.groupby([*by, "seed"], observed=True).mean().groupby(by, observed=True).std(ddof=1)
