"""Permutation tests within a subject: would other assignments of the predictions to the images score as well?

Under the null hypothesis a prediction has nothing to do with its image, so that every assignment of a subject's
predictions to its test images is as likely as the true one. Where a metric is a mean over images of a value of a pair,
the matrix of the values of all pairs gives the score of any assignment without computing the metric again.

The p-value is (1 + assignments at least as good as the true one) / (1 + assignments), as the true one is among those
possible: it is never zero, and a test at 5 % rejects a true null hypothesis in at most 5 % of the cases. (Phipson &
Smyth, Permutation p-values should never be zero, Statistical Applications in Genetics and Molecular Biology 9, 39,
2010.)
"""

import numpy as np

BLOCK = 2**20  # values that are looked up at once
TOLERANCE = 1e-9  # share of the largest value: two means this close differ only by rounding


def assignments(n: int, permutations: int, seed: int) -> np.ndarray:
    """Random assignments of n predictions to n images, int64 (permutations, n): row, image -> prediction."""
    return np.random.default_rng(seed).permuted(np.tile(np.arange(n), (permutations, 1)), axis=1)


def assignment_means(pairs: np.ndarray, assigned: np.ndarray) -> np.ndarray:
    """Mean over images of each assignment: float64 (permutations,).

    pairs: float (n, n), [i, j] the value of image i if prediction j is assigned to it, NaN where it is undefined: that
    image is left out. assigned: of `assignments`.
    """
    n = len(pairs)
    defined = np.isfinite(pairs)
    values, weights = np.where(defined, pairs, 0.0).ravel(), defined.ravel()
    means = np.empty(len(assigned))
    for start in range(0, len(assigned), max(1, BLOCK // max(n, 1))):
        block = slice(start, start + max(1, BLOCK // max(n, 1)))
        places = assigned[block] + n * np.arange(n)
        found = values[places].sum(axis=1)
        count = n if defined.all() else weights[places].sum(axis=1)
        with np.errstate(invalid="ignore"):
            means[block] = found / count
    return means


def assignment_p(observed: float, null: np.ndarray, higher_is_better: bool = True) -> float:
    """p-value of the true assignment's mean among those of random ones; NaN where a mean is undefined."""
    if not np.isfinite(observed) or not np.isfinite(null).all():
        return float("nan")
    slack = TOLERANCE * max(abs(observed), float(np.abs(null).max(initial=0)))
    as_good = null >= observed - slack if higher_is_better else null <= observed + slack
    return float((1 + as_good.sum()) / (1 + len(null)))
