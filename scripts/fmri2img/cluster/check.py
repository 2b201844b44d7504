"""Whether a study's requests fit the cluster: a list of lines in plain words, before anything is submitted."""

import getpass
from typing import NamedTuple

from fmri2img.cluster.partitions import Given, own_accounts, partitions, slurm
from fmri2img.cluster.requests import JobRequest, answer_to, in_words, refused_for_good
from fmri2img.errors import UserError
from fmri2img.resources import ResourceClasses
from fmri2img.settings.site import Partition

MIN_JOB_AGE = 120  # seconds; below, Snakemake's polls may miss the end of a job


class Line(NamedTuple):
    """A finding. wrong: whether jobs would fail or wait for ever."""

    what: str
    text: str
    wrong: bool


def check_partitions(classes: ResourceClasses) -> list[Line]:
    """The partitions and accounts of the site file, against what SLURM says of them."""
    given, lines = partitions(), []
    if classes.site is None:
        names = ", ".join(given)
        return [Line("site", f"{classes.path}: not there; copy one of slurm/sites/ and adapt it ({names})", True)]
    for name, stated in classes.site.partitions.items():
        if name not in given:
            lines.append(Line(f"partition {name}", f"not on this cluster; there are: {', '.join(given)}", True))
            continue
        wrong = compared(stated, given[name])
        lines += [Line(f"partition {name}", text, True) for text in wrong]
        if not wrong:
            lines.append(Line(f"partition {name}", "as stated", False))
    lines += _accounts(classes, given)
    age = slurm("scontrol", "show", "config").stdout
    seconds = next((line.split("=")[1].split()[0] for line in age.splitlines() if line.startswith("MinJobAge")), "300")
    if seconds.isdigit() and int(seconds) < MIN_JOB_AGE:
        text = f"MinJobAge is {seconds} s: SLURM may forget a job before Snakemake sees its end; poll more often with "
        lines.append(Line("polling", f"{text}--seconds-between-status-checks {int(seconds) // 3}", False))
    return lines


def compared(stated: Partition, given: Given) -> list[str]:
    """What a site file states of a partition and is otherwise."""
    found = []
    limits = (
        ("max_runtime", stated.max_runtime, given.minutes, "minutes", "a longer job waits for ever"),
        ("max_mem_mb", stated.max_mem_mb, given.mem_mb, "MB on a node", "a larger job is refused"),
        ("max_threads", stated.max_threads, given.threads, "processors on a node", "a larger job is refused"),
        ("max_nodes", stated.max_nodes, given.nodes, "nodes for a job", "a larger job is refused"),
        ("gpus", stated.gpus, sum(given.gpus.values()), "GPUs on a node", "a larger job is refused"),
    )
    for key, mine, theirs, unit, consequence in limits:
        if mine is not None and theirs is not None and mine > theirs:
            found.append(f"{key}: {mine}, but it gives {theirs} {unit}: {consequence}; set it to {theirs}")
        elif mine is None and theirs is not None and key == "max_runtime":
            found.append(f"{key} is not stated, and it gives {theirs} minutes: a longer job waits for ever; state it")
    if stated.gpu_type and stated.gpu_type not in given.gpus:
        found.append(f"gpu_type: no GPU of type {stated.gpu_type}; there are: {', '.join(given.gpus) or 'none'}")
    if stated.constraint and stated.constraint.isidentifier() and stated.constraint not in given.features:
        there = ", ".join(sorted(given.features)) or "none"
        found.append(f"constraint: no node has the feature {stated.constraint}; there are: {there}")
    if given.state != "UP":
        found.append(f"its state is {given.state}: no job starts")
    elif not given.available:
        found.append("none of its nodes is up")
    if stated.qos and given.qos is not None and stated.qos not in given.qos:
        found.append(f"qos: {stated.qos} is not allowed; there are: {', '.join(given.qos)}")
    return found


def _accounts(classes: ResourceClasses, given: dict[str, Given]) -> list[Line]:
    """Accounts of the requests, against those of the user and of the partitions."""
    own, lines = own_accounts(getpass.getuser()), []
    used = {(found["slurm_account"], found["slurm_partition"]) for found in map(classes.request, classes.names)}
    for account, partition in sorted(used, key=str):
        allowed = given[partition].accounts if partition in given else None
        if account is None:
            if own is not None and len(own) > 1:
                lines.append(Line("account", f"not stated; SLURM takes your default of {', '.join(own)}", False))
        elif own is not None and account not in own:
            lines.append(Line("account", f"{account} is not one of yours; you have: {', '.join(own)}", True))
        elif allowed is not None and account not in allowed:
            lines.append(
                Line("account", f"{account} may not use partition {partition}: {', '.join(allowed)} may", True)
            )
    return list(dict.fromkeys(lines))


def check_requests(requests: list[JobRequest], classes: ResourceClasses) -> list[Line]:
    """What sbatch says of each request, and where a class is given less than it needs."""
    lines = []
    for request in requests:
        words = in_words(request.resources)
        taken, answer = answer_to(request)
        lines.append(Line(f"jobs {request.name}", f"{words}: {'accepted' if taken else answer}", not taken))
        for key, text in classes.too_small(request.resource_class, request.devices).items():
            consequence, wrong = _consequence(key, request, classes)
            if wrong:
                consequence += f"; if it is enough, set classes.{request.resource_class}.{key} in {classes.path}"
            lines.append(Line(f"jobs {request.name}", f"{text}: {consequence}", wrong))
    return lines


def _consequence(key: str, request: JobRequest, classes: ResourceClasses) -> tuple[str, bool]:
    """What follows for jobs that are given less than they need, and whether they fail."""
    if key == "threads":
        return "it runs slower", False
    if key == "mem_mb":
        return "it may be killed", True
    if key == "runtime" and request.resource_class in classes.names and classes.is_shared(request.resource_class):
        return "the jobs that share a submission get less time each", False
    if request.resource_class == "train":
        return "it runs in slices, each from the last checkpoint", False
    return "it is stopped if it takes longer", True


def refuse(requests: list[JobRequest], path: str) -> None:
    """Raise UserError when sbatch would never take one of these requests. path: of the site file."""
    for request in requests:
        taken, answer = answer_to(request)
        if not taken and refused_for_good(answer):
            raise UserError(
                f"{path}: SLURM refuses jobs of {request.name} ({in_words(request.resources)}): {answer}; correct the "
                "file (`make slurm-check` compares it with the cluster)"
            )
