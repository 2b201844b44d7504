"""The site: what a cluster's queues are called and what they give, in one file that a lab writes (slurm/site.yaml).

It is laid over the resource classes of config/resources.yaml (fmri2img.resources); the SLURM profile stays as it is.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from fmri2img.paths import REPOSITORY
from fmri2img.settings.base import Count, Name, Positive, Settings, WrongKey, matching, nearest, problem

EXAMPLES = "slurm/sites/"
LOGIN, NODES = "login", "nodes"  # where downloads run, if not in a partition of their own
GPU_TYPE = matching(r"[A-Za-z0-9_.]+", "letters, digits, _ and .")


class Request(Settings):
    """What sbatch is given besides time, memory and processors; a class's own value goes before a partition's."""

    account: Name | None = Field(None, description="Account that jobs are charged to.")
    qos: Name | None = Field(None, description="Quality of service.")
    constraint: Name | None = Field(
        None, description="Features that a node must have, as sbatch --constraint takes them."
    )
    extra: str = Field("", description="Further options of sbatch, such as --mail-type=FAIL.")


class Partition(Request):
    """A queue, and the largest job that it takes. A limit that is left out is none."""

    max_runtime: Positive | None = Field(None, description="Longest run time of a job, in minutes.")
    max_mem_mb: Positive | None = Field(None, description="Memory of a node that jobs may use, in MB.")
    max_threads: Positive | None = Field(None, description="Processors of a node.")
    max_nodes: Positive | None = Field(None, description="Nodes of a job.")
    gpus: Count = Field(0, description="GPUs (or MIG slices) of a node; 0 for a partition of CPU jobs.")
    gpu_type: Annotated[str, *GPU_TYPE] | None = Field(
        None, description="Their type as Slurm calls it, such as h100 or 1g.10gb, where it must be stated."
    )


class ClassSettings(Request):
    """Other numbers for a class of config/resources.yaml."""

    partition: Name | None = Field(None, description="The partition of its jobs; by default the first that is enough.")
    gpu_type: Annotated[str, *GPU_TYPE] | None = Field(None, description="The type of its GPUs.")
    threads: Positive | None = Field(None, description="Processors, for each GPU of a training.")
    mem_mb: Positive | None = Field(None, description="Memory in MB, for each GPU of a training.")
    runtime: Positive | None = Field(None, description="Run time in minutes.")


class Site(Request):
    """A cluster."""

    partitions: dict[Name, Partition] = Field(
        min_length=1,
        description="Partitions in the order of preference: a job goes to the first that is enough for it. GPU jobs go "
        "to partitions with GPUs; others go there only if there is no other partition.",
    )
    request_gpus: Literal["gpus", "gres"] = Field(
        "gpus", description="`gpus`: sbatch --gpus=2. `gres`: sbatch --gres=gpu:2, where --gpus is not allowed."
    )
    classes: dict[Name, ClassSettings] = Field({}, description="Classes of jobs that need other numbers.")
    downloads: Name = Field(
        NODES,
        description="`login`: downloads run where Snakemake runs, for nodes without internet. Or the name of a "
        "partition for transfers. `nodes`: on any node.",
    )
    setup: str | None = Field(
        None, description="Shell commands before each job, such as `module load cuda/12.4`, separated by semicolons."
    )
    container: Name | None = Field(
        None,
        description="Image in which jobs run (envs/README.md): a .sif file, or the docker:// address of an image.",
    )
    container_options: str = Field(
        "--nv",
        description="Options of apptainer exec: --nv for NVIDIA's GPUs, --bind /data for folders that jobs read.",
    )
    scratch: Name | None = Field(
        None,
        description="Folder of temporary files on a node's own disk; variables such as $SLURM_JOB_ID are filled in.",
    )
    proxy: Name | None = Field(None, description="Address through which downloads reach the internet.")

    @model_validator(mode="after")
    def _names_exist(self) -> "Site":
        if self.downloads not in (LOGIN, NODES, *self.partitions):
            known = [LOGIN, NODES, *self.partitions]
            raise WrongKey("downloads", f"there is no partition '{self.downloads}'; {nearest(self.downloads, known)}")
        for name, found in self.classes.items():
            if found.partition is not None and found.partition not in self.partitions:
                remedy = nearest(found.partition, self.partitions)
                raise WrongKey(f"classes.{name}.partition", f"there is no partition '{found.partition}'; {remedy}")
        return self


def read_site(path: str) -> Site | None:
    """The site that a file describes; None if there is no such file and it is the default one.

    path: relative to the repository. Raises UserError naming file and key.
    """
    file = REPOSITORY / path
    if not file.exists() and path == SITE:
        return None
    return Site.read(_loaded(file), where=path)


SITE = "slurm/site.yaml"


def _loaded(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise problem("site", f"{file} cannot be read ({error.strerror}); write it ({EXAMPLES} has examples)") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise problem("site", f"{file} is not valid YAML{line}; correct it") from None
