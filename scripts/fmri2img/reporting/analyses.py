"""Analyses of method folders as the page and the report show them: a figure, what it shows, and its numbers."""

import base64
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fmri2img.artifacts.analysis import Analysis
from fmri2img.reporting.design import GAP
from fmri2img.reporting.tables import Cell, Column, Row, Table, html_page

TYPES = {".svg": "image/svg+xml", ".png": "image/png"}
ROWS = 60  # that a page shows of a table; the file has them all


@dataclass(frozen=True)
class ShownAnalysis:
    """name: <folder>.<name>; figure: data URI, so that a page loads nothing; table: its first rows; failed: why it
    could not be made, and then it has neither figure nor rows."""

    name: str
    title: str
    sentence: str
    figure: str
    table: Table
    failed: str = ""

    def html(self) -> str:
        """The analysis as a page of its own."""
        return html_page([self.table], self.figure, self.sentence)


def shown_analysis(name: str, entry: dict, path: str | Path) -> ShownAnalysis:
    """Read the folder that a method's rule made. entry: title and sentence. Raises UserError if it is incomplete."""
    found = Analysis.open(path)
    encoded = base64.b64encode(found.figure.read_bytes()).decode()
    return ShownAnalysis(
        name,
        entry["title"],
        entry["sentence"],
        f"data:{TYPES[found.figure.suffix]};base64,{encoded}",
        analysis_table(found.table, entry["title"], f"analyses/{name.replace('.', '/')}/table.csv"),
    )


def missing_analysis(name: str, entry: dict, failed: str) -> ShownAnalysis:
    """An analysis that could not be made, because of what failed."""
    table = Table(entry["title"], [], [], [], f"Missing: {failed}")
    return ShownAnalysis(name, entry["title"], entry["sentence"], "", table, failed)


def shown_analyses(entries: dict[str, dict], made: dict[str, dict]) -> list[ShownAnalysis]:
    """All analyses of a study. entries: name -> title and sentence; made: name -> its `folder`, or why it `failed`."""
    return [
        missing_analysis(name, entry, made[name]["failed"])
        if "failed" in made[name]
        else shown_analysis(name, entry, made[name]["folder"])
        for name, entry in entries.items()
    ]


def analysis_table(table: pd.DataFrame, title: str, file: str) -> Table:
    """The first rows of a table, with text columns as heads and numbers as cells. file: where all rows are."""
    texts = [column for column in table if not pd.api.types.is_numeric_dtype(table[column])] or [table.columns[0]]
    numbers = [column for column in table if column not in texts]
    rows = [
        Row(
            ["" if pd.isna(record[name]) else str(record[name]) for name in texts],
            [Cell(_number(record[name])) for name in numbers],
            False,
        )
        for record in table.head(ROWS).to_dict("records")
    ]
    extent = f"The first {ROWS} of {len(table)} rows" if len(table) > ROWS else f"All {len(table)} rows"
    heads, columns = [_words(name) for name in texts], [Column(_words(name)) for name in numbers]
    return Table(title, heads, columns, rows, f"{extent}; the file is {file} in the study's folder.")


def _words(column: str) -> str:
    return column.replace("_", " ").capitalize() if column.islower() else column


def _number(value: float) -> str:
    if pd.isna(value):
        return GAP
    text = str(value) if isinstance(value, bool | int) else f"{value:.4g}"
    return text.replace("-", "−")
