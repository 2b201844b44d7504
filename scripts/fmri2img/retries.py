"""Which failed jobs are tried again, and what the terminal says of a failure.

Snakemake tries a failed job again as often as its option `retries` says, whatever made it fail. Here the reason
decides:

- bad input (a UserError: the job's log ends with a line "Error: ...") and a Slurm job that its user cancelled are
  final;
- a training that was stopped before its time limit and has made progress goes on, and that does not count as a try;
- everything else (out of memory, time limit, a lost node, a crash) is tried again, with what fmri2img.resources gives
  to the next try.

Snakemake reports each failure to its logger before it decides. So a filter of that logger sets the number of the job's
current try, from which Snakemake goes on to count.
"""

import logging
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from fmri2img import failures

FAILURES = (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR)
LAST_WORDS = re.compile(r"^(Error|Interrupted)(?: \(process \d+\))?: (.+)$", re.M)
STARTED = re.compile(r"^training from step (\d+)", re.M)
STOPPED = re.compile(r"after step (\d+)")
STATE = re.compile(r"SLURM status is: '(\w+)")


class Verdict(NamedTuple):
    """Whether a job that failed is tried again, and whether that counts as one of its tries."""

    again: bool = True
    counts: bool = True


def verdict(state: str, words: str) -> Verdict:
    """Judge a failure. state: of the Slurm job, "" without one; words: the end of the job's own logs."""
    found = LAST_WORDS.findall(words)
    kind, message = found[-1] if found else ("", "")
    if state == "CANCELLED" or kind == "Error":
        return Verdict(again=False)
    if kind == "Interrupted":
        started, stopped = STARTED.findall(words), STOPPED.search(message)
        return Verdict(counts=bool(started and stopped) and int(started[-1]) >= int(stopped[1]))
    return Verdict()


class Retries(logging.Filter):
    """Judges each failure that Snakemake's logger reports; `failure` of the record says it in a few lines, `why`
    in one."""

    def __init__(self, workflow: Any) -> None:
        super().__init__()
        self._workflow, self._began = workflow, time.time()

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "event", None) in FAILURES and not getattr(record, "indent", False):
            job = self._job(record)
            if job is not None:
                record.failure = self._judge(job, record)
        return True

    def _job(self, record: logging.LogRecord) -> Any:
        """The job, or group of jobs, of a record."""
        for job in tuple(self._workflow.scheduler.running):
            if job.is_group():
                found = job.groupid == getattr(record, "groupid", None)
            else:
                found = record.event == LogEvent.JOB_ERROR and job.jobid == record.jobid
            if found:
                return job
        return None

    def _judge(self, job: Any, record: Any) -> str:
        members = list(job.jobs) if job.is_group() else [job]
        own = [str(log) for member in members for log in member.log]
        listed = record.aux_logs if job.is_group() else record.log
        slurm_logs = [log for log in map(str, listed) if log not in own]
        said = str(getattr(record, "rule_msg", ""))
        if found := re.search(r"sbatch failed.*?error message was '(.*?)'", said, re.S):
            number, judged, why = None, Verdict(), f"sbatch refused it: {' '.join(found[1].split())}"
        else:
            number = record.external_jobid if job.is_group() else record.aux.get("external_jobid")
            state = _state(said, number)
            words = self._ends(own)
            judged = verdict(state, words)
            if judged.counts:
                why = failures.reason(own, f"{said} '{state}' {self._ends(slurm_logs)}", self._began)
            else:
                why = LAST_WORDS.findall(words)[-1][1]
        record.why = why
        tries, limit = job.attempt, 1 + job.restart_times
        if not judged.again:
            job.attempt = max(job.attempt, limit)  # no try is left
        elif not judged.counts:
            job.attempt -= 1
        last = judged.again and judged.counts and tries >= limit
        return _lines(
            members, judged, why, tries, limit, last, [log for log in own if _is_text(log)], slurm_logs, number
        )

    def _ends(self, logs: list[str]) -> str:
        """The ends of those logs that were written in this run."""
        written = [Path(log) for log in logs if _is_text(log) and Path(log).stat().st_mtime >= self._began]
        return "\n".join(map(failures.end_of, written))


def _state(message: str, number: str | None) -> str:
    """State of a Slurm job that failed, from the executor's message, else from Slurm; "" without one."""
    if number is None:
        return ""
    if found := STATE.search(message):
        return found[1]
    command = ["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={number}"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _lines(
    members: list[Any],
    judged: Verdict,
    why: str,
    tries: int,
    limit: int,
    last: bool,
    logs: list[str],
    slurm_logs: list[str],
    number: str | None,
) -> str:
    """A failure in a few lines: what failed, why, where more is written, and what happens next."""
    names = [" ".join([member.rule.name, *map(str, member.wildcards_dict.values())]) for member in members]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    if not judged.counts:
        lines = [f"{names[0]}{more} stopped: {why}", "    It goes on in a new job."]
    else:
        of = f" (try {tries} of {limit})" if limit > 1 else ""
        then = "It is tried again." if judged.again and not last else "It is not tried again."
        lines = [f"{names[0]}{more} failed{of}: {why}", f"    {then}"]
    lines += [f"    log: {os.path.relpath(log)}" for log in logs]
    lines += [f"    Slurm job {number}: {os.path.relpath(log)}" for log in slurm_logs]
    return "\n".join(lines)


def _is_text(log: str) -> bool:
    return os.path.isfile(log) and os.path.getsize(log) > 0


class Terminal(logging.Formatter):
    """What the terminal shows of a run on a cluster: failures in a few lines, and once a minute how far it is.

    Everything else, such as each job's files and resources, is in Snakemake's own log (.snakemake/log).
    """

    EVERY = 60.0  # seconds between two lines of progress
    HIDDEN = (
        LogEvent.JOB_INFO,
        LogEvent.GROUP_INFO,
        LogEvent.JOB_STARTED,
        LogEvent.JOB_FINISHED,
        LogEvent.SHELLCMD,
        LogEvent.RESOURCES_INFO,
    )
    NOISE = (
        "Select jobs to execute",
        "Trying to restart job",
        "Removing output files of failed job",
        "No SLURM account given",
        "No account was given",
        "Unable to guess SLURM account",
    )
    SUBMITTED = re.compile(r"Job [\w-]+ has been submitted")
    COMMAND = re.compile(r"(RuleException:\s*)?CalledProcessError in file")

    def __init__(self, workflow: Any, inner: logging.Formatter | None) -> None:
        super().__init__()
        self._workflow, self._inner = workflow, inner or logging.Formatter()
        self._shown = time.monotonic()

    def shows(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown; a filter of the handler."""
        event = getattr(record, "event", None)
        if event == LogEvent.WORKFLOW_STARTED:  # when it is not known yet where jobs will run
            return False
        if self._workflow.dryrun or not self._workflow.non_local_exec:
            return True
        if event in FAILURES:
            return hasattr(record, "failure")
        if event == LogEvent.PROGRESS:
            due = time.monotonic() - self._shown >= self.EVERY or record.done == record.total
            self._shown = time.monotonic() if due else self._shown
            return due
        message = str(record.msg or "").strip()
        noise = message.startswith(self.NOISE) or self.SUBMITTED.match(message) or self.COMMAND.match(message)
        return event not in self.HIDDEN and not noise

    def format(self, record: logging.LogRecord) -> str:
        if not self._workflow.non_local_exec:
            return self._inner.format(record)
        text = getattr(record, "failure", None) or self._inner.format(record)
        event = getattr(record, "event", None)
        return f"[{time.strftime('%H:%M:%S')}] {text}" if event in (*FAILURES, LogEvent.PROGRESS) else text


def watch(workflow: Any) -> None:
    """Judge the failures of this run; on a cluster, show them in a few lines. Jobs of the run are left alone."""
    if not workflow.is_main_process:
        return
    logger.addFilter(Retries(workflow))
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler":
            terminal = Terminal(workflow, handler.formatter)
            handler.setFormatter(terminal)
            handler.addFilter(terminal.shows)
