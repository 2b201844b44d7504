"""Provenance: what was run, on which images, with which versions; and what each method discloses about itself."""

from pathlib import Path

import pandas as pd
import yaml

from fmri2img.artifacts.atomic import atomic_file
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.splits import Split
from fmri2img.errors import UserError
from fmri2img.integrity import again
from fmri2img.reporting.design import Design
from fmri2img.reporting.tables import Cell, Column, Row, Table


def provenance(config: dict, design: Design, split: Split, ran: list[tuple[str, str, str]]) -> pd.DataFrame:
    """One row per fact: section, item, value (text). ran: those of the jobs, of `jobs.job_facts`."""
    rows = [
        ("study", "name", design.study),
        ("study", "data", design.data),
        ("study", "subjects", ", ".join(design.subjects)),
        ("study", "training budgets", "; ".join(design.budget(budget).title for budget in design.budgets)),
        ("study", "methods", ", ".join(design.methods)),
        ("study", "seeds", ", ".join(map(str, design.seeds))),
        ("split", "name", split.name),
        ("split", "description", split.description),
        ("split", "held-out images", str(len(split.test_ids))),
        ("split", "SHA-256 of held-out ids", split.sha256),
        ("statistics", "bootstrap resamples", str(design.resamples)),
        ("statistics", "confidence", f"{design.confidence:g}"),
    ]
    sections = {"betas": config.get(config["dataset"], {}).get("betas", {})}
    sections |= {section: config.get(section, {}) for section in ("generation", "retrieval", "evaluation")}
    rows += [(section, key, str(value)) for section, keys in sections.items() for key, value in keys.items()]
    rows += [("networks", role, config[role]) for role in ("encoder", "autoencoder", "generator")]
    return pd.DataFrame([*rows, *ran], columns=["section", "item", "value"])


def disclosures(predictions: list[str], design: Design, split: Split) -> pd.DataFrame:
    """Disclosures of the Predictions: method, then the keys of the disclosure record.

    Values that differ between the predictions of a method are listed (numbers as a range). Raises UserError when a
    prediction was made on a different split from `split`.
    """
    records: dict[str, list[dict]] = {method: [] for method in design.methods}
    for path in predictions:
        metadata = Prediction.open(path).metadata
        if metadata["split_sha256"] != split.of(metadata["subject"]).sha256:
            raise UserError(f"{path}: made on another split than {split.name}; {again(path)}")
        records[metadata["method"]].append(metadata["disclosure"])
    table = [
        {"method": method} | {key: _summary([record[key] for record in found]) for key in Disclosure.kinds()}
        for method, found in records.items()
        if found
    ]
    return pd.DataFrame(table, columns=["method", *Disclosure.kinds()])


def _summary(values: list) -> str:
    if all(isinstance(value, bool) for value in values):
        return " / ".join(dict.fromkeys("yes" if value else "no" for value in values))
    if all(isinstance(value, int) for value in values):
        low, high = min(values), max(values)
        return str(low) if low == high else f"{low}–{high}"
    if all(isinstance(value, list) for value in values):
        sizes = sorted({len(value) for value in values})
        return " / ".join("the subject only" if size == 1 else f"{size} subjects" for size in sizes)
    return " / ".join(dict.fromkeys(map(str, values)))


def provenance_table(facts: pd.DataFrame) -> Table:
    rows, previous = [], None
    for row in facts.itertuples():
        new = row.section != previous
        rows.append(Row([row.section if new else "", row.item], [Cell(row.value)], new and bool(rows)))
        previous = row.section
    note = (
        "Versions are those that the jobs imported, as each found them in its own environment; jobs.csv, in the same "
        "folder, has those of each job. The whole configuration is in config.yaml, one folder up."
    )
    return Table("What was run", ["", ""], [Column("")], rows, note)


def disclosure_table(disclosed: pd.DataFrame, design: Design) -> Table:
    """Methods across, disclosures down: texts are long, methods are few."""
    by_method = disclosed.set_index("method")
    columns = [Column(design.methods[method]["title"]) for method in by_method.index]
    rows = [Row([key.replace("_", " ")], [Cell(value) for value in by_method[key]], False) for key in by_method.columns]
    note = "As declared by each prediction. Ranges span subjects and training budgets."
    for method in by_method.index:
        for text in design.methods[method].get("suspicions", []):
            note += f" Caution: {design.methods[method]['title']} ({text})."
    return Table("How the reconstructions were made", ["Disclosed"], columns, rows, note)


def write_config(path: str | Path, config: dict) -> None:
    """The effective configuration, in the order of its keys."""
    with atomic_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
