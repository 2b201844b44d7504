"""The end of a run in which jobs failed: why they did, what cannot be made for it, and a report of the rest.

Snakemake's --keep-going completes all that does not depend on a failed job, but tables and page depend on all methods.
So a second run of the same command makes them from what there is (see `gaps`).
"""

import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakemake.logging import logger

from fmri2img.artifacts.cells import ALL
from fmri2img.errors import UserError
from fmri2img.gaps import AXES, VARIABLE, Failure, Gaps

SLURM_STATE = re.compile(r"SLURM status is: '(\w+)|SLURM-job '\d+' (was cancelled|failed due to a node failure)")
STATES = {
    "CANCELLED": "the Slurm job was cancelled", "TIMEOUT": "the Slurm job reached its time limit",
    "OUT_OF_MEMORY": "the Slurm job ran out of memory", "NODE_FAIL": "the node of the Slurm job failed",
    "PREEMPTED": "the Slurm job was preempted",
}  # fmt: skip
TAIL = 20_000  # bytes at the end of a log in which an error is looked for
LONGEST = 400  # characters of a reason


@dataclass
class Watch(logging.Handler):
    """Keeps what Snakemake says of each job that fails: its executor's message and the executor's own log."""

    started: float = field(default_factory=time.time)
    said: dict[int, tuple[str, list[str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    __hash__ = logging.Handler.__hash__

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) is not None and hasattr(record, "rule_msg") and hasattr(record, "jobid"):
            self.said[record.jobid] = (str(record.rule_msg or ""), list(map(str, getattr(record, "log", None) or [])))


def report_the_rest(workflow: Any, gaps: Gaps, watched: Watch, file: Path, scored: Callable[[], list[str]]) -> None:
    """At the end of a run in which jobs failed: write `gaps` to a file, and score and report what there is.

    file: where the gaps are kept, below the study's logs; scored: the methods that can be scored, given the gaps. Does
    nothing where the run was stopped, without --keep-going, and where no job is left that could be made.
    """
    scheduler, targets = workflow.scheduler, set(workflow.dag_settings.targets)
    stopped = scheduler._user_kill or scheduler.running or scheduler.open_jobs  # by the user, or at the first failure
    by_file = targets - {rule.name for rule in workflow.rules}
    if not scheduler.failed or stopped or by_file or not Path(sys.argv[0]).name.startswith(("snakemake", "__main__")):
        return
    register(gaps, workflow, watched)
    left = [job for job in workflow.dag.needrun_jobs() if job.output and not gaps.causes(map(str, job.output))]
    gaps.save(file)
    if os.environ.get(VARIABLE) or not left:
        return
    if not scored():
        logger.error("Nothing can be scored, so there is no report: every prediction needs something that failed.")
        return
    log = file.with_name("report_the_rest.log")
    logger.error(f"Scoring and reporting the rest, without what failed; its log is {log}.")
    complete, known = False, len(gaps.failures)
    while not complete:
        complete = _run_again(workflow.rundir, file, log) == 0
        found = len(Gaps.read(file).failures)
        if found == known:
            break
        known = found
    for failure in Gaps.read(file).failures:
        logger.error(f"Missing: {failure}")
    if not complete:
        logger.error(f"The rest could not be reported; see {log}.")


def _run_again(directory: str, gaps: Path, log: Path) -> int:
    """Run the same command with the gaps of `gaps`; its output goes to `log`. Returns its exit status."""
    # The first process still holds the lock of the working directory.
    command = [sys.executable, "-m", "snakemake", "--nolock", *without_forcing(sys.argv[1:])]
    environment = os.environ | {VARIABLE: str(gaps.resolve())}
    with open(log, "w", encoding="utf-8") as output:
        return subprocess.run(command, cwd=directory, env=environment, stdout=output, stderr=output).returncode


def without_forcing(arguments: list[str]) -> list[str]:
    """Snakemake's arguments without those that force jobs to run: --force, --forceall, --forcerun and their targets."""
    kept, dropping = [], False
    for argument in arguments:
        if argument.startswith("-"):
            dropping = argument.partition("=")[0] in ("-R", "--forcerun")
            if dropping or argument in ("-f", "--force", "-F", "--forceall"):
                continue
        if not dropping:
            kept.append(argument)
    return kept


def check_again(workflow: Any, gaps: Gaps) -> None:
    """Raise UserError where a run with gaps would run more than what was missing before it.

    That is a job whose files cannot be made, because a rule does not leave them out, and all that the command forces.
    """
    settings = workflow.dag_settings
    if gaps.failures and (settings.forceall or settings.forcetargets or settings.forcerun):
        raise UserError("the command forces jobs that have run; repeat it without forcing any to report what there is")
    for job in workflow.dag.needrun_jobs():
        if causes := gaps.causes(map(str, job.output)):
            raise UserError(f"{job.rule.name} needs {causes[0].job}, which failed, and cannot do without it")


def watch() -> Watch:
    """Listen to what Snakemake reports from now on."""
    found = Watch()
    logger.addHandler(found)
    return found


def reason(logs: Iterable[str | Path], said: str, since: float) -> str:
    """Why a job failed, in one line: what its log ends with, else what Snakemake or Slurm said of it.

    logs: of the job; said: the executor's message; since: when the run started (seconds since 1970). A log that was not
    written to since then is of an earlier run and tells nothing.
    """
    texts = [_last_error(path) for path in map(Path, logs) if path.is_file() and path.stat().st_mtime >= since]
    told = next(filter(None, texts), "")
    found = SLURM_STATE.search(said)
    state = STATES.get(next(filter(None, found.groups())), "") if found else ""
    if told and state:
        text = f"{told} ({state})"
    elif told or state:
        text = told or state
    else:
        text = "it ended without an error message, as a job does that is killed, for example for its memory"
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _last_error(log: Path) -> str:
    """The last line of a log that tells an error: "Error: ...", or the end of a traceback; "" if there is none."""
    with open(log, "rb") as handle:
        handle.seek(max(0, log.stat().st_size - TAIL))
        lines = handle.read().decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
        if found := re.match(r"(?:Error|(Interrupted))(?: \(process \d+\))?: (.+)", line):
            return f"interrupted: {found[2]}" if found[1] else found[2]
        if re.match(r"[\w.]*(Error|Exception|Interrupt)\b(: .*)?$", line):
            return line
    return ""


def register(gaps: Gaps, workflow: Any, watched: Watch) -> None:
    """Add the jobs of a finished run that failed to `gaps`, with all files that cannot be made for them."""
    dag = workflow.dag
    for failed in sorted(workflow.scheduler.failed, key=lambda job: job.jobid):
        members = list(failed.jobs) if failed.is_group() else [failed]
        reasons = {job: _failure(job, watched) for job in members}
        # Of a group, the job whose own log tells an error is the one that failed.
        first = min(members, key=lambda job: (not _logs_told(job, watched), job.jobid))
        gaps.add(reasons[first], dict.fromkeys(map(str, _lost(dag, members))))


def _logs_told(job: Any, watched: Watch) -> bool:
    return any(_last_error(Path(log)) for log in job.log if _is_of_this_run(Path(log), watched.started))


def _is_of_this_run(log: Path, since: float) -> bool:
    return log.is_file() and log.stat().st_mtime >= since


def _failure(job: Any, watched: Watch) -> Failure:
    said, logs = watched.said.get(job.jobid, ("", []))
    own = [str(log) for log in job.log]
    executors = [log for log in logs if log not in own]
    shown = next((log for log in [*own, *executors] if Path(log).is_file() and Path(log).stat().st_size), "")
    axes = {name: AXES.get(name, "{}").format(value) for name, value in job.wildcards_dict.items() if value != ALL}
    name = f"{job.rule.name} ({', '.join(axes.values())})" if axes else job.rule.name
    return Failure(job.rule.name, name, reason(own, said, watched.started), shown)


def _lost(dag: Any, jobs: list[Any]) -> Iterator[str]:
    """The outputs of jobs, and of those that depend on them and cannot do without what they make.

    A rule whose parameter `may_lack` names some of its inputs can be made without files of these.
    """
    waiting, seen = list(jobs), set(jobs)
    while waiting:
        job = waiting.pop()
        yield from map(str, job.output)
        for other, files in dag.depending[job].items():
            named = other.params.get("may_lack", [])
            spared = {str(file) for name in named for file in _files(other.input.get(name))}
            if other not in seen and other.output and not set(map(str, files)) <= spared:
                seen.add(other)
                waiting.append(other)


def _files(found: Any) -> list[str]:
    return [found] if isinstance(found, str) else list(found or [])
