"""Whether what a study made is what was written, and what must be made again where it is not."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from fmri2img import integrity
from fmri2img.datasets import lockfile
from fmri2img.errors import UserError
from fmri2img.job_graph import jobs_in_order


class Made(NamedTuple):
    """One job. what: its rule and wildcards; outputs: files and folders; needs: places in the list of jobs."""

    rule: str
    what: str
    outputs: list[str]
    needs: list[int]


class Damage(NamedTuple):
    """A damaged output. problems: a line for each of its files; job: place of the job that made it."""

    output: str
    problems: list[str]
    job: int


class Verified(NamedTuple):
    """compared: outputs that equal their record, or do not; unrecorded: those without one; damaged: what differs."""

    compared: int
    unrecorded: list[str]
    damaged: list[Damage]


def jobs_of(workflow) -> list[Made]:
    """All jobs of a study in an order in which each follows what it needs, of Snakemake's workflow."""
    return [
        Made(
            job.rule.name,
            " ".join([job.rule.name, *(f"{name}={value}" for name, value in job.wildcards_dict.items())]),
            [str(path) for path in job.output],
            needs,
        )
        for job, needs in jobs_in_order(workflow.dag)
    ]


def verify(jobs: list[Made]) -> Verified:
    """Compare every output that is there with its record. Files are read by as many threads as there are cores."""
    outputs = [(path, place) for place, job in enumerate(jobs) for path in job.outputs if Path(path).exists()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(_problems, (Path(path) for path, _ in outputs)))
    compared = list(zip(outputs, found, strict=True))
    return Verified(
        sum(problems is not None for problems in found),
        [path for (path, _), problems in compared if problems is None],
        [Damage(path, problems, place) for (path, place), problems in compared if problems],
    )


def _problems(output: Path) -> list[str] | None:
    """Differences from the record; None without one."""
    try:
        return list(integrity.damage(output))
    except FileNotFoundError:
        return _problems_of_download(output)
    except UserError as error:
        return [str(error)]


def _problems_of_download(path: Path) -> list[str] | None:
    """Differences from the lock of a downloaded file; None of a file without one."""
    root = next((folder for folder in path.parents if (folder / ".lock").is_dir()), None)
    key = path.relative_to(root).as_posix() if root else ""
    try:
        if not root or not lockfile.read(root, key):
            return None
        lockfile.verify(root, key)
    except UserError as error:
        return [str(error)]
    return []


def made_from(jobs: list[Made], places: Iterable[int]) -> list[int]:
    """Places of the jobs that need, directly or through others, what these ones made; in order, these not included."""
    first, reached = set(places), set(places)
    for place, job in enumerate(jobs):
        if reached.intersection(job.needs):
            reached.add(place)
    return sorted(reached - first)


def report(jobs: list[Made], verified: Verified, command: str) -> Iterator[str]:
    """What was found, a line each. command: that runs the study."""
    for path in verified.unrecorded:
        yield f"{path}: has no record of its checksum, and was not compared"
    for damage in verified.damaged:
        yield from damage.problems
        later = [jobs[place] for place in made_from(jobs, [damage.job])]
        rules = ", ".join(dict.fromkeys(job.rule for job in later)) or "nothing"
        yield f"  made by: {jobs[damage.job].what}; must be rerun with it: {len(later)} jobs ({rules})"
    yield f"{verified.compared} outputs compared, {len(verified.damaged)} damaged"
    if verified.damaged:
        yield "To make them again, with all that was made from them:"
        yield f"  {command} --forcerun {' '.join(damage.output for damage in verified.damaged)}"
