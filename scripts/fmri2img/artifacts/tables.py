"""Read and check the Parquet tables and JSON records of the contracts."""

import json
from pathlib import Path

import pandas as pd

from fmri2img.artifacts.atomic import atomic_file
from fmri2img.errors import UserError
from fmri2img.integrity import again
from fmri2img.reading import readable


def write_json(path: str | Path, record: dict) -> None:
    """Write `record` atomically, with sorted keys."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path, remedy: str = "") -> dict:
    """Read a JSON object; raises UserError when the file is missing, is not JSON or holds something else."""
    with readable(path, "valid JSON", remedy):
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(record, dict):
        raise UserError(f"{path}: holds a {type(record).__name__}, not a JSON object; {remedy or again(path)}")
    return record


def read_table(path: str | Path, columns: dict[str, str] | None = None, remedy: str = "") -> pd.DataFrame:
    """Read a Parquet table and check that it has `columns` (name -> pandas dtype kind(s), e.g. {"image_id": "iu"}).

    Raises UserError naming the file when it is missing or damaged, and the first column that is missing or of another
    kind.
    """
    with readable(path, "a complete Parquet table", remedy):
        table = pd.read_parquet(path)
    remedy = remedy or again(path)
    for name, kinds in (columns or {}).items():
        if name not in table:
            raise UserError(f"{path}: column '{name}' is missing; {remedy}")
        if table[name].dtype.kind not in kinds:
            raise UserError(
                f"{path}: column '{name}' has type {table[name].dtype}, expected one of kinds '{kinds}'; {remedy}"
            )
    return table
