"""Score against similarity: are test images decoded well because the training images include similar ones?

The similarity of a test image is the cosine between its true tokens and those of the training image nearest to it,
after the training images' mean is taken from both. It depends on the subject and the budget, as the training images do.
"""

import numpy as np
import pandas as pd

from fmri2img.metrics.similarity import COPY
from fmri2img.reporting.design import GAP, Design, arrow
from fmri2img.reporting.estimates import BOOTSTRAP_SEED, at_budgets, intervals
from fmri2img.reporting.tables import Cell, Column, Row, Table
from fmri2img.stats.bootstrap import image_values
from fmri2img.stats.correlation import rank_correlation

BINS = 4
SIMILARITY_COLUMNS = {"image_id": "iu", "nearest": "iu", "cosine": "f", "subject": "OUT", "sessions": "iuf"}
COLUMNS = [
    "budget", "metric", "method", "kind", "correlation", "low", "high", "least_similar", "most_similar", "n_images",
    "n_copies",
]  # fmt: skip


def with_similarity(scores: pd.DataFrame, similarity: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Scores of the design by budget, with columns similarity, quarter (0, the least similar, to 3) and copied (bool:
    whether the nearest training image is the same picture).

    similarity: subject, sessions, image_id, nearest, cosine. Quarters hold equally many images of a subject.
    """
    ranked = similarity.groupby(["subject", "sessions"])["cosine"].rank(method="first", pct=True)
    quarters = np.ceil(ranked * BINS).astype(int) - 1
    known = similarity.assign(quarter=quarters, copied=similarity["cosine"] >= COPY)
    known = known.rename(columns={"cosine": "similarity"})
    columns = ["subject", "sessions", "image_id", "similarity", "quarter", "copied"]
    return at_budgets(scores, design).merge(
        known[columns], on=["subject", "sessions", "image_id"], validate="many_to_one"
    )


def similarity_effects(labelled: pd.DataFrame, design: Design) -> pd.DataFrame:
    """One row for each budget, metric and method that has scores: columns COLUMNS.

    correlation, low, high: Spearman's over images, mean over subjects, with its bootstrap interval; least_similar and
    most_similar: mean score of the first and the last quarter; n_copies: test images of the budget that a subject was
    trained on as a copy.
    """
    rows = []
    quarters = labelled.groupby(["budget", "metric", "method", "quarter", "subject"])["value"].mean()
    quarters = quarters.groupby(["budget", "metric", "method", "quarter"]).mean()
    for budget in design.budgets:
        of_budget = labelled[labelled["budget"] == budget]
        if of_budget.empty:
            continue
        values = image_values(of_budget, ["metric", "method"])
        images = of_budget.drop_duplicates(["subject", "image_id"])
        n_copies = images.loc[images["copied"], "image_id"].nunique()
        images = images.pivot(index="image_id", columns="subject", values="similarity")
        for metric in design.metrics:
            for method, entry in design.methods.items():
                if (metric, method) not in values:
                    continue
                own = values[metric, method]
                found = rank_correlation(
                    images.reindex(own.index)[own.columns], own, design.resamples, design.confidence, BOOTSTRAP_SEED
                )
                ends = [quarters.get((budget, metric, method, quarter), np.nan) for quarter in (0, BINS - 1)]
                n_images = int(own.notna().any(axis=1).sum())
                rows.append([budget, metric, method, entry["kind"], *found, *ends, n_images, n_copies])
    return pd.DataFrame(rows, columns=COLUMNS)


def similarity_table(effects: pd.DataFrame, design: Design, budget: str) -> Table:
    """The correlations of one budget as a page: methods down, metrics across."""
    lookup = effects[effects["budget"] == budget].set_index(["method", "metric"])
    rows, previous = [], None
    for method, entry in design.methods.items():
        cells = []
        for metric in design.metrics:
            row = lookup.loc[(method, metric)] if (method, metric) in lookup.index else None
            if row is None or pd.isna(row["correlation"]):
                cells.append(Cell(GAP))
                continue
            mean, low, high = (f"{row[name]:.2f}".replace("-", "−") for name in ("correlation", "low", "high"))
            cells.append(Cell(mean, f"[{low}, {high}]"))
        rows.append(Row([entry["title"]], cells, previous not in (None, entry["kind"])))
        previous = entry["kind"]
    columns = [Column(metric["title"], direction=arrow(metric)) for metric in design.metrics.values()]
    note = (
        "Spearman correlation over test images between the score and the similarity (cosine of centred true tokens) of "
        f"the nearest training image, mean over subjects [{100 * design.confidence:g} % bootstrap interval over "
        f"images]. {copies_note(effects, budget)} Split {design.split}, {design.data}."
    )
    title = f"Score against similarity to the training images, trained on {design.budget(budget).title}"
    return Table(title, ["Method"], columns, rows, note)


def copies_note(effects: pd.DataFrame, budget: str) -> str:
    """A sentence on how many test images have a copy among the training images; "" if there are no scores.

    effects: of `similarity_effects`.
    """
    found = effects.loc[effects["budget"] == budget, "n_copies"]
    if found.empty:
        return ""
    if not found.any():
        return f"No test image has a copy among the training images (cosine of {COPY} or more)."
    n, have = int(found.max()), "test image has" if found.max() == 1 else "test images have"
    return (
        f"Caution: {n} {have} a copy among the training images (cosine of {COPY} or more), so scores may "
        "reflect recall; the logs of measure_similarity name them."
    )


def quarter_means(labelled: pd.DataFrame, design: Design, budget: str) -> tuple[pd.DataFrame, pd.Series]:
    """Scores with intervals by metric, method and quarter (index) at one budget, and each quarter's mean similarity."""
    labelled = labelled[labelled["budget"] == budget]
    similarity = labelled.drop_duplicates(["subject", "image_id"]).groupby("quarter")["similarity"].mean()
    return intervals(labelled, ["metric", "method", "quarter"], design), similarity
