"""Captions: all methods of a study that write sentences, in one table with published rows, which are marked as quoted.

Published captions were scored on other images and with other code; split and reference captions stand in each row.
"""

import pandas as pd

from fmri2img.metrics.registry import is_scored
from fmri2img.reporting.design import GAP, Design
from fmri2img.reporting.published import as_printed, metric_entry
from fmri2img.reporting.tables import Cell, Row, Table, column, score_cell

QUOTED_TABLE = "captions"  # of config/published: comparisons of captions
COLUMNS = ["method", "metric", "mean", "low", "high", "subjects", "split", "references", "source", "quoted"]


def quoted_captions(published: pd.DataFrame, splits: list[str]) -> pd.DataFrame:
    """Published rows of captions on a split of the study's dataset. published: of `read_published`."""
    return published[(published["table"] == QUOTED_TABLE) & published["split"].isin(splits)]


def caption_rows(cells: pd.DataFrame, quoted: pd.DataFrame, design: Design, sources: dict[str, dict]) -> pd.DataFrame:
    """Tidy rows with COLUMNS: this study's at its longest budget, then the published ones.

    cells: `estimates(scores, design)`; quoted: `quoted_captions`; sources: of `read_sources`.
    """
    metrics = _metrics(design)
    own = cells[(cells["budget"] == design.longest_budget) & cells["metric"].isin(metrics)].dropna(subset=["mean"])
    ours = own.assign(
        subjects=", ".join(design.subjects), split=design.split, source="this study", quoted=False,
        references=own["metric"].map(lambda name: metrics[name].get("parameters", {}).get("references", "")),
    )  # fmt: skip
    theirs = quoted.assign(
        method=quoted["printed_method"], mean=quoted["value"], low=float("nan"), high=float("nan"),
        subjects=quoted["subject"], references=quoted["variant"], quoted=True,
        source=[f"{sources[row.source]['short']}, {row.locator}" for row in quoted.itertuples()],
    )  # fmt: skip
    return pd.concat([ours[COLUMNS], theirs[COLUMNS]], ignore_index=True)


def caption_table(cells: pd.DataFrame, quoted: pd.DataFrame, design: Design, sources: dict[str, dict]) -> Table:
    """The same as a page: the study's methods, then its controls and ceilings, then published rows below a line."""
    own = _metrics(design)
    theirs = {name: metric_entry(name, {}, quoted) for name in dict.fromkeys(quoted["metric"]) if name not in own}
    lookup = cells[cells["budget"] == design.longest_budget].set_index(["method", "metric"])
    rows, previous = [], None
    for method, entry in design.methods.items():
        if not any(is_scored(entry, metric) for metric in own.values()):
            continue
        values = [score_cell(*lookup.loc[(method, name), ["mean", "low", "high"]], own[name]) for name in own]
        heads = [entry["title"], ", ".join(design.subjects), design.split, "see the columns", "this study"]
        rows.append(Row(heads, [*values, *(Cell(GAP) for _ in theirs)], previous not in (None, entry["kind"])))
        previous = entry["kind"]
    keys = ["source", "locator", "variant", "split", "printed_method", "subject"]
    for place, (key, group) in enumerate(quoted.groupby(keys, sort=False)):
        source, locator, references, split, method, subject = key
        printed = {row.metric: row for row in group.itertuples()}
        values = [
            Cell(as_printed(printed[name], entry) if name in printed else GAP) for name, entry in (own | theirs).items()
        ]
        heads = [f"{method} (quoted)", subject, split, references, f"{sources[source]['short']}, {locator}"]
        rows.append(Row(heads, values, place == 0 and bool(rows)))
    note = (
        f"This study: mean over subjects, trained on {design.budget(design.longest_budget).title}, with intervals over "
        f"images; {design.data}. Quoted rows were not measured here: their images, references and tokeniser differ, so "
        f"they are not ranked with the others. {GAP} marks what is not reported."
    )
    heads = ["Method", "Subjects", "Split", "References", "Source"]
    columns = [column(entry | {"chance": None}) for entry in (own | theirs).values()]
    return Table("Captions", heads, columns, rows, note)


def _metrics(design: Design) -> dict[str, dict]:
    return {name: metric for name, metric in design.metrics.items() if metric["needs"] == "captions"}
