"""The distinct requests of a study, and whether sbatch takes them."""

import subprocess
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, NamedTuple

from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

from fmri2img.cluster.partitions import SECONDS
from fmri2img.resources import ALONE, KEYS, Devices, ResourceClasses
from fmri2img.training import launch

# What sbatch prints of a request that it would refuse at any time: not of nodes that are busy or drained, and not of a
# group that has as many jobs in the queue as it may have.
FOR_GOOD = ("node configuration", "nvalid", "not permitted", "ot available to", "pecification")


class JobRequest(NamedTuple):
    """A request. name: of its class, or of the training's stage."""

    name: str
    resource_class: str
    devices: Devices
    resources: dict[str, Any]


class Resources(SimpleNamespace):
    """Resources as the SLURM plugin reads those of a job."""

    def get(self, key: str, default: Any = None) -> Any:
        return getattr(self, key, default)


def requests_of(study, classes: ResourceClasses) -> list[JobRequest]:
    """Each class, and each stage of training that runs on several GPUs."""
    found = [JobRequest(name, name, ALONE, classes.request(name)) for name in classes.names]
    for decoder, stage in launch.stages(study):
        devices = launch.devices(study, decoder, stage)
        if devices != ALONE:
            folder = study.decoders[decoder]["folder"]
            found.append(JobRequest(f"{folder}.{stage}", "train", devices, classes.request("train", devices)))
    return list({request.name: request for request in found}.values())


def requests_of_jobs(jobs: Iterable[Any]) -> list[JobRequest]:
    """Distinct requests of Snakemake's jobs, each named after the first rule that makes it."""
    found = {}
    for job in jobs:
        resources = {key: job.resources.get(key) for key in KEYS} | {"threads": job.threads}
        found.setdefault(tuple(resources.values()), JobRequest(job.rule.name, "", ALONE, resources))
    return list(found.values())


def submit_command(resources: dict[str, Any], command: str, *options: str, output: str = "/dev/null") -> str:
    """The sbatch command for these resources, made by the SLURM plugin itself, as it makes those of a study's jobs."""
    stated = {key: value for key, value in resources.items() if value is not None}
    job = SimpleNamespace(resources=Resources(**stated), threads=stated["threads"])
    params = {
        "run_uuid": "fmri2img-check",
        "slurm_logfile": output,
        "comment_str": "check",
        "account": f"-A '{stated['slurm_account']}'" if "slurm_account" in stated else "",
        "partition": f"-p '{stated['slurm_partition']}'" if "slurm_partition" in stated else "",
        "workdir": None,
    }
    call = get_submit_command(job, params) + set_gres_string(job)
    return f"{call} {' '.join(options)} --wrap {command}"


def answer_to(request: JobRequest) -> tuple[bool, str]:
    """Whether sbatch would take a request, and what it says (sbatch --test-only)."""
    command = submit_command(request.resources, "true", "--test-only")
    try:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return False, f"no answer in {SECONDS} s"
    lines = [line.removeprefix("sbatch: ") for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return done.returncode == 0, "; ".join(lines)


def refused_for_good(answer: str) -> bool:
    """Whether the answer is about the request itself; nodes that are busy, down or reserved come back."""
    return any(words in answer for words in FOR_GOOD)


def in_words(resources: dict[str, Any]) -> str:
    """partition volta, 8 processors, 128000 MB, 2880 min, 2 x 4 GPUs of type v100"""
    gpus = resources["gpu"] or (int(resources["gres"].rsplit(":", 1)[1]) if resources["gres"] else 0)
    nodes = f"{resources['nodes']} x " if resources["mpi"] else ""
    kind = resources["gpu_model"] or (
        resources["gres"].split(":")[1] if (resources["gres"] or "").count(":") == 2 else ""
    )
    parts = [f"partition {resources['slurm_partition']}"] if resources["slurm_partition"] else []
    parts += [f"{resources['threads']} processors, {resources['mem_mb']} MB, {resources['runtime']} min"]
    parts += [f"{nodes}{gpus} GPU{'s' * (gpus > 1)}{f' of type {kind}' if kind else ''}"] if gpus else []
    return ", ".join(parts)
