"""Many comparisons at once: Holm's correction, false discoveries, and groups that cannot be distinguished."""

from string import ascii_letters

import numpy as np


def holm(p: np.ndarray) -> np.ndarray:
    """p-values corrected for their number by Holm's step-down method; NaN stays NaN and is not counted.

    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 65 (1979).
    """
    p = np.asarray(p, np.float64)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    corrected = np.full(len(p), np.nan)
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(order) else steps
    return corrected


def discoveries(p: np.ndarray, rate: float) -> np.ndarray:
    """Which p-values are discoveries when this expected share of them may be false: bool, of the shape of `p`.

    Y. Benjamini and Y. Hochberg, Controlling the false discovery rate, Journal of the Royal Statistical Society B 57,
    289 (1995). NaN is never a discovery and is not counted.
    """
    ranked = np.sort(p[~np.isnan(p)])
    below = np.flatnonzero(ranked <= rate * np.arange(1, len(ranked) + 1) / max(len(ranked), 1))
    limit = ranked[below[-1]] if len(below) else -1.0
    found: np.ndarray = p <= limit
    return found


def tie_groups(different: np.ndarray) -> list[str]:
    """Letters of ranked methods: two methods share a letter exactly if they are not different ("a", "ab", "b").

    different: bool (methods, methods), symmetric, methods in the order of their rank. Each letter is a largest possible
    group without a different pair; "a" is the group that starts highest. Insert-and-absorb algorithm of H.-P. Piepho,
    An algorithm for a letter-based representation of all-pairwise comparisons, Journal of Computational and Graphical
    Statistics 13, 456 (2004).
    """
    groups = [frozenset(range(len(different)))] if len(different) else []
    for first, second in zip(*np.nonzero(np.triu(different, 1)), strict=True):
        split = [g - {k} if {first, second} <= g else g for g in groups for k in (first, second)]
        distinct = list(dict.fromkeys(split))
        groups = [g for g in distinct if not any(g < other for other in distinct)]
    groups.sort(key=sorted)
    names = [ascii_letters[i % 52] + "'" * (i // 52) for i in range(len(groups))]
    return ["".join(n for n, group in zip(names, groups, strict=True) if k in group) for k in range(len(different))]
