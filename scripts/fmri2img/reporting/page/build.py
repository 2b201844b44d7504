"""The page of a study: one HTML file that holds its numbers, charts and pictures and loads nothing."""

import base64
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import pandas as pd
from PIL import Image

from fmri2img.reporting.analyses import ShownAnalysis
from fmri2img.reporting.claims import CHECK, FINDING, NOT_TESTED, counted, method_title, verdicts, word_of
from fmri2img.reporting.design import GAP, Design, is_proportion, matching
from fmri2img.reporting.leaderboard import scale_note
from fmri2img.reporting.page import charts
from fmri2img.reporting.page.board import cell_table, gaps, key, method_list, metric_facts, metric_list, plain_tables
from fmri2img.reporting.page.costs import duration
from fmri2img.reporting.page.pictures import pictures_note
from fmri2img.reporting.similarity import copies_note
from fmri2img.reporting.tables import Table, note
from fmri2img.reporting.test_sets import test_sets_note

FOLDER = Path(__file__).parent
SCRIPTS = ("page.js", "leaderboard.js", "pictures.js")


@dataclass(frozen=True)
class Parts:
    """The contents of a page. Parts that a study does not have are empty, and their sections are left out.

    board, claims, disclosures, facts, effects: tables as the CSV files of the report hold them. curves: `quarter_means`
    (flat) and the mean similarity of each quarter. splits: `split_table`. test_sets: `table_by_test_set` of `of_sets`.
    sources: `source_table`. permutations: `permutation_table`. pictures: `picture_data`. brain: paths of maps. quoted:
    published numbers on the split, `quoted_table`. costs: `costs`. checksums: name -> SHA-256 of what the study was
    made from and of its scores. configuration: YAML.
    """

    board: pd.DataFrame
    claims: pd.DataFrame
    disclosures: pd.DataFrame
    facts: pd.DataFrame
    rank_by: list[str]
    configuration: str
    effects: pd.DataFrame | None = None
    curves: tuple[pd.DataFrame, pd.Series] | None = None
    pictures: dict | None = None
    brain: list[Path] = field(default_factory=list)
    analyses: list[ShownAnalysis] = field(default_factory=list)
    quoted: Table | None = None
    splits: Table | None = None
    captions: Table | None = None
    test_sets: Table | None = None
    of_sets: pd.DataFrame | None = None
    sources: Table | None = None
    permutations: Table | None = None
    costs: pd.DataFrame | None = None
    checksums: dict[str, str] = field(default_factory=dict)


def page(parts: Parts, design: Design) -> str:
    """The page as HTML."""
    methods, metrics = method_list(design, parts.disclosures), metric_list(design)
    ranked = matching(design.metrics, parts.rank_by) or list(design.metrics)
    budgets = [[label, design.budget(label).title] for label in design.budgets]
    pictures, claims, costs = parts.pictures, _claims(parts.claims, design), parts.costs
    has_costs = costs is not None and len(costs) > 0
    curves = parts.curves
    context = {
        "study": design.study,
        "simulated": design.simulated,
        "split": design.split,
        "lede": _lede(parts.board, design),
        "facts": _headline(parts.board, claims, design),
        "confidence": f"{100 * design.confidence:g}",
        "methods": methods,
        "colour": {method["name"]: method["colour"] for method in methods},
        "dashes": {method["name"]: method["dashes"] for method in methods},
        "outline": {method["name"]: method["outline"] for method in methods},
        "metrics": metrics,
        "metric_facts": metric_facts(design),
        "budgets": budgets,
        "longest": design.longest_budget,
        "longest_title": design.budget(design.longest_budget).title,
        "normalised": bool(parts.board["normalised"].notna().any()),
        "plain_boards": plain_tables(parts.board, design),
        "families": list(dict.fromkeys(method["familyTitle"] for method in methods)),
        "kinds": list(dict.fromkeys(method["kind"] for method in methods)),
        "drawn": [method["name"] for method in methods if method["drawn"]],
        "board_note": f"{note(parts.board, design)} {_ties(design)} {scale_note(parts.board, design)}",
        "session_panels": charts.session_panels(parts.board, design) if len(design.budgets) > 1 else [],
        "similarity_panels": charts.similarity_panels(*curves, design) if curves is not None else [],
        "similarity_rows": _similarity_rows(parts.effects, design),
        "similarity_note": "" if parts.effects is None else copies_note(parts.effects, design.longest_budget),
        "claims": claims,
        "n_failed": sum(claim["kind"] == CHECK and not claim["met"] and claim["tested"] for claim in claims),
        "failures": design.failures(),
        "pictures": pictures,
        "analyses": parts.analyses,
        "brain": [_brain_map(path) for path in parts.brain],
        "quoted": parts.quoted,
        "splits": parts.splits,
        "captions": parts.captions,
        "test_sets": parts.test_sets,
        "test_set_panels": [] if parts.of_sets is None else charts.test_set_panels(parts.of_sets, design),
        "test_sets_note": "" if parts.of_sets is None else test_sets_note(parts.of_sets, design),
        "sources": parts.sources,
        "permutations": parts.permutations,
        "test_set": design.test_set,
        "costs": _cost_rows(costs) if has_costs else [],
        "cost_lede": _cost_lede(costs) if has_costs else "",
        "provenance": _provenance(parts.facts, parts.checksums),
        "configuration": parts.configuration,
        "data": _json(
            {
                "methods": methods,
                "metrics": metrics,
                "budgets": budgets,
                "cells": cell_table(parts.board, design),
                "gaps": gaps(parts.board, design),
                "sortBy": ranked[0],
            }
        ),
        "width": charts.WIDTH,
        "height": charts.HEIGHT,
        "left": charts.LEFT,
        "right": charts.RIGHT,
        "css": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "script": "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS),
    }
    if pictures is not None:
        shown = [pair for pair in budgets if pair[0] in pictures["budgets"]]
        context |= {
            "picture_json": _json(pictures),
            "pictures_note": pictures_note(pictures, design),
            "picture_budgets": shown,
            "picture_longest": design.longest_budget if design.longest_budget in pictures["budgets"] else shown[-1][0],
            "picture_methods": [
                method for method in methods if any(cell.startswith(f"{method['name']}/") for cell in pictures["cells"])
            ],
        }
    present = {
        "leaderboard": ("Leaderboard", True),
        "sessions": ("Sessions", context["session_panels"]),
        "claims": ("Checks", claims),
        "captions": ("Captions", parts.captions),
        "similarity": ("Similarity", context["similarity_panels"]),
        "splits": ("Splits", parts.splits),
        "test-sets": ("Test sets", parts.test_sets),
        "sources": ("Image sources", parts.sources),
        "permutations": ("Permutation tests", parts.permutations),
        "reconstructions": ("Reconstructions", pictures),
        "images": ("All images", pictures),
        "brain": ("Brain maps", parts.brain),
        "analyses": ("Analyses", parts.analyses),
        "published": ("Published", parts.quoted),
        "compute": ("Compute", has_costs),
        "provenance": ("Provenance", True),
    }
    context["sections"] = [(anchor, title) for anchor, (title, there) in present.items() if there]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    return environment.from_string((FOLDER / "page.html").read_text(encoding="utf-8")).render(context).lstrip()


def _json(record: dict) -> str:
    """JSON that a script element may hold: no title can end the element."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _lede(board: pd.DataFrame, design: Design) -> str:
    n_controls = sum(entry["kind"] == "control" for entry in design.methods.values())
    n_images = int(board["n_images"].max()) if len(board) else 0
    text = f"{_plural(len(design.methods) - n_controls, 'method')} for decoding images from fMRI"
    if n_controls:
        text += f" and {_plural(n_controls, 'control')}"
    text += f", scored by the same code on the same {_plural(n_images, 'held-out image')}."
    n_lacking = len(design.gaps)
    return f"{text} {n_lacking} of them {'lacks' if n_lacking == 1 else 'lack'} scores." if n_lacking else text


def _headline(board: pd.DataFrame, claims: list[dict], design: Design) -> list[tuple[str, str]]:
    facts = [
        ("Data", design.data),
        ("Subjects", str(len(design.subjects))),
        ("Test images", str(int(board["n_images"].max()) if len(board) else 0)),
        ("Training sessions", ", ".join(design.budget(budget).count for budget in design.budgets)),
        ("Seeds", str(len(design.seeds))),
        ("Metrics", str(len(design.metrics))),
    ]
    for kind, title in ((CHECK, "Checks that hold"), (FINDING, "Findings seen")):
        met = [claim["met"] for claim in claims if claim["kind"] == kind and claim["tested"]]
        if met:
            facts.append((title, f"{sum(met)} of {len(met)}"))
    return facts


def _ties(design: Design) -> str:
    return (
        "Letters: methods that share one do not differ significantly (paired sign-flip test over images, "
        f"Holm-corrected over all pairs, {1 - design.confidence:.2g}). Controls are compared too but not ranked."
    )


def _claims(tested: pd.DataFrame, design: Design) -> list[dict]:
    found = []
    for verdict in verdicts(tested).itertuples():
        rows = tested[tested["claim"] == verdict.claim]
        found.append(
            {
                "claim": verdict.claim,
                "kind": verdict.kind,
                "met": bool(verdict.met),
                "tested": verdict.word != NOT_TESTED,
                "word": verdict.word,
                "look": verdict.word.replace(" ", "-").lower(),
                "source": verdict.source,
                "note": verdict.note,
                "count": counted(verdict),
                "rows": [
                    {
                        "method": method_title(row, design),
                        "metric": design.metrics[row.metric]["title"]
                        + (" (%)" if is_proportion(design.metrics[row.metric]) else ""),
                        "budget": "all budgets" if pd.isna(row.budget) else design.budget(row.budget).title,
                        "word": word_of(row),
                        "look": word_of(row).replace(" ", "-").lower(),
                        "finding": row.finding,
                    }
                    for row in rows.itertuples()
                ],
            }
        )
    return found


def _similarity_rows(effects: pd.DataFrame | None, design: Design) -> list[dict]:
    if effects is None:
        return []
    lookup = effects[effects["budget"] == design.longest_budget].set_index(["method", "metric"])
    rows = []
    for method, entry in design.methods.items():
        cells = []
        for metric in design.metrics:
            values = [float("nan")] * 3
            if (method, metric) in lookup.index:
                values = lookup.loc[(method, metric), ["correlation", "low", "high"]].tolist()
            text, low, high = (f"{value:.2f}".replace("-", "−") for value in values)
            value = key(values[0])
            missing = value is None
            cells.append(
                {"value": value, "text": GAP if missing else text, "interval": "" if missing else f"[{low}, {high}]"}
            )
        rows.append({"title": entry["title"], "cells": cells})
    return rows


def _cost_rows(costs: pd.DataFrame) -> list[dict]:
    total, largest = costs["seconds"].sum() or 1, costs["seconds"].max() or 1
    return [
        {
            "rule": row.rule,
            "jobs": row.jobs,
            "seconds": round(row.seconds, 1),
            "time": duration(row.seconds),
            "share": f"{100 * row.seconds / largest:.1f}",
            "share_text": f"{100 * row.seconds / total:.1f} %",
            "cpu_seconds": round(row.cpu_seconds, 1),
            "cpu": duration(row.cpu_seconds),
            "longest": round(row.longest, 1),
            "longest_text": duration(row.longest),
            "peak": "" if pd.isna(row.peak_mb) else round(row.peak_mb),
            "peak_text": GAP if pd.isna(row.peak_mb) else f"{row.peak_mb:,.0f}",
        }
        for row in costs.itertuples()
    ]


def _cost_lede(costs: pd.DataFrame) -> str:
    return (
        f"{_plural(int(costs['jobs'].sum()), 'job')} took {duration(costs['seconds'].sum())} of wall-clock time and "
        f"{duration(costs['cpu_seconds'].sum())} of CPU time in total; the largest job used "
        f"{costs['peak_mb'].max() / 1024:.1f} GiB of memory."
    )


def _provenance(facts: pd.DataFrame, checksums: dict[str, str]) -> list[tuple[str, list[tuple[str, str]]]]:
    sections: dict[str, list] = {}
    for row in facts.itertuples():
        sections.setdefault(str(row.section).capitalize(), []).append((row.item, str(row.value)))
    if checksums:
        sections["Checksums (SHA-256)"] = list(checksums.items())
    return list(sections.items())


def _brain_map(path: Path) -> dict:
    """An image of the page: data URI, size in pixels, and a title made of its file's name."""
    encoded = path.read_bytes()
    with Image.open(io.BytesIO(encoded)) as image:
        width, height = image.size
    title = path.stem.removeprefix("brain_").replace("_", " ")
    uri = f"data:image/png;base64,{base64.b64encode(encoded).decode()}"
    return {"uri": uri, "width": width, "height": height, "title": title}
