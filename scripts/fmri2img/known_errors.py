"""How a job says what made it fail: bad input, and errors of torch, CUDA, NCCL, DeepSpeed and the hubs' clients that a
user can do something about, in one line. Anything else keeps its traceback alone: it is a fault of ours.

"Error: ..." is final; a job that ends with "Failed: ..." is tried again where Snakemake tries jobs again.
"""

import re
from collections.abc import Iterator
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
    name, text = type(error).__name__, str(error)
    for kind in KINDS:
        if found := re.search(kind.pattern, f"{name}: {text}", re.S):
            parts = {"first": _first(text) or name, "start": _first(text, 3), "memory": memory}
            line = kind.line.format(**parts, **found.groupdict())
            return Report(" ".join(line.split()), kind.again, process)
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


class Kind(NamedTuple):
    """pattern: of "<type>: <message>". line: what to say, with the pattern's groups, the message's `first` sentence or
    three (`start`), and `memory`."""

    pattern: str
    line: str
    again: bool = False


COMPILER = (
    "training.deepspeed: DeepSpeed cannot compile its operator {operator}, for which the node needs {missing}: load "
    "a module that brings it (`setup` in slurm/site.yaml), or run with --sdm conda or in the container image, which "
    "hold it (envs/README.md)"
)
# The first that fits counts.
KINDS = (
    Kind(
        r"(CUDA|HIP|MPS backend)( error:)? out of memory|CU(BLAS|DNN)_STATUS_ALLOC_FAILED",
        "the GPU's memory is too small ({start}): {memory}",
    ),
    Kind(
        r"^_?\w*MemoryError|can't allocate memory|Cannot allocate memory",
        "the machine's memory is too small ({first}): run fewer jobs at once (--cores), or give its class more on a "
        "cluster (`classes` in slurm/site.yaml)",
        again=True,
    ),
    Kind(r"Error building extension '(?P<operator>\w+)'", COMPILER.replace("{missing}", "a C++ compiler that works")),
    Kind(r"JIT load the (?P<operator>\w+) op due to ninja", COMPILER.replace("{missing}", "ninja")),
    Kind(
        r"Failed to find C compiler|InvalidCxxCompiler|No working C\+\+ compiler|find a working triton",
        "training.compile: torch finds no compiler ({first}): set it to false, or load a module that brings a compiler "
        "(`setup` in slurm/site.yaml)",
    ),
    Kind(
        r"no kernel image is available|driver version is insufficient|driver on your system is too old",
        "this build of torch does not fit the GPU or its driver ({first}): install a build of torch for both "
        "(envs/README.md), or use another GPU",
    ),
    Kind(
        r"NCCL|^DistBackendError|Gloo connectFullMesh|gloo/transport",
        "the processes of the training lost each other ({first}): name the network between the nodes in `setup` of "
        "slurm/site.yaml (export NCCL_SOCKET_IFNAME=...); NCCL_DEBUG=INFO says more",
        again=True,
    ),
    Kind(
        r"(CUDA|HIP) error: |cuDNN error|CU(BLAS|DNN|FFT)_STATUS_|CUDA driver error",
        "the GPU failed ({first}): start again, on another GPU if it comes again; CUDA_LAUNCH_BLOCKING=1 shows where "
        "it happens",
        again=True,
    ),
    Kind(
        r"^(LocalEntryNotFoundError|OfflineModeIsEnabled)|(?i:couldn't connect to 'https)|outgoing traffic",
        "a file of a network is not in models/ ({first}): delete the folder of that network in models/ and run "
        "`snakemake fetch` where there is internet",
    ),
)
