"""Scores: one long table with one row per metric and image. Every table and figure of a report is a query of it.

Columns: method, subject, sessions, seed, split, test_set, metric, image_id, value (float64; NaN where a metric is
undefined for an image; the metric's definition says when that is so). A metric whose `unit` in config/metrics.yaml is
`set` has one value for all images of a prediction, stored under image_id WHOLE_SET. It has no interval, because there
are no images to resample.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from fmri2img.artifacts.atomic import atomic_file
from fmri2img.artifacts.tables import read_table
from fmri2img.errors import UserError

COLUMNS = {
    "method": "OUT", "subject": "OUT", "sessions": "iuf", "seed": "iu", "split": "OUT", "test_set": "OUT",
    "metric": "OUT",
    "image_id": "iu", "value": "f",
}  # fmt: skip
WHOLE_SET = -1
KEY = [name for name in COLUMNS if name != "value"]


def save_scores(path: str | Path, table: pd.DataFrame) -> None:
    """Write Scores sorted by key. Raises ValueError on a missing column or a duplicated key."""
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise ValueError(f"scores lack columns {missing}")
    table = table[list(COLUMNS)].sort_values(KEY, ignore_index=True)
    if table.duplicated(KEY).any():
        raise ValueError(f"scores hold two values for {table[table.duplicated(KEY)].iloc[0].to_dict()}")
    with atomic_file(path) as temporary:
        table.to_parquet(temporary, index=False)


def read_scores(paths: str | Path | Iterable[str | Path], test_set: str | None = None) -> pd.DataFrame:
    """Read one or several Scores files into one table. test_set: keep only its rows; None keeps all.

    Raises UserError when a file is not valid or two files have the same key.
    """
    paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
    table = pd.concat([read_table(path, COLUMNS) for path in paths], ignore_index=True)
    if table.duplicated(KEY).any():
        raise UserError(f"scores hold two values for {table[table.duplicated(KEY)].iloc[0][KEY].to_dict()}")
    return table if test_set is None else table[table["test_set"] == test_set].reset_index(drop=True)
