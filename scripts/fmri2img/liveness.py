"""Whether another process still lives, and processes that end with the one that they work for.

A Snakemake that is killed cannot end its jobs. They would go on, and write the same files as those of the next run.
"""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

VARIABLE = "FMRI2IMG_WORKS_FOR"  # the process that those which inherit this variable work for
POLL = 1.0  # seconds between two looks


def record(process: int | None = None) -> dict[str, Any]:
    """What identifies a process of this machine, by default this one: its machine, its number, and when it started."""
    process = os.getpid() if process is None else process
    return {"machine": machine(), "process": process, "started": started(process)}


def has_gone(found: dict[str, Any]) -> bool:
    """Whether a process of this machine has ended; of other machines it is not known, and False."""
    return bool(found["machine"] == machine() and started(found["process"]) != found["started"])


def lead() -> None:
    """Have the processes that this one starts from now on end with it, if they `follow`."""
    os.environ[VARIABLE] = json.dumps(record())


def follow(signal_number: int = signal.SIGTERM, leader: dict[str, Any] | None = None) -> None:
    """Send this process a signal when the one that it works for has gone. leader: its record, if it does not `lead`."""
    if leader is None and VARIABLE in os.environ:
        leader = json.loads(os.environ[VARIABLE])
    if leader is not None:
        threading.Thread(target=_watch, args=(leader, signal_number), name="follow", daemon=True).start()


def _watch(leader: dict[str, Any], signal_number: int) -> None:
    while not has_gone(leader):
        time.sleep(POLL)
    os.kill(os.getpid(), signal_number)


def machine() -> str:
    """This machine since its last start, and the space of its process numbers (containers have others)."""
    found = [socket.gethostname()]
    with contextlib.suppress(OSError):
        found += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(found)


def started(process: int) -> str:
    """When a process started, in ticks since the machine did; "" if there is none.

    A system without /proc, such as macOS, only tells that there is a process of this number.
    """
    if not Path("/proc/self/stat").exists():
        return _exists(process)
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # a zombie has ended


def _exists(process: int) -> str:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:  # of another user
        pass
    return "running"
