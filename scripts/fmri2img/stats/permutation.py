"""Paired permutation tests between methods on the same images.

Under the null hypothesis the two methods' names are exchangeable on every image, so the sign of an image's difference
may be flipped. An image is flipped for all subjects at once, for the same reason that it is resampled for all at once
(bootstrap.py). The statistic is the difference of the estimates of `bootstrap_groups`.
"""

from itertools import combinations

import numpy as np
import pandas as pd

from fmri2img.stats.multiplicity import holm

SIGNS_BLOCK = 1024
TOLERANCE = 3e-6  # share of a sum's largest possible value: two sums this close differ only by float32 rounding


def sign_flip_test(contributions: np.ndarray, flips: int = 10_000, seed: int = 0) -> np.ndarray:
    """Two-sided p-value of each column's sum being zero, by flipping the signs of rows.

    contributions: float (images, columns), NaN where an image has no value. If there are at most `flips` combinations
    of signs, all of them are used and p is exact; otherwise `flips` are drawn, and p includes the observed one, so that
    it is never zero. A column of zeros has p 1, and a column without any value has NaN. Returns float64 (columns,).
    """
    given = ~np.isnan(contributions)
    values = np.where(given, contributions, 0.0)
    observed, largest = np.abs(values.sum(axis=0)), np.abs(values).sum(axis=0)
    bound = observed - TOLERANCE * largest
    n_effective = (values != 0).sum(axis=0)
    p = np.full(values.shape[1], np.nan)
    exact = 2.0**n_effective <= flips
    for column in np.flatnonzero(exact & given.any(axis=0)):
        sums = _all_signed_sums(values[values[:, column] != 0, column])
        p[column] = np.mean(np.abs(sums) >= bound[column])

    drawn = np.flatnonzero(~exact)
    if len(drawn):
        rng, single = np.random.default_rng(seed), values[:, drawn].astype(np.float32)
        extreme = np.zeros(len(drawn), np.int64)
        for start in range(0, flips, SIGNS_BLOCK):
            n = min(SIGNS_BLOCK, flips - start)
            coins = rng.integers(0, 256, (n, (len(values) + 7) // 8), np.uint8)
            signs = np.unpackbits(coins, axis=1)[:, : len(values)].astype(np.float32) * 2 - 1
            extreme += (np.abs(signs @ single) >= bound[drawn]).sum(axis=0)
        p[drawn] = (1 + extreme) / (1 + flips)
    return p


def _all_signed_sums(values: np.ndarray) -> np.ndarray:
    """Sums of values (n,) under each of the 2^n combinations of signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def compare_methods(table: pd.DataFrame, within: list[str], flips: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """Test every pair of methods on the images and subjects for which both have a value.

    table: `image_values(scores, [*within, "method"])`. Returns one row for each group and pair: `within`, method,
    other, difference (mean over subjects of the mean over images of method minus other), n_images, p, and p_holm, which
    is p corrected over the pairs of the group.
    """
    rows, columns = [], []
    frame = table.columns.to_frame(index=False)
    for key, members in frame.groupby(within, sort=True, observed=True).indices.items():
        key = key if isinstance(key, tuple) else (key,)
        of_method = {}
        for name, chosen in frame.iloc[members].groupby("method", sort=True, observed=True):
            of_method[name] = table.iloc[:, chosen.index].set_axis(chosen["subject"], axis=1)
        for method, other in combinations(of_method, 2):
            shared = of_method[method].columns.intersection(of_method[other].columns)
            difference = (of_method[method][shared] - of_method[other][shared]).to_numpy()
            columns.append(image_contributions(difference))
            rows.append([*key, method, other, int((~np.isnan(difference)).any(axis=1).sum())])
    found = pd.DataFrame(rows, columns=[*within, "method", "other", "n_images"])
    contributions = np.column_stack(columns) if columns else np.zeros((0, 0))
    found["difference"] = np.nansum(contributions, axis=0)
    found["p"] = sign_flip_test(contributions, flips, seed)
    found.loc[found["n_images"] == 0, "difference"] = np.nan
    found["p_holm"] = found.groupby(within, observed=True)["p"].transform(lambda p: holm(p.to_numpy()))
    return found[[*within, "method", "other", "difference", "n_images", "p", "p_holm"]]


def image_contributions(differences: np.ndarray) -> np.ndarray:
    """What each image adds to the mean over subjects of the mean over images: (images,), NaN where no subject has it.

    differences: (images, subjects), NaN where a subject has no value; a subject without any value does not count.
    """
    n_images = (~np.isnan(differences)).sum(axis=0)
    weighted = differences[:, n_images > 0] / (n_images[n_images > 0] * max((n_images > 0).sum(), 1))
    return np.where(np.isnan(weighted).all(axis=1), np.nan, np.nansum(weighted, axis=1))
