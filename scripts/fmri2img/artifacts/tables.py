"""Read and check the Parquet tables and JSON records of the contracts."""

import json
from pathlib import Path

import pandas as pd

from fmri2img.artifacts.atomic import atomic_file
from fmri2img.errors import UserError


def write_json(path: str | Path, record: dict) -> None:
    """Write `record` atomically, with sorted keys."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> dict:
    """Read a JSON object; raises UserError when the file is missing, is not JSON or holds something else."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; rerun the step that writes it") from None
    except ValueError as error:  # not JSON, or not text
        raise UserError(f"{path}: not valid JSON ({error}); delete it and rerun the step that writes it") from None
    if not isinstance(record, dict):
        raise UserError(
            f"{path}: holds a {type(record).__name__}, not a JSON object; delete it and rerun the step that writes it"
        )
    return record


def read_table(path: str | Path, columns: dict[str, str]) -> pd.DataFrame:
    """Read a Parquet table and check that it has `columns` (name -> pandas dtype kind(s), e.g. {"image_id": "iu"}).

    Raises UserError naming the file when it is missing or damaged, and the first column that is missing or of another
    kind.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; rerun the step that writes it")
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # pyarrow's parsers raise many types
        reason = " ".join(str(error).split())  # pyarrow's messages have several lines
        raise UserError(
            f"{path}: not a complete Parquet table ({reason}); delete it and rerun the step that writes it"
        ) from None
    for name, kinds in columns.items():
        if name not in table:
            raise UserError(f"{path}: column '{name}' is missing; delete the file and rerun the step that writes it")
        if table[name].dtype.kind not in kinds:
            raise UserError(f"{path}: column '{name}' has type {table[name].dtype}, expected one of kinds '{kinds}'")
    return table
