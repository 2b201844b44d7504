"""Permutations: the test of each subject's scores against random assignments of the predictions to the images.

One Parquet table per method, one row per subject, budget, test set and metric:
method, subject, sessions, split, test_set, metric, n_images, n_seeds; observed (mean over images and seeds), null_mean,
null_sd (of random assignments), permutations (their number), p; why ("" or the reason why there is no p).
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from fmri2img.artifacts.atomic import atomic_file
from fmri2img.artifacts.tables import read_table

COLUMNS = {
    "method": "OUT", "subject": "OUT", "sessions": "iuf", "split": "OUT", "test_set": "OUT", "metric": "OUT",
    "n_images": "iu", "n_seeds": "iu", "observed": "f", "null_mean": "f", "null_sd": "f", "permutations": "iu",
    "p": "f", "why": "OUT",
}  # fmt: skip
KEY = ["method", "subject", "sessions", "split", "test_set", "metric"]


def save_permutations(path: str | Path, table: pd.DataFrame) -> None:
    """Write the table, sorted by its key."""
    with atomic_file(path) as temporary:
        table[list(COLUMNS)].sort_values(KEY, ignore_index=True).to_parquet(temporary, index=False)


def read_permutations(paths: Iterable[str | Path]) -> pd.DataFrame:
    """The tables of several methods in one. Raises UserError when one is missing or damaged."""
    return pd.concat([read_table(path, COLUMNS) for path in paths], ignore_index=True)
