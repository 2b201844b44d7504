"""What the jobs of a study say of themselves (`job_record`): one row a job, and a summary of all."""

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from fmri2img.job_record import record_of

FACTS = {
    "python": "Python", "host": "hosts", "cpu": "processors", "gpu": "GPUs", "driver": "GPU driver", "cuda": "CUDA",
    "image": "container image",
}  # fmt: skip
COLUMNS = ["job", "attempt", "started", "ended", *FACTS, "slurm_job", "nodes", "processes", "versions"]


def listed_logs(path: str | Path) -> list[str]:
    """The logs of the jobs that a report is made from, as the run listed them when it began; none without the list."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []


def job_rows(logs: Iterable[str], folder: str) -> pd.DataFrame:
    """One row for each job with this log: columns COLUMNS, empty where it left no complete record.

    logs: of the jobs that the report is made from; folder: of all logs, which is left out of the jobs' names; versions:
    "numpy 2.4.6, ...".
    """
    rows = []
    for log in logs:
        row: dict = {"job": str(log).removeprefix(f"{folder}/").removesuffix(".log")}
        record = _read(record_of(log))
        if record.get("ended"):
            row |= {key: record.get(key) for key in COLUMNS[1:-1]}
            row["versions"] = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def job_facts(rows: pd.DataFrame) -> list[tuple[str, str, str]]:
    """(section, item, value): where the jobs ran and with which versions, as `summary` tells it."""
    known = rows[rows["ended"].notna()]
    facts = []
    if rows.empty:
        facts.append(("jobs", "without a record", "the run left no list of its jobs; what they ran with is not known"))
    if len(known) < len(rows):
        text = f"{len(rows) - len(known)} of {len(rows)} jobs left no record; what they ran with is not known"
        facts.append(("jobs", "without a record", text))
    if known.empty:
        return facts
    facts.append(("jobs", "number", str(len(known))))
    facts.append(("jobs", "first started", known["started"].min()))
    facts.append(("jobs", "last ended", known["ended"].max()))
    repeated = int((known["attempt"] > 1).sum())
    if repeated:
        facts.append(("jobs", "took several attempts", str(repeated)))
    in_slurm = known["slurm_job"].dropna()
    if len(in_slurm):
        facts.append(("jobs", "in Slurm", f"{in_slurm.nunique()} Slurm jobs; jobs.csv has their numbers"))
    for key, title in FACTS.items():
        if known[key].notna().any():
            facts.append(("jobs", title, summary(known[key].dropna())))
    versions = [pair.rsplit(" ", 1) for text in known["versions"] for pair in filter(None, text.split(", "))]
    table = pd.DataFrame(versions, columns=["name", "version"])
    for name, found in sorted(table.groupby("name")["version"], key=lambda item: item[0].lower()):
        facts.append(("versions", str(name), summary(found)))
    return facts


def summary(values: pd.Series) -> str:
    """The value of most jobs, then each other one with its number of jobs: "2.4.6 (3 jobs: 2.5.5)"."""
    counts = values.value_counts()
    others = [f"{count} job{'' if count == 1 else 's'}: {value}" for value, count in counts.iloc[1:].items()]
    return f"{counts.index[0]} ({'; '.join(others)})" if others else str(counts.index[0])
