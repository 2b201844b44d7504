"""Tables that a lab wrote: columns separated by tabs or commas, or lists with an entry in each line."""

import io
from pathlib import Path

import pandas as pd

from fmri2img.reading import readable

REMEDY, ABSENT = "correct or replace it", "put it there, or correct the path"


def read_text(path: str | Path) -> str:
    """A text in UTF-8, with or without its mark. Raises UserError when the file is missing or is not text."""
    with readable(path, "text in UTF-8", REMEDY, ABSENT):
        text = Path(path).read_text(encoding="utf-8-sig")
        if "\0" in text:
            raise ValueError("it has zero bytes")
        return text


def read_columns(path: str | Path) -> pd.DataFrame:
    """A table as text, empty cells as "". Raises UserError when the file is missing or is not a table."""
    text = read_text(path)
    separator = "\t" if "\t" in text.partition("\n")[0] else ","
    with readable(path, "a table with tabs or commas between its columns", REMEDY, ABSENT):
        table = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, skip_blank_lines=True)
    table.columns = [str(name).strip() for name in table.columns]
    return table.apply(lambda column: column.str.strip())
