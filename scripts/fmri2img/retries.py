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

FAILURES = (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR)
LAST_WORDS = re.compile(r"^(Error|Interrupted)(?: \(process \d+\))?: (.+)$", re.M)
STARTED = re.compile(r"^training from step (\d+)", re.M)
STOPPED = re.compile(r"after step (\d+)")
STATE = re.compile(r"SLURM status is: '(\w+)")
STATES = {
    "CANCELLED": "the Slurm job was cancelled",
    "TIMEOUT": "the Slurm job reached its time limit",
    "OUT_OF_MEMORY": "the Slurm job ran out of memory",
    "NODE_FAIL": "the node of the Slurm job failed",
}
MEMORY = re.compile(r"exceeded .*memory limit|oom[-_ ]kill|out[-_ ]of[-_ ]memory", re.I)
TAIL = 20_000  # bytes at the end of a log that are read
LONGEST = 400  # characters of a reason


class Verdict(NamedTuple):
    """Why a job failed, whether it is tried again, and whether that counts as one of its tries."""

    reason: str
    again: bool = True
    counts: bool = True


def verdict(state: str, words: str, executor: str = "") -> Verdict:
    """Judge a failure. state: of the Slurm job, "" without one; words: the end of the job's own logs; executor: of
    Slurm's."""
    found = LAST_WORDS.findall(words)
    kind, message = found[-1] if found else ("", "")
    if state == "CANCELLED":
        return Verdict(STATES[state], again=False)
    if kind == "Error":
        return Verdict(message, again=False)
    if kind == "Interrupted":
        started, stopped = STARTED.findall(words), STOPPED.search(message)
        stuck = bool(started and stopped) and int(started[-1]) >= int(stopped[1])
        return Verdict(message, counts=stuck)
    if MEMORY.search(executor):
        state = "OUT_OF_MEMORY"
    trace = re.findall(r"^[\w.]*(?:Error|Exception)\b.*$", words, re.M)
    parts = [STATES.get(state, ""), trace[-1] if trace else ""]
    return Verdict("; ".join(filter(None, parts)) or "it ended without an error message")


class Retries(logging.Filter):
    """Judges each failure that Snakemake's logger reports; `failure` of the record says it in a few lines."""

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
        number = record.external_jobid if job.is_group() else record.aux.get("external_jobid")
        if number is None and slurm_logs == [] and "sbatch failed" in str(getattr(record, "rule_msg", "")):
            found = re.search(r"error message was '(.*?)'", str(record.rule_msg), re.S)
            judged = Verdict(f"sbatch refused it: {' '.join(found[1].split()) if found else ''}")
        else:
            state = _state(str(getattr(record, "rule_msg", "")), number)
            judged = verdict(state, self._ends(own), self._ends(slurm_logs))
        tries, limit = job.attempt, 1 + job.restart_times
        if not judged.again:
            job.attempt = max(job.attempt, limit)  # no try is left
        elif not judged.counts:
            job.attempt -= 1
        last = judged.again and judged.counts and tries >= limit
        return _lines(members, judged, tries, limit, last, [log for log in own if _is_text(log)], slurm_logs, number)

    def _ends(self, logs: list[str]) -> str:
        """The ends of those logs that were written in this run."""
        written = [Path(log) for log in logs if _is_text(log) and Path(log).stat().st_mtime >= self._began]
        return "\n".join(map(_end, written))


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
    reason = " ".join(judged.reason.split())
    reason = reason if len(reason) <= LONGEST else f"{reason[: LONGEST - 3]}..."
    if not judged.counts:
        lines = [f"{names[0]}{more} stopped: {reason}", "    It goes on in a new job."]
    else:
        of = f" (try {tries} of {limit})" if limit > 1 else ""
        then = "It is tried again." if judged.again and not last else "It is not tried again."
        lines = [f"{names[0]}{more} failed{of}: {reason}", f"    {then}"]
    lines += [f"    log: {os.path.relpath(log)}" for log in logs]
    lines += [f"    Slurm job {number}: {os.path.relpath(log)}" for log in slurm_logs]
    return "\n".join(lines)


def _is_text(log: str) -> bool:
    return os.path.isfile(log) and os.path.getsize(log) > 0


def _end(log: Path) -> str:
    with open(log, "rb") as handle:
        handle.seek(max(0, log.stat().st_size - TAIL))
        return handle.read().decode("utf-8", "replace")


class Terminal(logging.Formatter):
    """What the terminal shows of a run on a cluster: failures in a few lines, and once a minute how far it is.

    Everything else, such as each job's files and resources, is in Snakemake's own log (.snakemake/log).
    """

    EVERY = 60.0  # seconds between two lines of progress
    HIDDEN = (
        LogEvent.WORKFLOW_STARTED,
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
