"""What Snakemake decides by whether a job must run again, without running anything."""

import copy
from collections.abc import Collection
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

from fmri2img.job_graph import graph_of


class Identity(NamedTuple):
    """What Snakemake compares of a job: a *set* of values of parameters, without their names; inputs without roles."""

    inputs: tuple[str, ...]
    parameters: frozenset[str]
    command: str | None


def workflow_of(config: dict, folder: Path, targets: Collection[str] = ("all",)) -> Any:
    """Snakemake's workflow of a study, with its graph of all jobs. folder: the working directory."""
    with chdir(folder):
        return graph_of(targets, config=copy.deepcopy(config))


def jobs_of(workflow: Any) -> dict[tuple[str, ...], Identity]:
    """(rule, outputs...) -> identity of each job."""
    return {
        (job.rule.name, *sorted(map(str, job.output))): Identity(
            tuple(sorted(map(str, job.input))), frozenset(map(repr, job.non_derived_params)), job.rule.shellcmd
        )
        for job in workflow.dag.jobs
        if not job.rule.norun
    }


def rerun(before: dict[tuple[str, ...], Identity], after: dict[tuple[str, ...], Identity]) -> set[str]:
    """Rules of jobs of a finished study `before` that `after` runs again, or for the first time.

    Jobs that only run since an input is made again are not among them.
    """
    return {job[0] for job, identity in after.items() if before.get(job) != identity}
