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
from dataclasses import replace
from pathlib import Path
from typing import Any

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from fmri2img.artifacts.cells import ALL
from fmri2img.errors import UserError
from fmri2img.gaps import VARIABLE, Failure, Gaps, named

STATES = {  # what Snakemake or Slurm's own log says of a job, and what it means
    r"OUT_OF_MEMORY|oom.?kill|[Ee]xceeded (job|step) memory limit": "the Slurm job ran out of memory",
    r"'TIMEOUT|DUE TO TIME LIMIT": "the Slurm job reached its time limit",
    r"'NODE_FAIL|DUE TO NODE FAILURE": "the node of the Slurm job failed",
    r"'PREEMPTED|DUE TO PREEMPTION": "the Slurm job was preempted",
    r"'CANCELLED|CANCELLED AT": "the Slurm job was cancelled",
}
TAIL = 20_000  # bytes at the end of a log in which an error is looked for
LONGEST = 400  # characters of a reason
SHOWN = 10  # reasons that the terminal lists


class Watch(logging.Handler):
    """Keeps what Snakemake says of each job, or group of jobs, that fails: its executor's message, and logs.

    started: seconds since 1970. said, why (the reason where it has been judged): by jobid or name of the group.
    """

    def __init__(self) -> None:
        super().__init__()
        self.started = time.time()
        self.said: dict[int | str, tuple[str, list[str]]] = {}
        self.why: dict[int | str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        found = vars(record)
        if "why" in found:
            self.why[found["groupid"] if found["event"] == LogEvent.GROUP_ERROR else found["jobid"]] = found["why"]
        if found.get("event") == LogEvent.JOB_ERROR:
            self.said[found["jobid"]] = (found["rule_msg"] or "", list(map(str, found["log"])))
        elif found.get("event") == LogEvent.GROUP_ERROR:
            self.said[found["groupid"]] = ("", list(map(str, found["aux_logs"])))


def report_the_rest(
    workflow: Any, gaps: Gaps, watched: Watch, file: str | Path, scored: Callable[[], list[str]], page: str
) -> None:
    """At the end of a run in which jobs failed: write `gaps` to a file, and score and report what there is.

    file: where the gaps are kept, below the study's logs; scored: the methods that can be scored, given the gaps; page:
    of the study. Does nothing where the run was stopped, by the user or without --keep-going, and where no job is left
    that could be made.
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
    log = Path(file).with_name("report_the_rest.log")
    logger.error(f"Scoring and reporting the rest, without what failed; its log is {log}.")
    complete, known = False, len(gaps.failures)
    while not complete:
        complete = _run_again(workflow.rundir, file, log) == 0
        found = len(Gaps.read(file).failures)
        if found == known:
            break
        known = found
    for line in summary(Gaps.read(file).failures, file):
        logger.error(line)
    reported = any(page in map(str, job.output) for job in left)
    made = f"Reported without it: {page}" if reported else "The rest was made without it."
    logger.error(made if complete else f"The rest could not be reported; see {log}.")


def summary(failures: list[Failure], file: str | Path) -> list[str]:
    """A line for each reason for which jobs of a rule failed, SHOWN at most. file: that has all of them."""
    found: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        found.setdefault((failure.rule, failure.reason), []).append(failure)
    lines = []
    for alike in list(found.values())[:SHOWN]:
        lines.append(f"Missing: {alike[0]}" + (f", and {len(alike) - 1} more alike" if len(alike) > 1 else ""))
    return [*lines, f"and {len(found) - SHOWN} more, in {file}"] if len(found) > SHOWN else lines


def _run_again(directory: str, gaps: str | Path, log: Path) -> int:
    """Run the same command with the gaps of `gaps`; its output goes to `log`. Returns its exit status."""
    # The first process still holds the lock of the working directory.
    command = [sys.executable, "-m", "snakemake", "--nolock", *without_forcing(sys.argv[1:])]
    environment = os.environ | {VARIABLE: str(Path(gaps).resolve())}
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


def begin(workflow: Any, gaps: Gaps, file: str | Path) -> None:
    """Before the first job: remove what an earlier run left in `file`, or check that this run, with gaps, is sound.

    Raises UserError where it would run a job whose files cannot be made, as a rule does not leave them out, or what
    the command forces.
    """
    if not gaps.failures:
        Path(file).unlink(missing_ok=True)
        return
    settings = workflow.dag_settings
    if settings.forceall or settings.forcetargets or settings.forcerun:
        raise UserError("the command forces jobs that have run; repeat it without forcing any to report what there is")
    for job in workflow.dag.needrun_jobs():
        if causes := gaps.causes(map(str, job.output)):
            raise UserError(f"{job.rule.name} needs {causes[0].job}, which failed, and cannot do without it")


def watch() -> Watch:
    """Keep what Snakemake reports of failed jobs from now on."""
    found = Watch()
    logger.addHandler(found)
    return found


def reason(logs: Iterable[str | Path], said: str, since: float) -> str:
    """Why a job failed, in one line: what its log ends with, and what Snakemake or Slurm said of it.

    logs: of the job; said: the executor's message and the end of its log; since: when the run started (seconds since
    1970). A log that was not written to since then is of an earlier run and tells nothing.
    """
    texts = [_last_error(path) for path in map(Path, logs) if _is_of_this_run(path, since)]
    logged = next(filter(None, texts), "")
    state = next((meaning for pattern, meaning in STATES.items() if re.search(pattern, said)), "")
    if logged and state:
        text = f"{logged} ({state})"
    elif logged or state:
        text = logged or state
    else:
        text = "it ended without an error message, as a job does that is killed, for example for its memory"
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def end_of(log: Path) -> str:
    """The end of a log."""
    with open(log, "rb") as handle:
        handle.seek(max(0, log.stat().st_size - TAIL))
        return handle.read().decode("utf-8", "replace")


def _last_error(log: Path) -> str:
    """The last line of a log that tells an error, as fmri2img.known_errors or a traceback does; "" without one."""
    for line in reversed(end_of(log).splitlines()):
        if found := re.match(r"(?:[Ee]rror|Failed|(Interrupted))(?: \(process \d+\))?: (.+)", line):
            return f"interrupted: {found[2]}" if found[1] else found[2]
        if re.match(r"[\w.]*(Error|Exception|Interrupt)\b(: .*)?$", line):
            return line
    return ""


def register(gaps: Gaps, workflow: Any, watched: Watch) -> None:
    """Add the jobs of a finished run that failed to `gaps`, with all files that cannot be made for them."""
    groups = {}
    for failed in workflow.scheduler.failed:
        members = sorted(failed.jobs if failed.is_group() else [failed], key=lambda job: job.jobid)
        groups[members[0].jobid] = members, failed.groupid if failed.is_group() else members[0].jobid
    for _, (members, name) in sorted(groups.items()):
        # Of a group, the first job whose own log tells an error is the one that failed.
        logs = [(job, Path(log)) for job in members for log in job.log]
        telling = (job for job, log in logs if _is_of_this_run(log, watched.started) and _last_error(log))
        failure = _failure(next(telling, members[0]), *watched.said.get(name, ("", [])), watched.started)
        failure = replace(failure, reason=watched.why.get(name, failure.reason))
        gaps.add(failure, dict.fromkeys(_lost(workflow.dag, members)))


def _is_of_this_run(log: Path, since: float) -> bool:
    return log.is_file() and log.stat().st_mtime >= since


def _failure(job: Any, said: str, logs: list[str], since: float) -> Failure:
    own = [str(log) for log in job.log]
    executors = [log for log in logs if log not in own]
    said += "".join(end_of(Path(log)) for log in executors if _is_of_this_run(Path(log), since))
    there = [os.path.relpath(log) for log in [*own, *executors] if Path(log).is_file()]
    shown = next((log for log in there if Path(log).stat().st_size), next(iter(there), ""))
    axes = [named(axis, value) for axis, value in job.wildcards_dict.items() if value != ALL]
    name = f"{job.rule.name} ({', '.join(axes)})" if axes else job.rule.name
    return Failure(job.rule.name, name, reason(own, said, since), shown)


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
