"""Tests of claims that span test sets: does a method's rank, or its score, hold on images of another kind?

A claim names kinds of test sets (`test_set_kinds` of a dataset.yaml) or test sets; those that hold out a cluster come
from the study that `compare_with` names. The images of two test sets differ, so they are resampled independently.
"""

import itertools
import math

import numpy as np
import pandas as pd

from fmri2img.reporting.design import Design, is_of_whole_set, matching, number
from fmri2img.reporting.estimates import BOOTSTRAP_SEED
from fmri2img.reporting.split_comparison import Side, resampled_cells
from fmri2img.stats.bootstrap import Resampled, percentile_interval

ALL_METHODS = "all"  # in the column `method` of a row about all of them
EXACT = 8  # methods up to which all orders are tried
ORDERS = 10_000  # drawn of more methods
Interval = tuple[float, float, float]


class Transfer:
    """The test sets that claims can be tested on, resampled once.

    sides: test set -> its scores with its design, metrics of the whole set left out, the study's own test sets first;
    budget: a label that all designs have; alike: (test set, metric) -> how alike the images are (`alikeness`).
    """

    def __init__(self, sides: dict[str, Side], budget: str, alike: dict[tuple[str, str], float] | None = None) -> None:
        self.sides, self.budget, self.alike = sides, budget, alike or {}
        self._cells: dict[str, dict[tuple[str, str], Resampled]] = {}

    def of_kind(self, kind: str) -> list[str]:
        """Test sets of a kind, or of that name."""
        return [name for name, side in self.sides.items() if kind in (name, side.design.kinds.get(name))]

    def cells(self, test_set: str) -> dict[tuple[str, str], Resampled]:
        """(metric, method) -> estimate with its draws, of the cells with a full set of scores."""
        if test_set not in self._cells:
            seed = BOOTSTRAP_SEED + list(self.sides).index(test_set)
            self._cells[test_set] = resampled_cells(self.sides[test_set], self.budget, seed)[1]
        return self._cells[test_set]

    def metrics(self, claim: dict, *test_sets: str) -> list[str]:
        """Metrics of a claim with values of single images that all of these test sets have."""
        designs = [self.sides[name].design for name in test_sets]
        return [
            name
            for name in matching(designs[0].metrics, claim["metrics"])
            if all(name in design.metrics for design in designs) and not is_of_whole_set(designs[0].metrics[name])
        ]


def ranks_do_not_carry_over(claim: dict, methods: list[str], transfer: Transfer, design: Design) -> list[dict]:
    """Spearman's correlation between the methods' scores on two kinds of test sets.

    The claim is met if its bootstrap interval over images includes zero or less and ends below `tolerance`, and not met
    if the interval is above zero. Otherwise the images are too few to tell, and nothing is tested; neither is it with
    so few methods that not even equal orders would differ from chance. p is the share of all orders of the methods that
    agree as well.
    """
    first, second = claim["test_sets"]
    leaders, rows = list(design.families), []
    for here, there in itertools.product(transfer.of_kind(first), transfer.of_kind(second)):
        for metric in transfer.metrics(claim, here, there):
            cells = [transfer.cells(name) for name in (here, there)]
            able = [m for m in methods if m in leaders and all((metric, m) in found for found in cells)]
            row = {"method": ALL_METHODS, "metric": metric, "budget": transfer.budget, "reference": f"{here} → {there}"}
            alpha = 1 - design.confidence
            if len(able) < enough_methods(alpha):
                finding = f"not enough methods to tell: {len(able)} of {enough_methods(alpha)}"
                rows.append(row | {"tested": False, "met": False, "finding": f"{here} → {there}: {finding}"})
                continue
            pair = [[found[metric, m] for m in able] for found in cells]
            mean, low, high = rank_agreement(*pair, design.confidence)
            p = order_p(*(np.array([one.mean for one in side]) for side in pair))
            images = " and ".join(f"{min(one.images for one in side):,}" for side in pair)
            finding = (
                f"{here} → {there}: Spearman {_two(mean)} [{_two(low)}, {_two(high)}] over {len(able)} methods, "
                f"p {p:.3f} of such agreement by chance; {images} images"
            )
            met = low <= 0 and high < claim["tolerance"]
            tested = bool(met or low > 0)
            finding += "" if tested else "; too few images to tell"
            values = {"mean": mean, "low": low, "high": high}
            rows.append(row | values | {"tested": tested, "met": bool(met), "finding": finding})
    return rows


def enough_methods(alpha: float) -> int:
    """The fewest methods of which two equal orders are unlikely by chance (two-sided)."""
    return next(k for k in itertools.count(2) if 2 / math.factorial(k) < alpha)


def rank_agreement(first: list[Resampled], second: list[Resampled], confidence: float) -> Interval:
    """Spearman's correlation of two lists of estimates of the same methods, and its bootstrap interval over images."""
    a, b = (np.column_stack([one.draws for one in side]) for side in (first, second))
    means = [np.array([[one.mean for one in side]]) for side in (first, second)]
    draws = spearman(a, b)
    images = min(one.images for one in (*first, *second))
    return float(spearman(*means)[0]), *percentile_interval(draws, confidence, images)


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each row of a (draws, methods) with that row of b, float64 (draws,); NaN if all tie."""
    ranks = [pd.DataFrame(side).rank(axis=1).to_numpy() - (side.shape[1] + 1) / 2 for side in (a, b)]
    with np.errstate(invalid="ignore"):
        found: np.ndarray = (ranks[0] * ranks[1]).sum(1) / np.sqrt((ranks[0] ** 2).sum(1) * (ranks[1] ** 2).sum(1))
    return found


def order_p(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the orders of the methods in which a (methods,) and b agree at least as well as they do."""
    k = len(a)
    if k <= EXACT:
        orders = np.array(list(itertools.permutations(range(k))))
    else:
        drawn = np.random.default_rng(BOOTSTRAP_SEED).permuted(np.tile(np.arange(k), (ORDERS, 1)), axis=1)
        orders = np.vstack([np.arange(k), drawn])
    found = spearman(np.broadcast_to(a, orders.shape), b[orders])
    return float((found >= spearman(a[None], b[None])[0] - 1e-9).mean())


def falls(claim: dict, methods: list[str], transfer: Transfer, design: Design) -> list[dict]:
    """The score is lower on each kind of test set than on the one before: the interval of the difference is below zero.

    Of a kind with several test sets, the first counts; kinds that the study lacks are passed over. A metric whose
    chance level differs between two test sets is not compared.
    """
    present = [transfer.of_kind(kind)[0] for kind in claim["test_sets"] if transfer.of_kind(kind)]
    rows = []
    for method in methods:
        for here, there in itertools.pairwise(present):
            for metric in transfer.metrics(claim, here, there):
                before, after = (transfer.cells(name).get((metric, method)) for name in (here, there))
                entries = [transfer.sides[name].design.metrics[metric] for name in (here, there)]
                if before is None or after is None:
                    continue
                row = {"method": method, "metric": metric, "budget": transfer.budget, "reference": f"{here} → {there}"}
                if not _like(entries):
                    levels = " and ".join(number(entry["chance"], entry) for entry in entries)
                    finding = f"{here} → {there}: not compared, as chance is at {levels}"
                    rows.append(row | {"tested": False, "met": False, "finding": finding})
                    continue
                sign = 1 if entries[0]["higher_is_better"] else -1
                draws = sign * (after.draws - before.draws)
                low, high = percentile_interval(draws, design.confidence, min(before.images, after.images))
                mean = sign * (after.mean - before.mean)
                shown = [number(value, entries[0]) for value in (before.mean, after.mean, mean, low, high)]
                finding = f"{here} → {there}: {shown[0]} → {shown[1]}; change {shown[2]} [{shown[3]}, {shown[4]}]"
                finding += f"; {before.images:,} and {after.images:,} images{_alike(transfer, metric, here, there)}"
                values = {"mean": mean, "low": low, "high": high}
                rows.append(row | values | {"tested": True, "met": bool(high < 0), "finding": finding})
    return rows


def _like(entries: list[dict]) -> bool:
    levels = [entry["chance"] for entry in entries]
    return levels[0] is levels[1] or (None not in levels and math.isclose(*levels))


def _alike(transfer: Transfer, metric: str, *test_sets: str) -> str:
    """How alike the images of the two test sets are, among which a reconstruction is identified; "" if not known."""
    known = [transfer.alike.get((name, metric)) for name in test_sets]
    if any(value is None for value in known):
        return ""
    return f", alike by {' and '.join(_two(value) for value in known)} (mean correlation of two of them)"


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


TESTS = {"ranks_do_not_carry_over": ranks_do_not_carry_over, "falls": falls}
