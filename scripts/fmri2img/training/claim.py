"""One trainer per work folder.

    <work>/trainer.json       who trains here: host, process, Slurm job; touched every few seconds as long as it lives

A second trainer waits while the first one lives, for example one that a lost Snakemake left behind, and takes over when
it has gone or has not touched the file for a while. Times of different machines are never compared: the one who waits
measures how long the file has not changed.
"""

import contextlib
import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fmri2img import liveness

FILE = "trainer.json"
BEAT = 10.0  # seconds between two touches
SILENCE = 90.0  # seconds without one after which a trainer is taken for dead; network file systems show it late
POLL = 1.0  # seconds between two looks of the one who waits


class Interrupted(Exception):
    """The training was stopped by a signal; what it has done is kept, and starting it again goes on from there."""


class Claim:
    """The right to train in a work folder. lost: another trainer took over, because this one stood still too long."""

    def __init__(self, work: Path) -> None:
        self._file = work / FILE
        self._record = {
            "trainer": uuid.uuid4().hex,
            "run": _run(),
            "host": socket.gethostname(),
            **liveness.record(),
            "job": os.environ.get("SLURM_JOB_ID", ""),
        }
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="claim", daemon=True)
        self.lost = False

    def acquire(self) -> None:
        """Wait until no other trainer works in the folder, then claim it. Raises Interrupted on SIGTERM."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        seen, since, said = None, time.monotonic(), ""
        while not self._create():
            found = _look(self._file)
            if found != seen:
                seen, since = found, time.monotonic()
            record = found[0] if found else {}
            if found and (_has_gone(record) or time.monotonic() - since > SILENCE):
                print(f"taking over from {described(record)}, which has gone", flush=True)
                self._remove(record)
                continue
            if found and described(record) != said:
                said = described(record)
                print(f"waiting for {said}, which trains in {self._file.parent}", flush=True)
            self._sleep(said)
        self._thread.start()

    def release(self) -> None:
        """Give the folder up, and remove it if nothing else is in it."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._is_ours():
            self._file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._file.parent.rmdir()

    def join(self) -> None:
        """For the other processes of a training: wait until their first one has claimed the folder."""
        while (_look(self._file) or [{}])[0].get("run") != self._record["run"]:
            time.sleep(POLL / 10)

    def _create(self) -> bool:
        try:
            handle = os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        except FileNotFoundError:  # the one before removed the empty folder
            self._file.parent.mkdir(parents=True, exist_ok=True)
            return False
        with os.fdopen(handle, "w") as file:
            json.dump(self._record, file)
        return True

    def _remove(self, record: dict[str, Any]) -> None:
        """Remove the file of a trainer that has gone, but not that of one who took over from it in this moment."""
        aside = self._file.with_name(f"{FILE}.{self._record['trainer']}")
        try:
            os.rename(self._file, aside)
        except FileNotFoundError:
            return
        moved = _look(aside)
        if moved and moved[0] != record:
            with contextlib.suppress(FileExistsError):
                os.link(aside, self._file)
        aside.unlink()

    def _sleep(self, waited_for: str) -> None:
        def stop(number: int, frame: Any) -> None:
            raise Interrupted(f"waited for {waited_for or 'another trainer'}; rerun to see what it made")

        before = signal.signal(signal.SIGTERM, stop)
        try:
            time.sleep(POLL)
        finally:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)

    def _is_ours(self) -> bool:
        found = _look(self._file)
        return bool(found) and found[0] == self._record

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            if not self._is_ours():
                self.lost = True
                return
            with contextlib.suppress(OSError):
                os.utime(self._file)


@contextmanager
def claimed(work: Path) -> Iterator[Claim]:
    """Hold the claim on a work folder; the first process of a training has it, the others wait for that."""
    claim = Claim(work)
    if os.environ.get("RANK", "0") != "0":
        claim.join()
        yield claim
        return
    claim.acquire()
    try:
        yield claim
    finally:
        claim.release()


def described(record: dict[str, Any]) -> str:
    """Who a trainer is, in words."""
    if not record:
        return "another trainer"
    job = f"Slurm job {record['job']}, " if record["job"] else ""
    return f"the trainer on {record['host']} ({job}process {record['process']})"


def _look(file: Path) -> tuple[dict[str, Any], int] | None:
    """Record and time of the last touch; an empty record while it is being written; None if there is no file."""
    try:
        with open(file) as opened:  # opening it makes a network file system ask its server
            text, touched = opened.read(), os.fstat(opened.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    try:
        return json.loads(text), touched
    except json.JSONDecodeError:
        return {}, touched


def _has_gone(record: dict[str, Any]) -> bool:
    """Whether a trainer of this machine has ended, or one of this Slurm job, which was requeued; of others it is not
    known."""
    if not record:
        return False
    if record["machine"] == liveness.machine():
        return liveness.has_gone(record)
    return bool(record["job"]) and record["job"] == os.environ.get("SLURM_JOB_ID")


def _run() -> str:
    """What the processes of one training have in common."""
    names = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT")
    return " ".join(os.environ.get(name, "") for name in names).strip() or uuid.uuid4().hex
