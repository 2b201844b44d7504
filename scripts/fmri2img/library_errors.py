"""How a job says what made it fail: bad input, and errors of torch, CUDA, NCCL, DeepSpeed and the hubs' clients that a
user can do something about, in one line. Anything else keeps its traceback alone: it is a fault of ours.

"Error: ..." is final; a job that ends with "Failed: ..." is tried again where Snakemake tries jobs again.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fmri2img.errors import UserError


class Report(NamedTuple):
    """A line; again: whether the same job may succeed where it is started again. process: of several, in words."""

    line: str
    again: bool = False
    process: str = ""

    def __str__(self) -> str:
        return f"{'Failed' if self.again else 'Error'}{self.process}: {self.line}"


def reported(error: BaseException, memory: str, process: str = "") -> Report | None:
    """What to say of an error; None for one that is not known. memory: how this job would need less of a GPU's."""
    if isinstance(error, UserError):
        return Report(str(error), process=process)
    text = f"{type(error).__name__}: {error}"
    for pattern, describe in KINDS.items():
        if found := re.search(pattern, text, re.S):
            line, again = describe(found, str(error), memory)
            return Report(" ".join(line.split()), again, process)
    return None


def less_memory(config: dict[str, Any], params: Any) -> str:
    """How a script's job would need less of a GPU's memory: the keys `batch` of the sections among its parameters."""
    used = [value for _, value in params.items() if isinstance(value, dict)]
    keys = [key for key, section in _with_batch(config) if any(section.items() <= value.items() for value in used)]
    lower = f"lower {' or '.join(keys)}, or " if keys else ""
    return f"{lower}use a GPU with more memory, of which no other process uses any (nvidia-smi)"


def less_memory_of_training(stage: str | None) -> str:
    """The same of a training. stage: dotted key of its section in a study's configuration, if it is of one."""
    key = f"{stage}.training" if stage else "training"
    more = f", or use more GPUs ({stage}.gpus_per_node); config/light.yaml has a smaller MindEye2" if stage else ""
    return f"raise {key}.accumulation, set {key}.activation_checkpointing to true, or lower {key}.batch{more}"


def _with_batch(config: dict[str, Any], key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Dotted key of each `batch` of a configuration, and the section that it is in."""
    for name, value in config.items():
        if name == "batch":
            yield f"{key}{name}", config
        elif isinstance(value, dict):
            yield from _with_batch(value, f"{key}{name}.")


def _first(text: str, sentences: int = 1) -> str:
    """The first sentences of a message, which may go on over many lines."""
    line = next(iter(text.strip().splitlines()), "")
    return ". ".join(line.split(". ")[:sentences]).rstrip(".")


Describe = Callable[[re.Match, str, str], tuple[str, bool]]


def _gpu_memory(found: re.Match, text: str, memory: str) -> tuple[str, bool]:
    return f"the GPU's memory is too small ({_first(text, 3)}): {memory}", False


def _host_memory(found: re.Match, text: str, memory: str) -> tuple[str, bool]:
    remedy = "run fewer jobs at once (--cores), or give its class more on a cluster (`classes` in slurm/site.yaml)"
    return f"the machine's memory is too small ({_first(text) or 'MemoryError'}): {remedy}", True


def _operator(found: re.Match, text: str, memory: str) -> tuple[str, bool]:
    missing = "ninja" if found[2] else "a C++ compiler that works"
    return (
        f"training.deepspeed: DeepSpeed cannot compile its operator {found[1] or found[2]}, for which the node needs "
        f"{missing}: load a module that brings it (`setup` in slurm/site.yaml), or run with --sdm conda or in the "
        "container image, which hold it (envs/README.md)",
        False,
    )


def _compiler(found: re.Match, text: str, memory: str) -> tuple[str, bool]:
    remedy = "set it to false, or load a module that brings a compiler (`setup` in slurm/site.yaml)"
    return f"training.compile: torch finds no compiler ({_first(text)}): {remedy}", False


def _driver(found: re.Match, text: str, memory: str) -> tuple[str, bool]:
    remedy = "install a build of torch for both (envs/README.md), or use another GPU"
    return f"this build of torch does not fit the GPU or its driver ({_first(text)}): {remedy}", False


def _processes(found: re.Match, text: str, memory: str) -> tuple[str, bool]:
    remedy = "name the network between the nodes in `setup` of slurm/site.yaml (export NCCL_SOCKET_IFNAME=...)"
    return f"the processes of the training lost each other ({_first(text)}): {remedy}; NCCL_DEBUG=INFO says more", True


def _gpu(found: re.Match, text: str, memory: str) -> tuple[str, bool]:
    remedy = "start again, on another GPU if it comes again; CUDA_LAUNCH_BLOCKING=1 shows where it happens"
    return f"the GPU failed ({_first(text)}): {remedy}", True


def _offline(found: re.Match, text: str, memory: str) -> tuple[str, bool]:
    remedy = "delete the folder of that network in models/ and run `snakemake fetch` where there is internet"
    return f"a file of a network is not in models/ ({_first(text)}): {remedy}", False


# In this order: the first that is found in "<type>: <message>".
KINDS: dict[str, Describe] = {
    r"(CUDA|HIP|MPS backend)( error:)? out of memory|CU(BLAS|DNN)_STATUS_ALLOC_FAILED": _gpu_memory,
    r"^_?\w*MemoryError|can't allocate memory|Cannot allocate memory": _host_memory,
    r"Error building extension '(\w+)'|JIT load the (\w+) op due to ninja": _operator,
    r"Failed to find C compiler|InvalidCxxCompiler|No working C\+\+ compiler|find a working triton": _compiler,
    r"no kernel image is available|driver version is insufficient|driver on your system is too old": _driver,
    r"NCCL|^DistBackendError|Gloo connectFullMesh|gloo/transport": _processes,
    r"(CUDA|HIP) error: |cuDNN error|CU(BLAS|DNN|FFT)_STATUS_|CUDA driver error": _gpu,
    r"^(LocalEntryNotFoundError|OfflineModeIsEnabled)|(?i:couldn't connect to 'https)|outgoing traffic": _offline,
}
