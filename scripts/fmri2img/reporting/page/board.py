"""Content of the page's leaderboard: sort keys as numbers, each with its displayed text."""

import math

import pandas as pd

from fmri2img.metrics.registry import is_scored
from fmri2img.reporting.design import GAP, Design, arrow, is_proportion, number
from fmri2img.reporting.leaderboard import row_cells
from fmri2img.reporting.page.charts import looks
from fmri2img.reporting.tables import Cell, Row, Table, column

NEEDS = {
    "images": "pictures", "brain": "pictures", "retrieval": "retrieval vectors", "captions": "captions",
}  # fmt: skip


def key(value: float) -> float | None:
    """A number to sort by: six significant digits; None (which sorts last) for what is missing."""
    return None if value is pd.NA or not math.isfinite(value) else float(f"{value:.6g}")


def metric_list(design: Design) -> list[dict]:
    """Metrics in the order of the registry: how each column is headed and what the metric is."""
    found = []
    for name, metric in design.metrics.items():
        head = column(metric)
        found.append(
            {
                "name": name,
                "title": head.title,
                "detail": head.detail,
                "network": head.detail.removesuffix("%").removesuffix(", "),
                "arrow": arrow(metric),
                "higher": metric["higher_is_better"],
                "chance": key(metric["chance"]) if metric["chance"] is not None else None,
                "chanceText": head.chance,
            }
        )
    return found


def method_list(design: Design, disclosed: pd.DataFrame) -> list[dict]:
    """Methods in the order of the tables: title, kind, family (its first method), whether figures draw it, what they
    build on, appearance, and their disclosure record with suspicions from their scores.

    disclosed: method, then one column per key; methods without a record have none.
    """
    records = disclosed.set_index("method").to_dict("index")
    drawn = design.condensed().methods
    heads = {member: head for head, members in design.families.items() for member in members}
    found = []
    for name, look in looks(design).items():
        entry = design.methods[name]
        of = entry.get("of")
        facts = {"Kind": kind_text(entry, design), "What it is": entry.get("reference", "")}
        facts["Missing"] = design.why_missing(name, where=True)
        facts["Caution"] = "; ".join(entry.get("suspicions", []))
        if entry.get("outputs"):
            facts["Outputs"] = ", ".join(entry["outputs"])
        facts |= {key.replace("_", " ").capitalize(): value for key, value in records.get(name, {}).items()}
        found.append(
            {
                "name": name,
                "title": entry["title"],
                "kind": entry["kind"],
                "family": heads[name],
                "drawn": name in drawn,
                "familyTitle": entry.get("family", entry["title"]),
                "sentence": entry.get("sentence", ""),
                "of": design.methods[of]["title"] if of in design.methods else "",
                "facts": [[title, text] for title, text in facts.items() if text],
                **look,
            }
        )
    return found


def kind_text(entry: dict, design: Design) -> str:
    """ "control of Ridge; floor of the normalised scores"."""
    of, text = entry.get("of"), entry["kind"]
    if of is not None:
        text += f" of {design.methods[of]['title'] if of in design.methods else of}"
    for end, needs in entry.get("scale", {}).items():
        text += f"; {end} of the normalised scores of {', '.join(needs)}"
    return text


def cell_table(board: pd.DataFrame, design: Design) -> dict[str, dict[str, dict[str, dict]]]:
    """budget -> metric -> method -> cell. A cell without a full set of scores is absent.

    A cell's `raw` and `normalised` (None where the study has no scale) are value, low, high, text and interval.
    """
    found: dict = {budget: {metric: {} for metric in design.metrics} for budget in design.budgets}
    for row in board[board["mean"].notna()].itertuples():
        metric = design.metrics[row.metric]
        score, group, p, normalised, seed_sd = row_cells(row, metric)
        cell = {
            "rank": None if pd.isna(row.rank) else int(row.rank),
            "group": group.mean,
            "p": key(row.p_first),
            "pText": p.mean,
            "seedSd": key(row.seed_sd),
            "seedSdText": seed_sd.mean,
            "raw": _score(row.mean, row.low, row.high, score),
            "normalised": None,
        }
        if normalised.mean != GAP:
            ends = row.normalised, row.normalised_low, row.normalised_high
            cell["normalised"] = _score(*ends, normalised)
        found[row.budget][row.metric][row.method] = cell
    return found


def gap_reason(design: Design, method: str, metric: str, budget: str) -> str:
    """Why a cell is empty, as the end of a sentence about the method."""
    entry = design.methods[method]
    if not is_scored(entry, design.metrics[metric]):
        needs = NEEDS[design.metrics[metric]["needs"]]
        return f"makes no {needs}"
    if budget not in design.budgets_of(method):
        own = " and ".join(design.budget(label).title for label in design.budgets_of(method))
        return f"this study trains it on {own} only"
    if method in design.gaps:
        return design.why_missing(method)
    return "lacks some of its scores"


def gaps(board: pd.DataFrame, design: Design) -> dict[str, dict[str, dict[str, str]]]:
    """budget -> metric -> method -> why its cell is empty, for all empty cells."""
    present = board[board["mean"].notna()]
    filled = set(zip(present["budget"], present["metric"], present["method"], strict=True))
    return {
        budget: {
            metric: {
                method: gap_reason(design, method, metric, budget)
                for method in design.methods
                if (budget, metric, method) not in filled
            }
            for metric in design.metrics
        }
        for budget in design.budgets
    }


def plain_tables(board: pd.DataFrame, design: Design) -> list[tuple[str, bool, Table]]:
    """Title, whether it is of the longest budget, and table of each budget, for readers without JavaScript.

    Rows are grouped by family, in the order of the design; controls come last.
    """
    cells, found = cell_table(board, design), []
    for budget in design.budgets:
        rows = []
        for members in design.families.values():
            for place, method in enumerate(members):
                shown = [cells[budget][metric].get(method) for metric in design.metrics]
                texts = [
                    Cell(one["raw"]["text"], one["raw"]["interval"])
                    if one
                    else Cell(GAP, gap_reason(design, method, metric, budget))
                    for metric, one in zip(design.metrics, shown, strict=True)
                ]
                entry = design.methods[method]
                rows.append(Row([entry["title"], entry["kind"]], texts, place == 0 and bool(rows)))
        title = f"Trained on {design.budget(budget).title}"
        columns = [column(metric) for metric in design.metrics.values()]
        found.append((title, budget == design.longest_budget, Table(title, ["Method", "Kind"], columns, rows, "")))
    return found


def _score(value: float, low: float, high: float, shown) -> dict:
    return {"value": key(value), "low": key(low), "high": key(high), "text": shown.mean, "interval": shown.interval}


def metric_facts(design: Design) -> list[dict]:
    """Definition of each metric, for the page's list."""
    facts = []
    for metric in design.metrics.values():
        low, high = ("∞" if bound is None else f"{bound:g}".replace("-", "−") for bound in metric["range"])
        low = low if low != "∞" else "−∞"
        better = "higher is better" if metric["higher_is_better"] else "lower is better"
        chance = "" if metric["chance"] is None else f"; chance {number(metric['chance'], metric)}"
        unit = ", shown in percent" if is_proportion(metric) else ""
        facts.append(
            {
                "title": metric["title"],
                "scale": f"{low} to {high}{unit}; {better}{chance}",
                "note": metric.get("note", ""),
                "warning": metric.get("warning", ""),
                "reference": metric.get("reference", ""),
            }
        )
    return facts
