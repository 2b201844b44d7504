"""Runs of studies in a working directory: one of a study at a time, and nothing that a killed one left stops the next.

    .snakemake/runs/all              locked by every run, together with the others
    .snakemake/runs/study.<name>     locked by the run of a study; says which process it is

These locks end with the process that holds them. Snakemake's own are files, which a killed run leaves.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from snakemake.exceptions import LockException, WorkflowError
from snakemake.logging import logger

from fmri2img import liveness
from fmri2img.locks import lock
from fmri2img.paths import REPOSITORY

FOLDER = Path(".snakemake/runs")
STUDY = "study."
SNAKEMAKES = Path(".snakemake/locks")

_held: list[IO] = []  # files that stay open, and locked, as long as this process lives


def snakemake(arguments: list[str], **options: Any) -> subprocess.Popen:
    """Start Snakemake, which ends with this process, and that with `make`, if it was started by it.

    arguments: of Snakemake's command; options: of subprocess.Popen.
    """
    if "MAKELEVEL" in os.environ:
        liveness.follow(leader=liveness.record(os.getppid()))
    liveness.lead()
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), *arguments]
    return subprocess.Popen(command, **options)


def status(process: subprocess.Popen) -> int:
    """Exit status of a Snakemake that `snakemake` started, once it has ended, also after Ctrl-C, which both get."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def guard(workflow: Any, study: str) -> None:
    """Have every command that makes files of a study begin as `begin` says, and make again what was not completed."""
    if not workflow.is_main_process:
        return
    liveness.follow(signal.SIGKILL)
    prepare = workflow._prepare_dag  # called after the command's options are known and before anything is planned

    def prepared(*arguments: Any, nolock: bool = False, **options: Any) -> None:
        workflow.dag_settings.force_incomplete = True
        if workflow.executor_plugin is not None and not workflow.dryrun:
            if not nolock:
                begin(study)
            if workflow.local_exec:
                liveness.lead()
        prepare(*arguments, nolock=nolock, **options)
        if not nolock:
            workflow.persistence.lock = _explained(workflow.persistence.lock)

    workflow._prepare_dag = prepared


def _explained(lock_files: Callable) -> Callable:
    """Snakemake's lock of the files of a run, which names the other run that has some of them."""

    @contextmanager
    def explained() -> Iterator[None]:
        try:
            with lock_files():
                yield
        except LockException:
            if not (others := others_at_work()):
                raise
            raise WorkflowError(
                f"{' and '.join(others)} at work here writes files that this run needs; start again when it has ended"
            ) from None

    return explained


def others_at_work() -> list[str]:
    """The runs of other studies in this directory, in words."""
    found = []
    for path in sorted(FOLDER.glob(f"{STUDY}*")):
        with open(path, "r+") as file:
            if str(path) not in {held.name for held in _held} and lock(file) is False:
                found.append(f"the run of study {path.name.removeprefix(STUDY)} ({file.read()})")
    return found


def begin(study: str) -> None:
    """Wait until no other run of the study is at work in this directory; remove the locks of dead Snakemakes."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    own, everyone = open(FOLDER / f"{STUDY}{study}", "a+"), open(FOLDER / "all", "a+")  # noqa: SIM115
    if lock(own) is False:
        own.seek(0)
        logger.warning(
            f"Another run of study {study} is at work here ({own.read()}); this one begins when it has ended."
        )
        lock(own, wait=True)
    own.truncate(0)
    own.write(f"process {os.getpid()} on {socket.gethostname()}")
    own.flush()
    if lock(everyone):
        for left in SNAKEMAKES.glob("*.lock"):
            left.unlink(missing_ok=True)
    lock(everyone, shared=True, wait=True)
    _held.extend((own, everyone))
