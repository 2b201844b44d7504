"""Analysis: a figure and the numbers behind it, which a rule of a method's folder makes.

figure.svg or figure.png    for the page and the report
table.csv                   with a header: the numbers that the figure shows
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pandas as pd

from fmri2img.errors import UserError

FIGURES = ("figure.svg", "figure.png")
TABLE = "table.csv"


@dataclass(frozen=True)
class Analysis:
    """figure: its file; table: its rows, numbers as numbers."""

    path: Path
    figure: Path
    table: pd.DataFrame

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Check and read a folder. Raises UserError that names the file which is missing or cannot be read."""
        path = Path(path)
        figures = [path / name for name in FIGURES if (path / name).is_file()]
        if len(figures) != 1:
            raise UserError(f"{path}: holds {len(figures)} of {' and '.join(FIGURES)}; write one of them")
        try:
            table = pd.read_csv(path / TABLE)
        except (OSError, ValueError) as error:
            raise UserError(f"{path / TABLE}: not a table ({error}); write one row for each value shown") from None
        if table.empty:
            raise UserError(f"{path / TABLE}: has no rows; write one for each value shown")
        return cls(path, figures[0], table)
