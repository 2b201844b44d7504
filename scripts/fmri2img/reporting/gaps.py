"""Gaps of a report: methods without all of their scores, because jobs failed, and why."""

from collections.abc import Iterable

import pandas as pd

from fmri2img.reporting.design import Design
from fmri2img.reporting.tables import Cell, Column, Row, Table

COLUMNS = ["method", "what", "n_missing", "n_scored", "n_cells", "n_jobs", "rule", "job", "reason", "log"]


def gap_rows(records: Iterable[dict]) -> pd.DataFrame:
    """One row for each method and failure. records: of `gaps.missing_scores`."""
    return pd.DataFrame(list(records), columns=COLUMNS)


def gap_table(rows: pd.DataFrame, design: Design) -> Table:
    """The same as a page."""
    shown = [
        Row(
            [design.methods[row.method]["title"]],
            [Cell(row.what), Cell(row.reason), Cell(row.job), Cell(row.log)],
            False,
        )
        for row in rows.itertuples()
    ]
    titles = ("Missing", "Reason", "Job that failed", "Its log")
    note = (
        "Everything else was scored and is reported. Run the same command again to complete the study: what is there "
        "is kept, and the report is made again without these gaps."
        if shown
        else "Nothing is missing: every method has all of its scores."
    )
    return Table("What is missing", ["Method"] if shown else [], [Column(title) for title in titles], shown, note)
