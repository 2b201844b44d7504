"""Where and with what a job ran: a record that the job's own process writes, for the provenance of reports.

It lies next to the job's log, as <log>.ran.json. No rule has it as an output or a parameter, so another machine or
another environment makes no job run again.
"""

import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from fmri2img.container import image

SUFFIX = ".ran.json"
DRIVER = Path("/proc/driver/nvidia/version")


def record_of(log: str | Path) -> Path:
    """The record of the job with this log."""
    return Path(f"{log}{SUFFIX}")


def began(log: str | Path) -> None:
    """Record that a job starts. `attempt` counts its starts since it last succeeded."""
    if not Path(log).is_file():  # /dev/null, where a script is run by hand
        return
    path, attempt = record_of(log), 1
    with suppress(OSError, ValueError, KeyError):
        last = json.loads(path.read_text(encoding="utf-8"))
        attempt = 1 if last["ended"] else last["attempt"] + 1
    _write(path, {"attempt": attempt, "started": _now(), "ended": None} | place())


def succeeded(log: str | Path) -> None:
    """Complete the record of a job that has done its work, with the versions of what it loaded."""
    path = record_of(log)
    with suppress(
        OSError, ValueError
    ):  # without its record a job is still done, and the report says that it is missing
        record = json.loads(path.read_text(encoding="utf-8"))
        _write(path, record | {"ended": _now(), "versions": imported_versions(), **gpus()})


def list_jobs(dag: Any, rule: str, path: str | Path) -> None:
    """Write the logs of all jobs from whose files a job of `rule` makes its own, of this run or of earlier ones."""
    last = [job for job in dag.jobs if job.rule.name == rule]
    jobs = [job for job in dag.bfs(dag.dependencies, *last) if job not in last]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(sorted(str(log) for job in jobs for log in job.log), indent=0) + "\n")


def place() -> dict[str, Any]:
    """Python, host, processor, the job's number and nodes in Slurm, number of processes, and the container image."""
    return {
        "python": platform.python_version(),
        "host": platform.node(),
        "cpu": _processor(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "nodes": os.environ.get("SLURM_JOB_NODELIST"),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "image": image(),
    }


def gpus() -> dict[str, Any]:
    """Names of the GPUs that the process has used, their driver and CUDA; None where it used none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {"gpu": None, "driver": None, "cuda": None}
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    driver = None
    with suppress(OSError):
        # "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  ...", or "... Open Kernel Module for x86_64  ..."
        driver = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", DRIVER.read_text(encoding="utf-8"))
    return {"gpu": ", ".join(names), "driver": driver[1] if driver else None, "cuda": torch.version.cuda}


def imported_versions() -> dict[str, str]:
    """Name -> version, as importlib.metadata knows it, of the distributions that this process has loaded.

    That of a fork (fork_server) has loaded what its server imported.
    """
    modules = {name.partition(".")[0] for name in list(sys.modules)} - sys.stdlib_module_names
    found, left = {}, set()
    for module in modules:
        try:
            distribution = metadata.distribution(module)
        except (metadata.PackageNotFoundError, ValueError):
            left.add(module)
        else:
            found[distribution.name] = distribution.version
    for distribution in _owners(left):
        found[distribution.name] = distribution.version
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _owners(modules: set[str]) -> Iterator[metadata.Distribution]:
    """The distributions that modules of other names belong to, such as Pillow of PIL."""
    for folder in {str(Path(path).resolve()) for path in sys.path if Path(path).is_dir()}:
        for path in Path(folder).glob("*.dist-info"):
            with suppress(OSError):
                named = path / "top_level.txt"
                text = (named if named.is_file() else path / "RECORD").read_text(encoding="utf-8")
                if modules & {re.split(r"[/,.]", line.strip())[0] for line in text.splitlines()}:
                    yield metadata.Distribution.at(path)


def _processor() -> str:
    """The processor's model."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write(path: Path, record: dict) -> None:
    """Write without a trace of a half-written file; a full disk is for the job itself to report."""
    temporary = Path(f"{path}.part")
    with suppress(OSError):
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
