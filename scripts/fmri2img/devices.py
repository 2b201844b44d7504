"""Whether a job has the GPUs that it requested.

A job that requests GPUs and does not see them must not run on the CPU for days instead. Where a CPU is meant to stand
in, as in tests with a cluster of stand-in devices, set the environment variable FMRI2IMG_ALLOW_CPU to 1.
"""

import os
import re
import socket
from typing import Any

from fmri2img.errors import UserError

ALLOW_CPU = "FMRI2IMG_ALLOW_CPU"


def gpus_of(resources: Any) -> int:
    """GPUs on a node that a job's resources request, as `gpu` or as `gres` (gpu:a100:4)."""
    gres = re.fullmatch(r"gpu(?::[^:]*[^:\d][^:]*)?(?::(\d+))?", str(resources.get("gres") or ""))
    return int(gres[1] or 1) if gres else int(resources.get("gpu") or 0)


def check_gpus(requested: int) -> None:
    """Raise UserError when torch does not see the GPUs that a job requested."""
    if not requested or os.environ.get(ALLOW_CPU) == "1":
        return
    import torch

    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen >= requested:
        return
    job = f", Slurm job {os.environ['SLURM_JOB_ID']}" if "SLURM_JOB_ID" in os.environ else ""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    where = f"{socket.gethostname()}{job}, CUDA_VISIBLE_DEVICES {'not set' if given is None else f'= {given!r}'}"
    if not (torch.version.cuda or torch.version.hip):
        remedy = f"torch {torch.__version__} is built for CPUs: install its CUDA build"
    elif not given and given is not None:
        remedy = "the job was given none: request them, by the resource gpu and the site's partitions"
    else:
        remedy = f"torch {torch.__version__} (CUDA {torch.version.cuda}) finds no usable driver: try nvidia-smi there"
    raise UserError(
        f"this job requested {requested} GPU{'s' if requested > 1 else ''} and sees {seen} ({where}): {remedy}; or set "
        f"{ALLOW_CPU}=1 to let a CPU stand in"
    )
