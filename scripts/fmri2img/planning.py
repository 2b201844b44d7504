"""What a study costs before it runs: its jobs and submissions, hours, memory, and the longest chain of submissions.

The job graph is Snakemake's own. A job takes its work (fmri2img.work) times a rate: seconds of one unit of it, measured
by the benchmark files of finished studies with the same networks, of any size, or else assumed (config/rates.yaml).
"""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from fmri2img.job_graph import jobs_in_order, read_graph
from fmri2img.paths import REPOSITORY
from fmri2img.work import work_of

RATES = REPOSITORY / "config" / "rates.yaml"
PROFILE = REPOSITORY / "slurm" / "config.yaml"
GUESSED_SHARE = 0.25  # of the time that a job may take, where nothing is known of its work


class PlannedJob(NamedTuple):
    """One job of a study.

    what: its rule, and the folder of its method if it has one. submission: number of its submission to SLURM, shared by
    the jobs of a group; None for what runs on the login node. minutes: that it may take. unit, amount: its Work. needs:
    numbers of the jobs (their places in the list) that it waits for. benchmark: where its time and memory are measured.
    """

    what: str
    submission: int | None
    gpus: int
    threads: int
    mem_mb: int
    minutes: int
    unit: str
    amount: float
    needs: list[int]
    benchmark: str | None


def planned_jobs(configfiles: list[str]) -> list[PlannedJob]:
    """All jobs of a study, whatever of it has been made, in an order in which each follows what it needs.

    configfiles: laid over config/config.yaml. Raises UserError for a configuration that Snakemake refuses.
    """
    return read_graph(configfiles, _jobs_of)


def _jobs_of(workflow) -> list[PlannedJob]:
    study = workflow.globals["study"]
    components = yaml.safe_load(PROFILE.read_text(encoding="utf-8"))["group-components"]
    workflow.dag.update_groups()
    dag = workflow.dag
    ordered = jobs_in_order(dag)
    submissions = _submissions(dag, [job for job, _ in ordered], workflow._localrules, components)
    found = []
    for job, needs in ordered:
        wildcards = dict(job.wildcards_dict)
        script = Path(job.rule.script or job.params.get("script") or job.rule.name).stem
        found.append(
            PlannedJob(
                " ".join([job.rule.name, *_folder(study, wildcards)]),
                submissions.get(job),
                int(job.resources.get("gpu", 0)),
                job.threads,
                int(job.resources.get("mem_mb", 0)),
                int(job.resources.get("runtime", 0)),
                *work_of(script, study, wildcards),
                needs,
                str(job.benchmark) if job.benchmark else None,
            )
        )
    return found


def _submissions(dag, ordered: list, local: set[str], components: dict[str, int]) -> dict[Any, int]:
    """Job -> number of its submission. components: group -> how many of its connected sets of jobs share one."""
    found: dict[Any, int] = {}
    of_group: dict[Any, int] = {}
    sets: dict[str, int] = {}
    numbers = itertools.count()
    shared: dict[tuple[str, int], int] = {}
    for job in ordered:
        group = dag.get_job_group(job)
        if group is None:
            if job.rule.name not in local:
                found[job] = next(numbers)
            continue
        if group not in of_group:
            place = sets[group.groupid] = sets.get(group.groupid, -1) + 1
            key = group.groupid, place // components.get(group.groupid, 1)
            if key not in shared:
                shared[key] = next(numbers)
            of_group[group] = shared[key]
        found[job] = of_group[group]
    return found


def _folder(study, wildcards: dict[str, str]) -> list[str]:
    name = wildcards.get("decoder") or wildcards.get("method")
    entry = study.decoders.get(name) or study.registries["methods"].get(name, {})
    return [entry["folder"]] if "folder" in entry else []


class Measured(NamedTuple):
    """rates: unit -> seconds; peaks: what -> MB of the largest job."""

    rates: dict[str, float]
    peaks: dict[str, float]


def measured_rates(results: Iterable[Path]) -> Measured:
    """Rates from the benchmark files of studies that have run. results: folders of studies, results/<study>."""
    rows = []
    for folder in results:
        if (folder / "config.yaml").is_file() and (folder / "benchmarks").is_dir():
            for job in planned_jobs([str(folder / "config.yaml")]):
                if job.benchmark and Path(job.benchmark).is_file():
                    table = pd.read_csv(job.benchmark, sep="\t", na_values="-")
                    rows.append((job.what, job.unit, job.amount, table["s"].mean(), table["max_rss"].max()))
    table = pd.DataFrame(rows, columns=["what", "unit", "amount", "seconds", "mb"])
    sums = table.groupby("unit")[["seconds", "amount"]].sum()
    rates = (sums["seconds"] / sums["amount"]).to_dict()
    return Measured(rates, table.groupby("what")["mb"].max().dropna().to_dict())


def assumed_rates() -> dict[str, float]:
    return yaml.safe_load(RATES.read_text(encoding="utf-8"))


def plan(jobs: list[PlannedJob], measured: Measured) -> pd.DataFrame:
    """One row for each job: its fields, seconds, and source of them (measured, assumed or guessed)."""
    table, assumed = pd.DataFrame(jobs), assumed_rates()
    seconds, sources = [], []
    for job in jobs:
        if job.unit in measured.rates:
            rate, source = measured.rates[job.unit], "measured"
        elif job.unit in assumed:
            rate, source = assumed[job.unit], "assumed"
        elif job.unit.endswith(": job"):
            rate, source = assumed["default"], "assumed"
        else:
            rate, source = GUESSED_SHARE * 60 * job.minutes / job.amount, "guessed"
        seconds.append(rate * job.amount)
        sources.append(source)
    return table.assign(seconds=seconds, source=sources)


def by_rule(table: pd.DataFrame, peaks: dict[str, float]) -> pd.DataFrame:
    """One row for each rule and method folder, in the order of the data flow.

    what; jobs; submissions (of which it has the only or the first jobs); gpu_hours; cpu_hours of jobs without a GPU;
    longest (hours); gb, that its largest job may use; peak_gb, measured, or NaN; source.
    """
    first = ~table["submission"].duplicated() & table["submission"].notna()
    hours = table["seconds"] / 3600
    table = table.assign(
        first=first,
        gpu_hours=hours * table["gpus"],
        cpu_hours=hours * table["threads"] * (table["gpus"] == 0),
        hours=hours,
    )
    found = table.groupby("what", sort=False).agg(
        jobs=("what", "size"),
        submissions=("first", "sum"),
        gpu_hours=("gpu_hours", "sum"),
        cpu_hours=("cpu_hours", "sum"),
        longest=("hours", "max"),
        gb=("mem_mb", lambda values: values.max() / 1000),
        source=("source", lambda values: " and ".join(sorted(set(values)))),
    )
    found["peak_gb"] = found.index.map(lambda what: peaks.get(what, float("nan")) / 1000)
    return found.reset_index()


def longest_chain(table: pd.DataFrame) -> tuple[list[str], float]:
    """The submissions that wait for each other and take longest together: what each does, and their hours.

    The jobs of a submission run one after the other.
    """
    node = [f"s{s:.0f}" if s == s else f"j{number}" for number, s in enumerate(table["submission"])]
    seconds: dict[str, float] = {}
    names: dict[str, str] = {}
    needs: dict[str, set[str]] = {}
    for number, row in enumerate(table.itertuples()):
        own = node[number]
        seconds[own] = seconds.get(own, 0) + row.seconds
        names.setdefault(own, row.what)
        needs.setdefault(own, set()).update(node[other] for other in row.needs if node[other] != own)
    ends: dict[str, tuple[float, str | None]] = {}

    def end(start: str) -> float:
        waiting = [start]
        while waiting:
            one = waiting[-1]
            missing = [other for other in needs[one] if other not in ends]
            if missing:
                waiting += missing
                continue
            last = max(sorted(needs[one]), key=lambda other: ends[other][0], default=None)
            ends[one] = (seconds[one] + (ends[last][0] if last else 0), last)
            waiting.pop()
        return ends[start][0]

    current: str | None = max(needs, key=end)
    hours, chain = ends[current][0] / 3600, []
    while current:
        chain.append(names[current])
        current = ends[current][1]
    return chain[::-1], hours
