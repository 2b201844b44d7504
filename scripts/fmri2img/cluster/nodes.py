"""A short job on each partition that a study uses: what its nodes are like, as scripts/probe_node.py reports it."""

import json
import platform
import secrets
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from fmri2img import job_environment
from fmri2img.cluster.partitions import SECONDS, slurm
from fmri2img.cluster.requests import JobRequest, submit_command
from fmri2img.paths import SCRIPTS
from fmri2img.resources import ALONE
from fmri2img.settings.site import LOGIN, Site

MINUTES = 5  # time limit of a probe
NAMED = ("slurm_partition", "gpu", "gpu_model", "gres")  # what distinguishes kinds of nodes
ENDED = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE")


class Probe(NamedTuple):
    """A submitted probe."""

    name: str
    number: str
    needs_gpu: bool
    internet: bool  # whether downloads run there


def probe_nodes(requests: list[JobRequest], site: Site | None, folder: Path, patience: float) -> dict[str, list[str]]:
    """Partition -> what is wrong on its nodes, in words; lines that begin with "ok" state what is right.

    folder: a new one, where studies write their results; patience: seconds to wait for the jobs to start and end.
    """
    folder.mkdir(parents=True)
    token = secrets.token_hex(8)
    (folder / "token").write_text(token)
    found: dict[str, list[str]] = {}
    probes = []
    downloads = [request for request in requests if request.resource_class == "download"]
    online = {request.resources["slurm_partition"] for request in downloads if not (site and site.downloads == LOGIN)}
    for request in _one_of_each(requests):
        name = (
            "-".join(str(request.resources[key]) for key in NAMED if request.resources[key]).replace(":", "-")
            or "default"
        )
        probe, refusal = _submitted(request, name, request.resources["slurm_partition"] in online, site, folder)
        if probe:
            probes.append(probe)
        else:
            found[name] = [f"the probe was refused: {refusal}"]
    deadline = time.monotonic() + patience
    for probe in probes:
        found[probe.name] = _read(probe, folder, token, deadline)
    return found


def describe(report: dict[str, Any], needs_gpu: bool, needs_internet: bool, token: str) -> list[str]:
    """What a node reported, in words."""
    host, lines = report["host"], []
    if report["token"] != token:
        lines.append(f"{host} does not see a file written here: results must be on a file system that all nodes share")
    if report["python"] != platform.python_version():
        lines.append(f"Python {report['python']} on {host}, {platform.python_version()} here: use one environment")
    for name, version in report["packages"].items():
        if version.startswith("error"):
            lines.append(f"{name} cannot be imported on {host} ({version}): put the environment on a shared disk")
    if report["scratch"]:
        lines.append(f"no temporary file can be written on {host} ({report['scratch']}): state `scratch`")
    if needs_internet and report["internet"]:
        lines.append(
            f"no internet on {host} ({report['internet']}), but downloads run there: state `downloads: login`, a "
            "partition for transfers, or `proxy`"
        )
    if needs_gpu and "gpus" in report:
        lines += [text for text in [_gpu_problem(host, report["gpus"], report["packages"]["torch"])] if text]
    internet = "internet" if not report["internet"] else "no internet (none is needed)"
    seen = ", ".join(report.get("gpus", {}).get("seen", [])) if needs_gpu else ""
    right = f"ok: {host}: Python {report['python']}, torch {report['packages']['torch']}, {internet}"
    return lines or [right + (f", {seen}" if seen else "")]


def _gpu_problem(host: str, gpus: dict[str, Any], torch: str) -> str:
    if gpus["seen"]:
        return ""
    handed = f"SLURM handed out device {gpus['handed_out']}" if gpus["handed_out"] else "SLURM handed out no device"
    if not gpus["handed_out"]:
        return f"{handed} on {host} for a request of one GPU: the partition's GPUs are not set up (gres.conf)"
    if not gpus["driver"]:
        return f"{handed} on {host}, but there is no driver of a GPU: the device only stands in for one"
    if gpus["build"] is None:
        return f"{handed} on {host}, but torch {torch} is a build for CPUs: install the one for CUDA"
    return (
        f"{handed} on {host}, but torch {torch} (for {gpus['build']}) cannot use it: compare with the driver's version"
    )


def _gpus(request: JobRequest) -> bool:
    return bool(request.resources["gpu"] or request.resources["gres"])


def _one_of_each(requests: list[JobRequest]) -> list[JobRequest]:
    """A request for each partition and type of GPU, of one GPU at most."""
    single = [request for request in requests if request.devices == ALONE]
    return list({tuple(request.resources[key] for key in NAMED): request for request in single}.values())


def _submitted(
    request: JobRequest, name: str, internet: bool, site: Site | None, folder: Path
) -> tuple[Probe | None, str]:
    runtime = min(MINUTES, request.resources["runtime"])
    resources = request.resources | {"threads": 1, "mem_mb": min(4000, request.resources["mem_mb"]), "runtime": runtime}
    probe = [sys.executable, str(SCRIPTS / "probe_node.py"), str(folder.resolve()), name]
    scratch = f"export TMPDIR={site.scratch}; mkdir -p $TMPDIR; " if site and site.scratch else ""
    setup = job_environment.setup_of(site).replace("{{", "{").replace("}}", "}")
    inner = f"export PYTHONPATH={shlex.quote(str(SCRIPTS))}; {scratch}{setup}{shlex.join(probe)}"
    command = shlex.quote(f"bash -c {shlex.quote(inner)}")
    output = str(folder.resolve() / f"{name}.log")
    done = subprocess.run(
        submit_command(resources, command, output=output), shell=True, capture_output=True, text=True, timeout=SECONDS
    )
    if done.returncode:
        return None, " ".join(done.stderr.split())
    return Probe(name, done.stdout.strip().split(";")[0], _gpus(request), internet), ""


def _read(probe: Probe, folder: Path, token: str, deadline: float) -> list[str]:
    """What the node of a probe reported; where it did not, why."""
    report, state, reason = folder / f"{probe.name}.json", "", ""
    while not report.exists():
        state, reason = _state(probe.number)
        if state in ENDED:
            time.sleep(5)  # for the file system
            break
        if time.monotonic() > deadline:
            slurm("scancel", probe.number)
            return [f"the probe did not start in time ({state} {reason}): its nodes were not checked; run this again"]
        time.sleep(1)
    if report.exists():
        return describe(json.loads(report.read_text()), probe.needs_gpu, probe.internet, token)
    log = folder / f"{probe.name}.log"
    if not log.exists():
        return [f"the probe ended ({state}) and left no file here: {folder} is not on a file system that nodes share"]
    last = (log.read_text(errors="replace").strip().splitlines() or ["its log is empty"])[-1]
    return [f"the probe ended ({state}): {last} (log: {log})"]


def _state(number: str) -> tuple[str, str]:
    shown = slurm("squeue", "--noheader", "--jobs", number, "--states=all", "--format=%T|%r").stdout.strip()
    state, _, reason = (shown.splitlines() or ["COMPLETED|"])[0].partition("|")
    return state, reason
