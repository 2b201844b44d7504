"""Published numbers: what config/published holds, checked, and shown apart from anything measured here."""

from pathlib import Path

import pandas as pd
import yaml

from fmri2img.errors import UserError
from fmri2img.reporting.design import GAP, is_proportion
from fmri2img.reporting.tables import Cell, Row, Table, column
from fmri2img.schemas import check_schema

NUMBERS = ("sessions", "value")
# Tables that are quoted in a separate block, one for each split of the dataset.
QUOTED_TABLES = ("main", "table01")
# What identifies a published number.
KEY = ["source", "table", "locator", "method", "subject", "split", "sessions", "variant", "metric"]


def read_sources(folder: str | Path) -> dict[str, dict]:
    """`folder`/sources.yaml: source -> short, cite, link, note. Raises UserError when it breaks its schema."""
    path = Path(folder) / "sources.yaml"
    sources = yaml.safe_load(path.read_text(encoding="utf-8"))
    check_schema(sources, "published_sources", str(path))
    return sources


def read_published(folder: str | Path) -> pd.DataFrame:
    """All rows of `folder`/*.csv, in the order of the files.

    Columns: file (stem) and those of workflow/schemas/published.schema.yaml; sessions is NaN where there is no brain.
    Raises UserError naming the file and the row (counted from 1 below the header) of what is wrong: a broken schema, an
    unknown source, a value that is not what is printed, or a number given twice.
    """
    folder = Path(folder)
    sources, parts = read_sources(folder), []
    for path in sorted(folder.glob("*.csv")):
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
        for name in NUMBERS:
            if name in rows:
                rows[name] = [_number(text, path, number) for number, text in enumerate(rows[name], start=1)]
        records = [{k: None if v != v else v for k, v in record.items()} for record in rows.to_dict("records")]
        check_schema(records, "published", str(path))
        for number, row in enumerate(rows.itertuples(), start=1):
            if row.source not in sources:
                raise UserError(f"{path}: row {number}: source '{row.source}' is not in {folder / 'sources.yaml'}")
            if abs(row.value - float(row.printed) * _scale(row.unit)) > 1e-9:
                raise UserError(
                    f"{path}: row {number}: value {row.value} is not the printed {row.printed} ({row.unit})"
                )
        parts.append(rows.assign(file=path.stem))
    if not parts:
        raise UserError(f"{folder}: no .csv files with published numbers")
    table = pd.concat(parts, ignore_index=True)
    if table.duplicated(KEY).any():
        twice = table[table.duplicated(KEY)].iloc[0]
        raise UserError(f"{folder / twice['file']}.csv: {twice['method']}, {twice['metric']} is given twice")
    return table


def _number(text: str, path: Path, row: int) -> float:
    try:
        return float(text) if text else float("nan")
    except ValueError as error:
        raise UserError(f"{path}: row {row}: '{text}' is not a number") from error


def _scale(unit: str) -> float:
    return 0.01 if unit == "percent" else 1.0


def printed_places(printed: str) -> int:
    """Decimals of a printed number."""
    return len(printed.partition(".")[2])


def rounding(printed: str, unit: str) -> float:
    """Half of the last printed digit, in the metric's own unit: the largest distance of the unrounded number."""
    return 0.5 * 10.0 ** -printed_places(printed) * _scale(unit)


def as_printed(row, metric: dict) -> str:
    """A published number in the unit of our tables, with the digits that the source prints.

    row: has printed and unit. metric: registry entry, or `metric_entry` of it.
    """
    shift = (2 if is_proportion(metric) else 0) - (2 if row.unit == "percent" else 0)
    return f"{float(row.printed) * 10.0**shift:.{max(printed_places(row.printed) - shift, 0)}f}"


def metric_entry(name: str, registry: dict[str, dict], rows: pd.DataFrame) -> dict:
    """title, range, higher_is_better and chance of a metric: the registry's, or what the published rows say.

    A variant of a registered metric (caption_meteor_git of caption_meteor) is shown like that one.
    """
    if name in registry:
        return registry[name]
    base, _, variant = name.rpartition("_")
    if base in registry:
        return registry[base] | {"title": f"{registry[base]['title']} ({variant})", "chance": None}
    rows = rows[rows["metric"] == name]
    share = name.startswith(("identification_", "retrieval_", "human_")) or (rows["unit"] == "percent").any()
    return {
        "title": rows["printed_label"].iloc[0],
        "range": [0, 1] if share else [-1, 1],
        "higher_is_better": not name.startswith(("distance_", "fid", "kid")),
        "chance": None,
    }


def one_split(rows: pd.DataFrame) -> str:
    """The split that all rows share. Raises UserError when there are several: their numbers are not comparable."""
    splits = sorted(rows["split"].unique())
    if len(splits) != 1:
        raise UserError(f"published numbers: splits {', '.join(splits)} in one table; make one table for each")
    return splits[0]


def quoted_rows(published: pd.DataFrame, split: str) -> pd.DataFrame:
    """Of `read_published`, the papers' main comparisons on one split; none if nothing was published on it."""
    return published[(published["split"] == split) & published["table"].isin(QUOTED_TABLES)]


def nothing_quoted(split: str) -> Table:
    """The block of a split without published numbers."""
    return Table(
        f"Published numbers, split {split}", ["Method"], [], [], "No paper in config/published used this split."
    )


def quoted_table(rows: pd.DataFrame, metrics: list[str], registry: dict[str, dict], sources: dict[str, dict]) -> Table:
    """Published rows of one split as a block of their own: in the order of their sources, without rank or interval.

    rows: of `read_published`; metrics: the columns, those without a number left out; registry: entries of metrics.yaml.
    Raises UserError when the rows are of several splits.
    """
    split = one_split(rows)
    rows = rows[rows["metric"].isin(metrics)]
    entries = {name: metric_entry(name, registry, rows) for name in metrics if (rows["metric"] == name).any()}
    laid_out, previous = [], ""
    keys = ["source", "printed_method", "subject", "sessions", "variant", "locator"]
    for key, group in rows.groupby(keys, sort=False, dropna=False):
        source, method, subject, sessions, variant, locator = key
        by_metric = {row.metric: row for row in group.itertuples()}
        cells = [Cell(as_printed(by_metric[m], entries[m]) if m in by_metric else GAP) for m in entries]
        name = f"{method} ({variant})" if variant and variant not in method else method
        heads = [name, subject.replace("subj0", "").replace("+", ", ")]
        heads += [GAP if sessions != sessions else f"{sessions:g}", f"{sources[source]['short']}, {locator}"]
        laid_out.append(Row(heads, cells, bool(previous) and source != previous))
        previous = source
    note = (
        f"Quoted from their sources, not measured here and not ranked. Split {split}. Evaluation code, training data "
        f"and samples per image differ between sources. {GAP} marks values that a source does not report."
    )
    if any(name.startswith("retrieval_") for name in entries):
        note += " Retrieval metrics are named by their definition; MindEye1 and MindEye2 swap the two names."
    note += (
        " Sources: " + "; ".join(f"{sources[s]['short']}: {sources[s]['cite']}" for s in rows["source"].unique()) + "."
    )
    columns = [column(entry | {"chance": None}) for entry in entries.values()]
    heads = ["Method", "Subjects", "Sessions", "Source"]
    return Table(f"Published numbers, split {split}", heads, columns, laid_out, note)
