"""Tables: estimates with the layout of config/tables/*.yaml, as tidy CSV, Markdown, LaTeX (booktabs) and HTML."""

import re
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pandas as pd
import yaml

from fmri2img.artifacts.atomic import atomic_file
from fmri2img.errors import UserError
from fmri2img.reporting.design import GAP, Design, arrow, is_of_whole_set, is_proportion, matching, number
from fmri2img.reporting.templates import HTML, LATEX, MARKDOWN

LAYOUT_KEYS = {"title", "rows", "methods", "metrics"}
ROWS = (["method"], ["method", "subject"])
FORMULA = re.compile(r"[=+@\t\r-](?!\d*\.?\d*(e-?\d+)?$)")  # what spreadsheets take for one, and is not a number
GUARDED = re.compile(r"^'(?=[=+@\t\r-])")
LATEX_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "−": "$-$",
    "–": "--", "—": "---", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """mean and interval as a reader sees them; a gap has no interval."""

    mean: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.mean} {self.interval}".strip()


@dataclass(frozen=True)
class Column:
    """Header of a column; detail, direction (an arrow) and chance may be empty."""

    title: str
    detail: str = ""
    direction: str = ""
    chance: str = ""

    @property
    def heading(self) -> str:
        return f"{self.title} {self.direction}".strip()

    def __str__(self) -> str:
        return f"{self.title}{f' ({self.detail})' if self.detail else ''} {self.direction}".strip()


@dataclass(frozen=True)
class Row:
    heads: list[str]
    cells: list[Cell]
    rule_above: bool


@dataclass(frozen=True)
class Table:
    """A table ready to render: text only."""

    title: str
    heads: list[str]
    columns: list[Column]
    rows: list[Row]
    note: str

    def markdown(self) -> str:
        return _environment(escape_markdown).from_string(MARKDOWN).render(table=self)

    def latex(self) -> str:
        return _environment(escape_latex).from_string(LATEX).render(table=self)

    def html(self) -> str:
        return html_page([self])


def html_page(tables: list[Table], figure: str = "", sentence: str = "") -> str:
    """One page of several tables, called after the first. figure: data URI of a picture above them, with its text."""
    page = jinja2.Environment(autoescape=True, trim_blocks=True).from_string(HTML)
    return page.render(tables=tables, figure=figure, sentence=sentence)


def _environment(escape) -> jinja2.Environment:
    # LaTeX is full of braces, so its template marks values with << >>.
    environment = jinja2.Environment(
        variable_start_string="<<", variable_end_string=">>", block_start_string="<%", block_end_string="%>",
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, finalize=escape, comment_start_string="<#",
        comment_end_string="#>",
    )  # fmt: skip
    return environment


def escape_markdown(text) -> str:
    """Text in one line without HTML, links, code or borders of cells."""
    return re.sub(r"[\\|<`]|&(?=[#\w])|\](?=[(\[:])", r"\\\g<0>", " ".join(str(text).split()))


def escape_latex(text) -> str:
    """Text in one line as LaTeX prints it literally, arrows and dashes included."""
    escaped = "".join(LATEX_SPECIAL.get(character, character) for character in " ".join(str(text).split()))
    # A bracket at the start of a row would be taken for the optional argument of the \\\\ before it.
    return f"{{}}{escaped}" if escaped.startswith("[") else escaped


def read_layout(path: str | Path) -> dict:
    """Read a layout of config/tables. Raises UserError naming the key that is unknown, missing or wrong."""
    layout = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for key in sorted(LAYOUT_KEYS ^ set(layout)):
        known = ", ".join(sorted(LAYOUT_KEYS))
        raise UserError(f"{path}: key '{key}' is {'missing' if key in LAYOUT_KEYS else 'unknown'}; keys: {known}")
    if layout["rows"] not in ROWS:
        raise UserError(f"{path}: key 'rows': {layout['rows']}; use [method] or [method, subject]")
    return layout


def score_cell(mean: float, low: float, high: float, metric: dict) -> Cell:
    """A score with its interval; one of a single image has none, and neither has a metric of the whole set."""
    if mean != mean:
        return Cell(GAP)
    interval = "" if pd.isna(low) else f"[{number(low, metric)}, {number(high, metric)}]"
    return Cell(number(mean, metric), interval)


def share_cell(row: pd.Series, share: float, metric: dict) -> Cell:
    """A score (mean, low, high of `row`) with its interval and then, in percent, a share, which may be NaN."""
    cell = score_cell(row["mean"], row["low"], row["high"], metric)
    text = "" if pd.isna(share) else f" {100 * share:.0f} %".replace("-", "−")
    return Cell(cell.mean, f"{cell.interval}{text}")


def note(cells: pd.DataFrame, design: Design) -> str:
    """Where numbers come from: split, images, subjects, seeds, intervals, real or simulated data; and what is to be
    known of metrics of the whole set, and of those with a warning."""
    present = cells.dropna(subset=["mean"])
    of_set = present["metric"].map(lambda name: is_of_whole_set(design.metrics[name])).astype(bool)

    def count(column: str, noun: str) -> str:
        rows = present[~of_set] if column == "n_images" else present
        low, high = (rows[column].min(), rows[column].max()) if len(rows) else (0, 0)
        return f"{low if low == high else f'{low}–{high}'} {noun}{'' if high == 1 else 's'}"

    alone = "subject" in cells
    subjects = f"{present['subject'].nunique()} subjects, one a row" if alone else count("n_subjects", "subject")
    text = (
        f"Mean [{100 * design.confidence:g} % interval, {design.resamples} bootstrap resamples of the images]. "
        f"Split {design.split}; {count('n_images', 'test image')}, {subjects}, {count('n_seeds', 'seed')}. "
        f"{design.data[0].upper()}{design.data[1:]}."
    )
    excluded = int(present["n_excluded"].sum())
    if excluded:
        text += f" {excluded} undefined values are left out."
    shown = {name: metric for name, metric in design.metrics.items() if name in set(present["metric"])}
    sets = [metric["title"] for metric in shown.values() if is_of_whole_set(metric)]
    if sets:
        text += f" One value for all images, and so without interval: {', '.join(sets)}."
    for warning in dict.fromkeys(metric["warning"] for metric in shown.values() if "warning" in metric):
        titles = [metric["title"] for metric in shown.values() if metric.get("warning") == warning]
        text += f" {', '.join(titles)}: {warning}"
    text += f" {GAP} marks a cell without a full set of scores." if cells["mean"].isna().any() else ""
    missing = [f" Missing: {failure['lacks']} ({failure['reason']})." for failure in design.failures()]
    return "".join([text, *missing])


def column(metric: dict) -> Column:
    """Header of a metric: its title, network and unit, the direction of better values, and its chance level."""
    title, _, detail = metric["title"].partition(" (")
    detail = ", ".join(filter(None, [detail.removesuffix(")"), "%" if is_proportion(metric) else ""]))
    chance = "" if metric["chance"] is None else number(metric["chance"], metric)
    return Column(title, detail, arrow(metric), chance)


def lay_out(layout: dict, cells: pd.DataFrame, design: Design, budget: str) -> Table:
    """One table of a layout.

    cells: `estimates(...)`, by subject when the layout's rows ask for subjects.
    """
    methods, metrics = matching(design.methods, layout["methods"]), matching(design.metrics, layout["metrics"])
    cells = cells[(cells["budget"] == budget) & cells["method"].isin(methods) & cells["metric"].isin(metrics)]
    keys = layout["rows"]
    lookup = cells.set_index([*keys, "metric"])
    row_keys = [(m,) for m in methods] if keys == ["method"] else [(m, s) for m in methods for s in design.subjects]
    rows, previous = [], None
    for key in row_keys:
        kind = design.methods[key[0]]["kind"]
        new_method = previous is not None and previous[0] != key[0]
        new_kind = new_method and design.methods[previous[0]]["kind"] != kind
        title = design.methods[key[0]]["title"]
        heads = [title] if len(key) == 1 else ["" if previous and not new_method else title, key[1]]
        values = [
            score_cell(*lookup.loc[(*key, metric), ["mean", "low", "high"]], design.metrics[metric])
            for metric in metrics
        ]
        rows.append(Row(heads, values, new_kind or (new_method and len(key) > 1)))
        previous = key
    title = layout["title"].format(budget=design.budget(budget).title)
    heads = [key.capitalize() for key in keys]
    return Table(title, heads, [column(design.metrics[m]) for m in metrics], rows, note(cells, design))


def tidy(cells: pd.DataFrame, design: Design) -> pd.DataFrame:
    """One row per cell, unrounded, as in the CSV files. Cells without a full set of scores are empty."""
    if "subject" not in cells:
        cells = cells.assign(subject="all")
    cells = cells.assign(
        study=design.study,
        split=design.split,
        data=design.data_source,
        kind=cells["method"].map(lambda name: design.methods[name]["kind"]),
        chance=cells["metric"].map(lambda name: design.metrics[name]["chance"]),
        confidence=design.confidence,
    )
    columns = [
        "study",
        "data",
        "split",
        "method",
        "kind",
        "budget",
        "sessions",
        "subject",
        "metric",
        "mean",
        "low",
        "high",
    ]
    return cells[[*columns, "confidence", "chance", "n_images", "n_subjects", "n_seeds", "n_excluded"]]


def as_csv(table: pd.DataFrame) -> str:
    """A table as CSV in which no text is a formula to a spreadsheet, which an apostrophe prevents."""
    return table.map(lambda cell: f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell).to_csv(
        index=False
    )


def read_csv(path: Path) -> pd.DataFrame:
    """A table that `as_csv` wrote, without its apostrophes; raises UserError when it is missing."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; run `snakemake` first")
    table = pd.read_csv(path, dtype={"budget": str, "sessions": str})
    return table.map(lambda cell: GUARDED.sub("", cell) if isinstance(cell, str) else cell)


def write_table(stem: str | Path, table: Table, cells: pd.DataFrame) -> None:
    """Write `stem`.csv (of tidy `cells`), .md, .tex and .html."""
    write_tables(stem, [table], cells)


def write_tables(stem: str | Path, tables: list[Table], cells: pd.DataFrame) -> None:
    """`write_table` for several tables under one another, with one CSV file of all of them."""
    texts = {
        ".csv": as_csv(cells),
        ".md": "\n".join(table.markdown() for table in tables),
        ".tex": "\n".join(table.latex() for table in tables),
        ".html": html_page(tables),
    }
    for suffix, text in texts.items():
        with atomic_file(f"{stem}{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")
