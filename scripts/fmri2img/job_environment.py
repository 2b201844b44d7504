"""Environment variables of jobs: set by the workflow, inherited by the jobs that it starts."""

import os
import sys
from pathlib import Path

from fmri2img.paths import SCRIPTS
from fmri2img.settings.site import Site

CUDA = "13.2"  # of the packages in envs/requirements.lock
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
# What Snakemake sets for a job of one thread (snakemake.shell).
LIBRARIES = ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR")
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in LIBRARIES} | {"VECLIB_MAXIMUM_THREADS": "1"}


def prepare(site: Site | None) -> None:
    """Set variables of this process, which its jobs inherit. Those that a user has set are kept."""
    for variable in ("http_proxy", "https_proxy", "HTTPS_PROXY") if site and site.proxy else ():
        os.environ.setdefault(variable, site.proxy)
    # `python` means this interpreter, even if its environment is not activated; a Conda environment takes precedence.
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    # Scripts in folders of datasets, methods and plug-ins are elsewhere and import the library.
    paths = [str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    # glibc gives blocks above 32 MB back to the system as soon as they are freed, and the page faults of getting them
    # again cost networks on a CPU as much as half their time; jobs keep up to 1 GiB instead.
    for variable in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        os.environ.setdefault(variable, str(2**30))
    # conda-forge's builds of torch for CUDA can be installed only where Conda finds a driver, else it takes those for a
    # CPU. Environments are made on the login node, which has no driver, for nodes that have one.
    if not NVIDIA_DRIVER.exists():
        os.environ.setdefault("CONDA_OVERRIDE_CUDA", CUDA)
    # torchrun passes a signal on to its processes, which write a checkpoint, and kills them after this time in seconds.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "1800")


def setup_of(site: Site | None) -> str:
    """What the shell runs before each job's command (Snakemake's shell prefix); nothing within a container.

    A module may bring a Python of its own, so the one of the job's environment is put first again. Braces are doubled
    because Snakemake formats the prefix.
    """
    if site is None or site.setup is None or site.container is not None:
        return ""
    setup = site.setup.strip().rstrip(";")
    return (
        (f'own=$(dirname "$(command -v python)"); set +u; {setup}; set -u; export PATH="$own:$PATH"; ')
        .replace("{", "{{")
        .replace("}", "}}")
    )


def measure_memory_every(seconds: float) -> None:
    """Set the time between Snakemake's readings of a job's memory.

    Each takes 25 ms of the kernel's time for a process that holds torch; at Snakemake's half a second that is a tenth
    of a core for as long as short jobs follow each other.
    """
    import snakemake.benchmark

    snakemake.benchmark.BENCHMARK_INTERVAL_SHORT = seconds
