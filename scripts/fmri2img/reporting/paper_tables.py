"""A paper's tables in its own layout: for every published cell our value, difference, interval and a verdict."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from fmri2img.errors import UserError
from fmri2img.reporting.design import GAP, Design, number
from fmri2img.reporting.estimates import estimates
from fmri2img.reporting.published import as_printed, metric_entry, rounding
from fmri2img.reporting.tables import Cell, Column, Row, Table, column, score_cell
from fmri2img.schemas import check_schema

ALL_SESSIONS = 40  # of NSD's four complete subjects, on whom the papers report
NOT_RUN, REPRODUCED, DEVIATES = "not run", "reproduced", "deviates"
SIMULATED, NO_INTERVAL = "not comparable (simulated)", "not judged (no interval)"
LINES = ("published", "ours", "difference", "verdict")
TIDY = [
    "table", "entry", "subject", "sessions", "metric", "printed_label", "printed", "unit", "published", "our_method",
    "our_subjects", "our_sessions", "ours", "low", "high", "difference", "verdict", "source", "locator", "split",
    "evidence", "certainty", "note",
]  # fmt: skip


def read_paper_layout(path: str | Path) -> dict:
    """Read one config/paper_tables/table*.yaml. Raises UserError when it breaks its schema."""
    layout = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    check_schema(layout, "paper_tables", str(path))
    return layout


def published_cells(layout: dict, published: pd.DataFrame, path: str | Path = "paper table") -> pd.DataFrame:
    """The published rows that a layout shows, in its order, with columns `entry` (its number) and `our_method`.

    Raises UserError when an entry finds no row, or two for one metric.
    """
    rows = published[(published["file"] == layout["file"]) & published["metric"].isin(layout["metrics"])]
    parts = []
    for number_of, entry in enumerate(layout["entries"]):
        found = rows[(rows["method"] == entry["method"]) & (rows["split"] == layout["split"])]
        for key in ("sessions", "subject"):
            if key in entry:
                found = found[found[key] == entry[key]]
        if found.empty or found.duplicated("metric").any():
            problem = "two rows for one metric" if len(found) else "no row"
            raise UserError(
                f"{path}: entry '{entry['title']}' finds {problem} in config/published/{layout['file']}.csv"
            )
        parts.append(found.assign(entry=number_of, our_method=entry["ours"]))
    return pd.concat(parts, ignore_index=True)


def matching_sessions(design: Design, subject: str, sessions: float) -> float | None:
    """The study's budget of a subject that corresponds to a published one, in sessions; None if there is none.

    A simulated study has fewer sessions than NSD: there its longest budget corresponds to all 40.
    """
    available = sorted({of_subject[subject] for of_subject in design.budgets.values()})
    for own in available:
        if np.isclose(own, sessions, atol=1e-3):
            return own
    return available[-1] if design.simulated and sessions == ALL_SESSIONS else None


def _our_cell(row, design: Design) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Subjects and sessions of a study that correspond to a published row; empty if there are none."""
    subjects = () if row.subject == "none" else tuple(row.subject.split("+"))
    if design.simulated and len(subjects) > 1:
        subjects = tuple(design.subjects)  # simulated subjects correspond to no real subject
    if not subjects or row.our_method not in design.methods or not set(subjects) <= set(design.subjects):
        return (), ()
    sessions = tuple(matching_sessions(design, subject, row.sessions) for subject in subjects)
    return ((), ()) if None in sessions else (subjects, sessions)


def compare(cells: pd.DataFrame, scores: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Published cells with the corresponding values of a study.

    cells: of `published_cells`, of one layout or several (concatenated). Adds our_subjects, our_sessions (text), ours,
    low, high, difference (ours minus published) and verdict: reproduced: the published value, within its rounding, is
    in our interval; deviates: it does not; not run: the study has no full set of scores for the cell; not comparable:
    simulated data, another split, or brain correlation by another encoding model; not judged: a metric of the whole
    set, which has no interval.
    """
    cells = cells.rename(columns={"value": "published"}).reset_index(drop=True)
    cells["our_method"] = [None if pd.isna(name) else design.answering(name) for name in cells["our_method"]]
    places = [_our_cell(row, design) for row in cells.itertuples()]
    cells["our_subjects"] = ["+".join(subjects) for subjects, _ in places]
    cells["our_sessions"] = ["+".join(f"{s:g}" for s in dict.fromkeys(sessions)) for _, sessions in places]
    found = {place: _estimates(place, cells, scores, design) for place in dict.fromkeys(places) if place[0]}
    numbers = []
    for place, row in zip(places, cells.itertuples(), strict=True):
        key = (row.our_method, row.metric)
        known = found.get(place)
        numbers.append(known.loc[key].tolist() if known is not None and key in known.index else [float("nan")] * 3)
    cells[["ours", "low", "high"]] = numbers
    cells["difference"] = cells["ours"] - cells["published"]
    cells["verdict"] = [_verdict(row, design) for row in cells.itertuples()]
    return cells


def _estimates(place: tuple, cells: pd.DataFrame, scores: pd.DataFrame, design: Design) -> pd.DataFrame:
    """mean, low, high by (method, metric) over the subjects and sessions of a place."""
    subjects, sessions = place
    metrics = {name: entry for name, entry in design.metrics.items() if name in set(cells["metric"])}
    budget = {"cell": dict(zip(subjects, sessions, strict=True))}
    of_place = replace(design, subjects=list(subjects), budgets=budget, metrics=metrics)
    table = estimates(scores[scores["subject"].isin(subjects)], of_place)
    return table.set_index(["method", "metric"])[["mean", "low", "high"]]


def _verdict(row, design: Design) -> str:
    if row.ours != row.ours:
        return NOT_RUN
    if design.simulated:
        return SIMULATED
    if row.split != design.split:
        return f"not comparable (split {design.split})"
    if row.metric.startswith("brain_correlation") and design.encoding == "banded_ridge":
        return "not comparable (encoding model)"  # the published values are GNet's
    if row.low != row.low:
        return NO_INTERVAL
    slack = rounding(row.printed, row.unit) + 1e-9
    return REPRODUCED if row.low - slack <= row.published <= row.high + slack else DEVIATES


def tidy(cells: pd.DataFrame, table: str, layout: dict, design: Design) -> pd.DataFrame:
    """One row per published cell, unrounded, as in the CSV files."""
    titles = [entry["title"] for entry in layout["entries"]]
    cells = cells.assign(table=table, entry=cells["entry"].map(lambda number_of: titles[number_of]))
    return cells[TIDY].assign(study=design.study, data=design.data_source, our_split=design.split)


def lay_out_paper(layout: dict, cells: pd.DataFrame, design: Design, registry: dict[str, dict]) -> Table:
    """The table as the paper has it, each of its rows in up to four lines: published, ours, difference, verdict.

    cells: `compare(...)` of this layout alone. registry: entries of metrics.yaml.
    """
    metrics = [name for name in layout["metrics"] if (cells["metric"] == name).any()]
    entries = {name: metric_entry(name, registry, cells) | {"chance": None} for name in metrics}
    by_place = {(row.entry, row.metric): row for row in cells.itertuples()}
    titles = [entry["title"] for entry in layout["entries"]]
    heads = {name: _metric_column(entries[name], cells[cells["metric"] == name]) for name in metrics}
    if layout["down"] == "entries":
        columns = list(heads.values())
        places = [(title, [(i, name) for name in metrics]) for i, title in enumerate(titles)]
    else:
        columns = [Column(title) for title in titles]
        places = [(str(heads[name]), [(i, name) for i in range(len(titles))]) for name in metrics]
    rows = []
    for title, keys in places:
        in_row = [(by_place.get(key), entries[key[1]]) for key in keys]
        for line, texts in _lines(in_row).items():
            first = line == LINES[0]
            rows.append(Row([title if first else "", line], texts, first and bool(rows)))
    first_head = "Method" if layout["down"] == "entries" else "Metric"
    return Table(layout["title"], [first_head, ""], columns, rows, _note(layout, cells, design))


def _metric_column(metric: dict, rows: pd.DataFrame) -> Column:
    made, printed = column(metric), rows["printed_label"].iloc[0]
    if not rows["metric"].iloc[0].startswith("retrieval_"):
        return made
    return replace(made, detail=", ".join(filter(None, [made.detail, f"printed as {printed}"])))


def _lines(in_row: list[tuple]) -> dict[str, list[Cell]]:
    """The lines of one row of the paper: line -> cells."""
    texts = {line: [] for line in LINES}
    for row, metric in in_row:
        if row is None:
            values = [Cell(GAP), Cell(""), Cell(""), Cell("")]
        elif row.verdict == NOT_RUN:
            values = [Cell(as_printed(row, metric)), Cell(NOT_RUN), Cell(""), Cell("")]
        else:
            ours = score_cell(row.ours, row.low, row.high, metric)
            values = [
                Cell(as_printed(row, metric)),
                ours,
                Cell(_signed(row.difference, metric)),
                Cell(row.verdict),
            ]
        for line, value in zip(LINES, values, strict=True):
            texts[line].append(value)
    if not any(str(value) for value in texts["verdict"]):
        return {line: texts[line] for line in LINES[:2]}
    return texts


def _signed(value: float, metric: dict) -> str:
    text = number(abs(value), metric)
    return text if not text.strip("0.") else ("+" if value > 0 else "−") + text


def _stand_ins(layout: dict, cells: pd.DataFrame, design: Design) -> dict[str, str]:
    """Titles of entries whose method is replaced by another one -> that method's title."""
    answers = dict(zip(cells["entry"], cells["our_method"], strict=True))
    return {
        entry["title"]: design.methods[answers[number_of]]["title"]
        for number_of, entry in enumerate(layout["entries"])
        if answers[number_of] in design.methods and answers[number_of] != entry["ours"]
    }


def _note(layout: dict, cells: pd.DataFrame, design: Design) -> str:
    counts = cells["verdict"].value_counts()
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    text = (
        f"{len(cells)} published cells: {verdicts}. Reproduced: the published value, within its rounding, lies "
        f"within our {100 * design.confidence:g} % bootstrap interval over test images. Published split "
        f"{layout['split']}; study {design.study}, split {design.split}, {design.data}."
    )
    for requested, answer in _stand_ins(layout, cells, design).items():
        text += f" {answer} stands in for {requested}."
    if design.simulated:
        text += " Simulated subjects cannot reproduce published numbers; the table only shows the format."
    return f"{text} {layout['note']}" if "note" in layout else text
