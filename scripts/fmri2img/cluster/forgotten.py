"""Jobs that Slurm has forgotten.

Slurm drops a job some minutes after its end (MinJobAge). Snakemake's plugin takes a job that squeue does not list for
one that is not listed yet. So it would wait for ever for those that ended while it could not look, for example because
the login node slept.
"""

import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from snakemake.io import is_flagged

LOOKS = 2  # one after the other, at which Slurm does not know a job
SQUEUE = ("squeue", "--me", "--noheader", "--states=all", "--format=%i")


def watch(executor: type) -> None:
    """Have the executor of Snakemake's plugin report a job that Slurm has forgotten, by whether its files are there."""
    check, missed = executor.check_active_jobs, Counter()

    async def checked(self: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
        waiting = [found async for found in check(self, active_jobs)]
        known = _known() if waiting else set()
        for found in waiting:
            number = str(found.external_jobid).partition("_")[0]
            missed[number] = 0 if known is None or number in known else missed[number] + 1
            if missed[number] < LOOKS:
                yield found
            elif all(map(Path.exists, outputs(found.job))):
                self.report_job_success(found)
            else:
                self.report_job_error(
                    found,
                    msg=f"SLURM-job '{number}' ended while Snakemake did not look, and has not made all of its files",
                )

    executor.check_active_jobs = checked


def outputs(job: Any) -> Iterator[Path]:
    """The files of a job or a group of jobs, without those that a group removes itself."""
    for member in job.jobs if job.is_group() else [job]:
        yield from (Path(file) for file in member.output if not is_flagged(file, "temp"))


def _known() -> set[str] | None:
    """Numbers of all jobs of ours that Slurm knows, also of ended ones; None where it does not answer."""
    try:
        printed = subprocess.run(SQUEUE, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return {line.strip().partition("_")[0] for line in printed.splitlines()}
