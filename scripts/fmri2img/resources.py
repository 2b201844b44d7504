"""What a job is given: the numbers of its resource class (config/resources.yaml), laid out for the site's partitions.

Rules name their class and nothing else. Without a site file a class's numbers are a rule's resources as they are; with
one (fmri2img.settings.site) they become a partition, an account, a form of GPU request, and limits that are kept at
every retry. They are resources of the rules, so `--set-resources <rule>:mem_mb=999` changes that one value of one rule.
"""

import os
import tempfile
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import yaml

from fmri2img.errors import UserError
from fmri2img.paths import REPOSITORY
from fmri2img.settings.base import nearest, problem
from fmri2img.settings.site import LOGIN, NODES, ClassSettings, Partition, Site

ATTEMPTS = range(1, 6)  # first tries and retries among which a resource is compared
SRUN = "srun"


class Devices(NamedTuple):
    """Where a training runs. per_node: GPUs of each node, or processes of a training without GPUs."""

    nodes: int = 1
    per_node: int = 1

    @property
    def processes(self) -> int:
        return self.nodes * self.per_node


ALONE = Devices()


class ResourceClasses:
    """The classes of one size, at a site.

    size: laptop or cluster, the key `resources` of the configuration; path: of the site file, for messages; is_local:
    whether jobs run on this machine without SLURM, called when they are planned. Raises UserError for a class of the
    site file that does not exist.
    """

    def __init__(
        self, size: str, site: Site | None = None, path: str = "", is_local: Callable[[], bool] = lambda: False
    ) -> None:
        self.site, self.path, self._is_local = site, path, is_local
        self._requests: dict[tuple, dict[str, Any]] = {}
        self._classes = {name: dict(found) for name, found in _sizes()[size].items()}
        for name, own in site.classes.items() if site else ():
            if name not in self._classes:
                raise problem(f"classes.{name}", f"unknown; {nearest(name, self._classes)}", path)
            stated = {key: getattr(own, key) for key in ("threads", "mem_mb", "runtime")}
            self._classes[name] |= {key: value for key, value in stated.items() if value is not None}

    def minutes(self, name: str) -> int:
        """The time of a class's jobs at the first attempt, whatever the site gives."""
        return int(self._classes[name]["runtime"])

    def is_shared(self, name: str) -> bool:
        """Whether it is the class of submissions that several jobs share."""
        return bool(self._classes[name].get("shared"))

    @property
    def names(self) -> list[str]:
        return list(self._classes)

    def threads(self, name: str, devices: Callable[[Any], Devices] | None = None) -> Any:
        """A rule's `threads`. devices: where a training runs, by its wildcards."""
        if devices is not None:
            return lambda wildcards: self.request(name, devices(wildcards))["threads"]
        values = {self.request(name, attempt=attempt)["threads"] for attempt in ATTEMPTS}
        return values.pop() if len(values) == 1 else self._at_attempt(name, "threads")

    def needs(
        self,
        name: str,
        devices: Callable[[Any], Devices] | None = None,
        within: str | None = None,
        minutes: Callable[[Any], int] | None = None,
    ) -> dict[str, Any]:
        """Keyword arguments of a rule's `resources`; a resource that depends on the attempt is a function of it.

        within: the class of a submission that its jobs share with others, whose partition, GPU and options they have.
        minutes: what all jobs of that submission need together, by the wildcards of a job; the class's, if not given.
        """
        if devices is not None:
            keys = [key for key in KEYS if key != "downloads"]
            return {key: self._of_training(name, key, devices) for key in keys} | self._temporary()
        found: dict[str, Any] = {}
        for key in KEYS:
            values = [self.request(name, ALONE, attempt, within)[key] for attempt in ATTEMPTS]
            if any(value != values[0] for value in values):
                found[key] = self._at_attempt(name, key, within)
            elif values[0] is not None:
                found[key] = values[0]
        if "gres" in found:  # of SLURM only; jobs of this machine are counted by the number of GPUs
            found["gpu"] = self._counted(self._classes[within or name]["gpu"])
        if minutes and self.site:
            found["runtime"] = lambda wildcards, attempt: self.request(
                name, ALONE, attempt, within, minutes(wildcards)
            )["runtime"]
        turn = {"in_turn": 1} if within else {}  # of which a submission has one, so its jobs run one after the other
        return found | turn | self._temporary()

    def request(
        self,
        name: str,
        devices: Devices = ALONE,
        attempt: int = 1,
        within: str | None = None,
        minutes: int | None = None,
    ) -> dict[str, Any]:
        """What a job of a class requests: the resources KEYS and threads; None for what is not stated.

        Memory and threads are those of one node. A retry gets as much memory again, and as much time if its class
        `grows` (a training resumes instead), but never more than the partition gives. within, minutes: as in `needs`; a
        job gets its share of what the partition gives to all jobs of a submission together.
        """
        asked = name, devices, attempt, within, minutes
        if asked not in self._requests:
            self._requests[asked] = self._request(*asked)
        return dict(self._requests[asked])

    def _request(
        self, name: str, devices: Devices, attempt: int, within: str | None, minutes: int | None
    ) -> dict[str, Any]:
        placed = within or name
        gpus = self._classes[placed].get("gpu", 0) * devices.per_node
        wanted = self._wanted(name, devices, attempt)
        found: dict[str, Any] = dict.fromkeys(KEYS) | wanted | {"downloads": self._classes[name].get("downloads")}
        partition_name, partition = self._partition(placed, gpus, devices.nodes, self._wanted(placed, devices, attempt))
        kind = self._gpu_type(placed, partition)
        if gpus and (devices.nodes > 1 or (self.site and self.site.request_gpus == "gres")):
            found["gres"] = ":".join(["gpu", *([kind] if kind else []), str(gpus)])
        elif gpus:
            found |= {"gpu": gpus, "gpu_model": kind}
        if gpus > 1:
            found["nodes"] = 1  # --gpus alone may be spread over several nodes
        if devices.nodes > 1:
            # tasks_per_gpu: without it, the SLURM plugin takes `tasks` for the number of each GPU.
            found |= {"mpi": SRUN, "nodes": devices.nodes, "tasks": devices.nodes, "tasks_per_gpu": 0 if gpus else None}
        if partition:
            limits = partition_limits(partition)
            if within and "runtime" in limits:
                together = minutes or self._classes[within]["runtime"]
                most = self._classes[name]["runtime"] * limits["runtime"] // together
                found["runtime"] = max(1, min(found["runtime"], most))
            for key, limit in limits.items():
                found[key] = min(found[key], limit)
            found |= {"slurm_partition": partition_name} | self._options(placed, partition)
        if self._classes[name].get("resumes"):
            signal = f"--signal=TERM@{notice(found['runtime'])}"
            found["slurm_extra"] = " ".join(filter(None, [found["slurm_extra"], signal]))
        return found

    def _wanted(self, name: str, devices: Devices, attempt: int) -> dict[str, int]:
        need = self._classes[name]
        return {
            "threads": need["threads"] * devices.per_node,
            "mem_mb": need["mem_mb"] * devices.per_node * attempt,
            "runtime": need["runtime"] * (attempt if need.get("grows") else 1),
        }

    def too_small(self, name: str, devices: Devices = ALONE) -> dict[str, str]:
        """Resource -> how much a class needs of it and its partition does not give, in words; jobs are given less."""
        need, found = self._classes[name], self.request(name, devices)
        wanted = {key: need[key] * (1 if key == "runtime" else devices.per_node) for key in ORDER}
        units = {"mem_mb": "MB of memory", "threads": "processors", "runtime": "minutes"}
        where = f"partition {found['slurm_partition']} gives"
        return {
            key: f"needs {wanted[key]} {units[key]}, {where} {found[key]}" for key in ORDER if found[key] < wanted[key]
        }

    def check(self, name: str, devices: Devices, key: str) -> None:
        """Raise UserError naming the configuration's `key` when no partition has these nodes and GPUs."""
        gpus = self._classes[name].get("gpu", 0) * devices.per_node
        if not self.site or not gpus:
            return
        there = [found for found in self.site.partitions.values() if found.gpus]
        most = max((found.gpus for found in there), default=0)
        if gpus > most:
            raise problem(f"{key}.gpus_per_node", f"{gpus}, but nodes of {self.path} have {most} GPUs; lower it")
        nodes = [found.max_nodes for found in there if found.gpus >= gpus]
        if None not in nodes and devices.nodes > max(nodes):
            raise problem(f"{key}.nodes", f"{devices.nodes}, but jobs of {self.path} have {max(nodes)}; lower it")

    @property
    def downloads_are_local(self) -> bool:
        return self.site is not None and self.site.downloads == LOGIN

    def _partition(self, name: str, gpus: int, nodes: int, wanted: dict) -> tuple[str | None, Partition | None]:
        """The first partition that is enough for a job; else the one of those it may use that gives most."""
        if self.site is None:
            return None, None
        partitions = self._allowed(name, gpus)
        if not partitions:
            raise UserError(
                f"{self.path}: key 'partitions': class {name} needs {gpus} GPU on a node, but no partition has as "
                "many; state their `gpus`"
            )

        def shortage(item: tuple[str, Partition]) -> tuple[int, ...]:
            limits = partition_limits(item[1])
            missing = nodes - (item[1].max_nodes or nodes)
            return max(0, missing), *(max(0, wanted[key] - limits.get(key, wanted[key])) for key in ORDER)

        return min(partitions.items(), key=shortage)

    def _allowed(self, name: str, gpus: int) -> dict[str, Partition]:
        assert self.site is not None
        partitions, own = self.site.partitions, self._own(name)
        if own.partition is not None:
            return {own.partition: partitions[own.partition]}
        if self._classes[name].get("downloads") and self.site.downloads not in (LOGIN, NODES):
            return {self.site.downloads: partitions[self.site.downloads]}
        others = {key: found for key, found in partitions.items() if key != self.site.downloads}
        if gpus:
            return {key: found for key, found in others.items() if found.gpus >= gpus}
        return {key: found for key, found in others.items() if not found.gpus} or others

    def _own(self, name: str) -> ClassSettings:
        return self.site.classes.get(name, ClassSettings()) if self.site else ClassSettings()

    def _gpu_type(self, name: str, partition: Partition | None) -> str | None:
        return self._own(name).gpu_type or (partition.gpu_type if partition else None)

    def _options(self, name: str, partition: Partition) -> dict[str, str | None]:
        """Account, quality of service and so on: a class's, else the partition's, else the site's."""
        sources = (self._own(name), partition, self.site)
        found = {
            key: next((value for source in sources if (value := getattr(source, option)) is not None), None)
            for key, option in (("slurm_account", "account"), ("qos", "qos"), ("constraint", "constraint"))
        }
        extra = " ".join(source.extra for source in reversed(sources) if source and source.extra)
        return found | {"slurm_extra": extra or None}

    def _at_attempt(self, name: str, key: str, within: str | None = None) -> Callable[..., Any]:
        return lambda wildcards, attempt: self.request(name, ALONE, attempt, within)[key]

    def _of_training(self, name: str, key: str, devices: Callable[[Any], Devices]) -> Callable[..., Any]:
        def value(wildcards: Any, attempt: int) -> Any:
            chosen = devices(wildcards)
            found = self.request(name, chosen, attempt)
            if key == "gpu" and found["gres"]:
                return self._counted(self._classes[name]["gpu"] * chosen.per_node)(wildcards)
            return found[key]

        return value

    def _counted(self, gpus: int) -> Callable[[Any], int | None]:
        return lambda wildcards: gpus if self._is_local() else None

    def _temporary(self) -> dict[str, Callable[[Any], str]]:
        scratch = self.site.scratch if self.site else None
        return {"tmpdir": lambda wildcards: scratch_folder(scratch)} if scratch else {}


KEYS = (
    "mem_mb", "runtime", "gpu", "gpu_model", "gres", "nodes", "tasks", "tasks_per_gpu", "mpi", "downloads",
    "slurm_partition", "slurm_account", "qos", "constraint", "slurm_extra",
)  # fmt: skip
ORDER = ("mem_mb", "threads", "runtime")  # what a partition must give, the most important first


def notice(minutes: int) -> int:
    """Seconds before a time limit at which a signal makes a training write a checkpoint and end: ten minutes, or a
    tenth of a short limit. Slurm may be up to a minute early."""
    return min(600, max(10, minutes * 6))


def partition_limits(partition: Partition) -> dict[str, int]:
    """Resource -> the most that a job may have of it."""
    limits = {"mem_mb": partition.max_mem_mb, "threads": partition.max_threads, "runtime": partition.max_runtime}
    return {key: limit for key, limit in limits.items() if limit is not None}


def scratch_folder(scratch: str) -> str:
    """The folder of temporary files, variables filled in; the system's where one is unknown, as on login nodes."""
    folder = os.path.expandvars(scratch)
    return tempfile.gettempdir() if "$" in folder else folder


@cache
def _sizes() -> dict[str, dict[str, dict]]:
    path = REPOSITORY / "config" / "resources.yaml"
    sizes = yaml.safe_load(path.read_text(encoding="utf-8"))
    classes = {name: set(found) for name, found in sizes.items()}
    for name, found in classes.items():
        if found != classes["laptop"]:
            raise UserError(f"{path}: {name} and laptop do not have the same classes; add what one lacks")
    return sizes
