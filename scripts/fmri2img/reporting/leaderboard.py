"""Leaderboard: methods ranked by each metric, with ties, normalised scores and spread of seeds.

Decoders, their stages and submissions are ranked; controls are listed below them, without a rank, but compared like the
rest. A rank is one more than the number of ranked methods that are significantly better, so methods that tie for the
lead all have rank 1. Differences are tested within one budget and metric, every pair of methods against every other. A
metric of the whole set has no images to test on: its methods are listed from best to worst without rank or letter.
"""

import math

import numpy as np
import pandas as pd

from fmri2img.methods.plan import fixing_control
from fmri2img.reporting.design import GAP, Design, is_of_whole_set, number
from fmri2img.reporting.estimates import BOOTSTRAP_SEED, at_budgets
from fmri2img.reporting.tables import Cell, Column, Row, Table, note, score_cell
from fmri2img.stats.bootstrap import bootstrap_groups, image_values
from fmri2img.stats.multiplicity import tie_groups
from fmri2img.stats.permutation import compare_methods
from fmri2img.stats.scale import between_seed_sd, normalised_score

FLIPS = 10_000
COLUMNS = [
    "budget", "sessions", "metric", "method", "kind", "rank", "group", "mean", "low", "high", "p_first", "normalised",
    "normalised_low", "normalised_high", "floor", "ceiling", "seed_sd", "n_images", "n_subjects", "n_seeds",
    "n_excluded",
]  # fmt: skip
COMPARISONS = ["budget", "metric", "method", "other", "difference", "n_images", "p", "p_holm"]


def scale_end(design: Design, method: str, end: str, metric: str) -> str:
    """The control that fixes one end ("floor" or "ceiling") of a method's score by a metric; "" if there is none."""
    return fixing_control(design.methods, method, end, design.metrics[metric]["needs"])


def flips_needed(n_methods: int, alpha: float) -> int:
    """Flips with which the least p-value there can be is half of what the first step of Holm's method asks for."""
    return max(FLIPS, math.ceil(2 * math.comb(n_methods, 2) / alpha))


def rank_methods(scores: pd.DataFrame, cells: pd.DataFrame, design: Design) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The leaderboard and the comparisons behind it.

    cells: `estimates(scores, design)`; a cell without a full set of scores is neither ranked nor compared, and neither
    is one of a metric of the whole set.
    Returns the leaderboard with columns COLUMNS, rows in the order of budgets and metrics, then ranked methods from
    best to worst, controls, and gaps: rank (empty for controls), group (letters: two methods of a budget and metric
    share one exactly when they do not differ), p_first (Holm-corrected, against the best ranked method), normalised
    score with its interval, and the floor and ceiling it is measured between. And the comparisons with columns
    COMPARISONS: difference is method minus other, whichever of them is better.
    """
    cells = cells.assign(kind=cells["method"].map(lambda name: design.methods[name]["kind"]))
    tested = cells["mean"].notna() & ~cells["metric"].map(lambda name: is_of_whole_set(design.metrics[name]))
    whole = cells.loc[tested, ["budget", "metric", "method"]]
    labelled = at_budgets(scores, design).merge(whole, on=["budget", "metric", "method"])
    if labelled.empty:
        return cells.reindex(columns=COLUMNS), pd.DataFrame(columns=COMPARISONS)
    alpha, keys = 1 - design.confidence, ["budget", "metric", "method"]
    table = image_values(labelled, keys)
    flips = flips_needed(whole["method"].nunique(), alpha)
    compared = compare_methods(table, ["budget", "metric"], flips, BOOTSTRAP_SEED)
    resampled = bootstrap_groups(table, keys, design.resamples, BOOTSTRAP_SEED)
    spread = between_seed_sd(at_budgets(scores, design), keys).rename("seed_sd")

    parts = []
    for budget in design.budgets:
        for metric, entry in design.metrics.items():
            part = cells[(cells["budget"] == budget) & (cells["metric"] == metric)].set_index("method")
            pairs = compared[(compared["budget"] == budget) & (compared["metric"] == metric)]
            sign = 1 if entry["higher_is_better"] else -1
            part = part.assign(better=sign * part["mean"]).sort_values("better", ascending=False, kind="stable")
            names = [] if is_of_whole_set(entry) else list(part.index[part["mean"].notna()])
            part = _ranked(part, names, pairs, alpha)
            oriented = {name: resampled[budget, metric, name].times(sign) for name in names}
            parts.append(_normalised(part, oriented, metric, design).reset_index())
    board = pd.concat(parts, ignore_index=True).join(spread, on=keys)
    return board[COLUMNS], compared[COMPARISONS]


def _ranked(part: pd.DataFrame, names: list[str], pairs: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Add group, rank and p_first, and put ranked methods first.

    part: by method, best first, gaps last; names: those of its methods that are tested, in its order.
    """
    place = {name: k for k, name in enumerate(names)}
    p = np.ones((len(names), len(names)))
    for pair in pairs.itertuples():
        first, second = place[pair.method], place[pair.other]
        p[first, second] = p[second, first] = pair.p_holm
    different = p < alpha
    ranked = part.loc[names, "kind"].ne("control").to_numpy()
    ranks = 1 + np.array([(different[k, :k] & ranked[:k]).sum() for k in range(len(names))], dtype=int)
    leader = int(np.argmax(ranked)) if ranked.any() else None
    part.loc[names, "group"] = tie_groups(different)
    part["rank"] = pd.Series(ranks, names).where(ranked).astype("Int64").reindex(part.index)
    part["p_first"] = np.nan
    if leader is not None:
        part.loc[names, "p_first"] = [np.nan if k == leader else p[leader, k] for k in range(len(names))]
    order = part["mean"].isna() * 2 + (part["kind"] == "control")
    return part.iloc[np.argsort(order.to_numpy(), kind="stable")]


def _normalised(part: pd.DataFrame, oriented: dict, metric: str, design: Design) -> pd.DataFrame:
    rows = []
    for name in part.index:
        floor, ceiling = (scale_end(design, name, end, metric) for end in ("floor", "ceiling"))
        score = (np.nan,) * 3
        if {name, floor, ceiling} <= set(oriented):
            score = normalised_score(oriented[name], oriented[floor], oriented[ceiling], design.confidence)
        rows.append([*score, floor, ceiling])
    columns = ["normalised", "normalised_low", "normalised_high", "floor", "ceiling"]
    return part.join(pd.DataFrame(rows, index=part.index, columns=columns))


def leaderboard_table(board: pd.DataFrame, design: Design, budget: str) -> Table:
    """The leaderboard of one budget as a page: a block of rows for each metric."""
    rows = []
    board = board[board["budget"] == budget]
    for name, metric in design.metrics.items():
        for n, row in enumerate(board[board["metric"] == name].itertuples()):
            rank = "" if pd.isna(row.rank) else str(row.rank)
            heads = [metric["title"] if n == 0 else "", rank, design.methods[row.method]["title"]]
            rows.append(Row(heads, row_cells(row, metric), n == 0 and bool(rows)))
    columns = [
        Column("Score"),
        Column("Ties"),
        Column("p", "against the first"),
        Column("Normalised"),
        Column("Seed SD"),
    ]
    title = f"Leaderboard, trained on {design.budget(budget).title}"
    return Table(title, ["Metric", "Rank", "Method"], columns, rows, _note(board, design))


def row_cells(row, metric: dict) -> list[Cell]:
    """Score, tie groups, p, normalised score and spread of seeds of a row of the leaderboard, as a reader sees them."""
    if row.mean != row.mean:
        return [Cell(GAP) for _ in range(5)]
    score = score_cell(row.mean, row.low, row.high, metric)
    p = "" if pd.isna(row.p_first) else "< 0.001" if row.p_first < 0.001 else f"{row.p_first:.3f}"
    normalised = Cell(GAP)
    if row.normalised == row.normalised:
        shown = [
            f"{value:.2f}".replace("-", "−") for value in (row.normalised, row.normalised_low, row.normalised_high)
        ]
        normalised = Cell(shown[0], f"[{shown[1]}, {shown[2]}]")
    group = "" if pd.isna(row.group) else row.group
    return [score, Cell(group), Cell(p), normalised, Cell(number(row.seed_sd, metric))]


def _note(board: pd.DataFrame, design: Design) -> str:
    alpha = 1 - design.confidence
    text = (
        f"{note(board, design)} Methods that share a letter do not differ significantly on that metric (paired "
        f"sign-flip test over images, Holm-corrected over all pairs, {alpha:.2g}); a method's rank is one more than "
        "the number of ranked methods that beat it; controls are not ranked. "
    )
    return f"{text}{scale_note(board, design)} Seed SD: standard deviation of the score between seeds."


def scale_note(board: pd.DataFrame, design: Design) -> str:
    """The controls at 0 and 1 of normalised scores, with their metrics if these differ."""
    scaled = board[board["normalised"].notna()]
    if scaled.empty and design.gaps:
        return "No normalised scores: the floors or ceilings of the scale, or all methods between them, lack scores."
    if scaled.empty:
        return "No normalised scores: the study lists no control for the floor or none for the ceiling of the scale."
    ends = scaled.groupby(["floor", "ceiling"], sort=False)["metric"].agg(set).to_dict()
    alike = len(set(map(frozenset, ends.values()))) == 1
    texts = []
    for (floor, ceiling), found in ends.items():
        low, high = design.methods[floor]["title"], design.methods[ceiling]["title"]
        of = ", ".join(entry["title"] for name, entry in design.metrics.items() if name in found)
        texts.append(f"0 at “{low}”, 1 at “{high}”" + ("" if alike else f" ({of})"))
    return f"Normalised: {'; or '.join(texts)}."
