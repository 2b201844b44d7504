"""Suspicions: facts about predictions that scores reveal and disclosure records do not.

Pictures that equal their stimulus were not decoded, and rows with wrong image_id score like a shuffled brain.
"""

from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd

from fmri2img.reporting.chances import pool_chances

EQUAL = 1 - 1e-6  # PixCorr at or above which a reconstruction is its stimulus
STANDARD_ERRORS = 3  # by which a mean must exceed chance to be clearly above it
NAMED = 10  # number of image_id that are listed
CELL = ["method", "subject", "sessions", "seed"]


def suspicions(
    scores: pd.DataFrame, registry: dict[str, dict], pool: int, submitted: Collection[str]
) -> list[tuple[str, str]]:
    """(method, what is suspicious of one of its predictions), in the order of methods, subjects, sessions and seeds.

    scores: the table of `artifacts.scores`; registry: entries of metrics; pool: `retrieval.pool`; submitted: methods
    whose row order was made elsewhere and is therefore doubted if no score is clearly above chance.
    """
    on_pixels = [name for name, entry in registry.items() if entry.get("function") == "pixcorr"]
    with_chance = [name for name, entry in registry.items() if entry["chance"] is not None]
    marked = scores.assign(
        true=scores["metric"].isin(on_pixels) & (scores["value"] >= EQUAL),
        judged=scores["method"].isin(submitted) & scores["metric"].isin(with_chance),
    )
    found = []
    for (method, subject, sessions, seed), rows in marked[marked["true"] | marked["judged"]].groupby(CELL):
        texts = [*_true_pictures(rows[rows["true"]]), *_chance_alone(rows[rows["judged"]], registry, pool)]
        found += [(method, f"{subject}, {sessions:g} sessions, seed {seed}: {text}") for text in texts]
    return found


def _true_pictures(rows: pd.DataFrame) -> Iterator[str]:
    ids = sorted(set(rows["image_id"]))
    if ids:
        listed = ", ".join(map(str, ids[:NAMED])) + (", ..." if len(ids) > NAMED else "")
        yield (
            f"{len(ids)} reconstructions equal their stimulus (PixCorr 1), so stimuli may have leaked into them: "
            f"image_id {listed}"
        )


def _chance_alone(rows: pd.DataFrame, registry: dict[str, dict], pool: int) -> Iterator[str]:
    """One subject's scores of metrics that have a chance level."""
    chances = {name: entry["chance"] for name, entry in registry.items()} | pool_chances(rows, registry, pool)
    distances = []
    for metric, values in rows.dropna(subset="value").groupby("metric")["value"]:
        if len(values) > 1:
            error = max(values.std() / np.sqrt(len(values)), 1e-12)
            distances.append((values.mean() - chances[metric]) / error)
    if distances and max(distances) < STANDARD_ERRORS:
        yield (
            "no score is clearly above chance; the rows may not be in the order of their image_id, or pixel range, "
            "order of channels or orientation may be wrong (the log of evaluate says which of them fits)"
        )
