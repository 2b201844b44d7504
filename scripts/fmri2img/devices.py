"""The GPUs that a job requested: taken from those of a machine without a scheduler, and checked.

Snakemake only counts GPUs. On a machine with several, each job takes its own here and sees no others, as it would under
Slurm; `python -m fmri2img.devices 2 torchrun ...` takes two and runs a command with them.

A job that requests GPUs and does not see them must not run on the CPU for days instead. Where a CPU is meant to stand
in, as in tests with a cluster of stand-in devices, set the environment variable FMRI2IMG_ALLOW_CPU to 1.
"""

import os
import re
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from fmri2img import liveness
from fmri2img.errors import UserError
from fmri2img.locks import lock

ALLOW_CPU = "FMRI2IMG_ALLOW_CPU"
VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL = 1.0  # seconds between two looks for a free GPU

_held: list[IO] = []  # locks of the GPUs that this process took


def gpus_of(resources: Any) -> int:
    """GPUs on a node that a job's resources request, as `gpu` or as `gres` (gpu:a100:4)."""
    gres = re.fullmatch(r"gpu(?::[^:]*[^:\d][^:]*)?(?::(\d+))?", str(resources.get("gres") or ""))
    return int(gres[1] or 1) if gres else int(resources.get("gpu") or 0)


def take_gpus(requested: int) -> None:
    """Make as many GPUs as a job requested the only ones that this process, and those that it starts, see.

    Waits while other jobs have them. They stay taken until this process ends. Raises UserError as `check_gpus` does.
    """
    if requested and _are_shared(there := visible(), requested):
        taken = _free(there, requested)
        if len(taken) < requested:
            print(f"waiting for {requested} of the GPUs {', '.join(there)}, which other jobs use", flush=True)
        while len(taken) < requested:
            time.sleep(POLL)
            taken = _free(there, requested)
        _held.extend(taken.values())
        os.environ[VISIBLE] = ",".join(taken)
    check_gpus(requested)


def visible() -> list[str]:
    """The GPUs that this process may use, as the variable VISIBLE names them."""
    if VISIBLE in os.environ:
        return [name for name in os.environ[VISIBLE].split(",") if name]
    import torch

    return list(map(str, range(torch.cuda.device_count())))  # without CUDA, which would read the variable too early


def _are_shared(there: list[str], requested: int) -> bool:
    """Whether other jobs may use these GPUs. Those that Slurm gives to a job are its own."""
    return len(there) > requested or (len(there) == requested and "SLURM_JOB_ID" not in os.environ)


def _free(there: list[str], requested: int) -> dict[str, IO]:
    """The locks of as many free GPUs as requested; none where there are fewer, so that two jobs never hold one each."""
    folder = Path(tempfile.gettempdir(), f"fmri2img-gpus-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    taken: dict[str, IO] = {}
    for name in there:
        file: IO = open(folder / re.sub(r"\W", "_", name), "a+")  # noqa: SIM115  (held as long as the process lives)
        if len(taken) < requested and lock(file) is not False:
            taken[name] = file
        else:
            file.close()
    if len(taken) < requested:
        for held in taken.values():
            held.close()
        return {}
    return taken


def main() -> None:
    """Take GPUs, then become the command, which keeps the locks."""
    number, command = int(sys.argv[1]), sys.argv[2:]
    liveness.follow()
    try:
        take_gpus(number)
    except UserError as error:
        sys.exit(f"Error: {error}")
    for file in _held:
        os.set_inheritable(file.fileno(), True)
    os.execvp(command[0], command)


def check_gpus(requested: int) -> None:
    """Raise UserError when torch does not see the GPUs that a job requested."""
    if not requested or os.environ.get(ALLOW_CPU) == "1":
        return
    import torch

    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen >= requested:
        return
    job = f", Slurm job {os.environ['SLURM_JOB_ID']}" if "SLURM_JOB_ID" in os.environ else ""
    given = os.environ.get(VISIBLE)
    where = f"{socket.gethostname()}{job}, {VISIBLE} {'not set' if given is None else f'= {given!r}'}"
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


if __name__ == "__main__":
    main()
