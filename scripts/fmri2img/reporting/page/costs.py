"""What a study's jobs took: time and memory of each rule, summed from the files that `benchmark:` writes."""

from pathlib import Path

import pandas as pd

COLUMNS = ["rule", "jobs", "seconds", "cpu_seconds", "longest", "peak_mb"]


def costs(folder: str | Path) -> pd.DataFrame:
    """One row per rule, the most expensive first: columns COLUMNS (summed wall-clock seconds; MiB of the largest job).

    folder: <rule>.tsv or <rule>/<job>.tsv. A job too short to be sampled counts with zero CPU time and memory.
    """
    parts = []
    for path in sorted(Path(folder).rglob("*.tsv")):
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
        parts.append(pd.read_csv(path, sep="\t", na_values="-").assign(rule=rule))
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    jobs = pd.concat(parts, ignore_index=True)
    found = jobs.groupby("rule", as_index=False).agg(
        jobs=("s", "size"),
        seconds=("s", "sum"),
        cpu_seconds=("cpu_time", "sum"),
        longest=("s", "max"),
        peak_mb=("max_rss", "max"),
    )
    return found.sort_values(["seconds", "rule"], ascending=[False, True], ignore_index=True)[COLUMNS]


def duration(seconds: float) -> str:
    """ "4.2 s", "3 min 05 s", "2 h 10 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
