"""Describe the node that this runs on: python scripts/probe_node.py FOLDER NAME

A job of `make slurm-check`. Writes FOLDER/NAME.json with what a study needs of a node; FOLDER/token was written by the
check on the login node.
"""

import importlib
import json
import os
import platform
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from fmri2img.artifacts.atomic import atomic_file

HUB = "https://huggingface.co"
NEEDED = ("numpy", "torch", "diffusers", "transformers", "snakemake")


def packages() -> dict[str, str]:
    """Package -> its version, or the error that importing it raises."""
    found = {}
    for name in NEEDED:
        try:
            found[name] = str(getattr(importlib.import_module(name), "__version__", "there"))
        except Exception as error:  # whatever a broken installation raises
            found[name] = f"error: {type(error).__name__}: {error}"
    return found


def internet(address: str = HUB) -> str:
    """Empty if the address answers, else why not."""
    try:
        urllib.request.urlopen(address, timeout=15).close()
    except urllib.error.HTTPError:
        return ""  # something answered
    except OSError as error:
        return str(getattr(error, "reason", error))
    return ""


def gpus() -> dict:
    """The devices that SLURM handed out, the driver, and what torch sees."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or os.environ.get("ROCR_VISIBLE_DEVICES") or ""
    return {
        "handed_out": visible,
        "driver": Path("/proc/driver/nvidia/version").exists() or Path("/dev/kfd").exists(),
        "build": torch.version.cuda or torch.version.hip,
        "seen": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
    }


def scratch_error() -> str:
    """Empty if a temporary file can be written, else why not."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
    except OSError as error:
        return str(error)
    return ""


def main() -> int:
    folder, name = Path(sys.argv[1]), sys.argv[2]
    token = folder / "token"
    found = {
        "host": os.environ.get("SLURMD_NODENAME") or platform.node(),
        "token": token.read_text() if token.exists() else None,
        "python": platform.python_version(),
        "packages": packages(),
        "internet": internet(),
        "scratch": scratch_error(),
        "processors": len(os.sched_getaffinity(0)),
    }
    if not found["packages"].get("torch", "error").startswith("error"):
        found["gpus"] = gpus()
    with atomic_file(folder / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
