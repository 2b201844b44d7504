"""training.json: the record of how a decoder was trained."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

LIBRARIES = ("torch", "accelerate", "safetensors", "numpy")


def training_record(run: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """`run` (configuration, steps, seconds, processes, validation) with devices and library versions added."""
    libraries = [*LIBRARIES, *(["deepspeed"] if run["config"]["training"]["deepspeed"] else [])]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    versions = {library: version(library) for library in libraries}
    return run | {"device": device.type, "device_name": name, "versions": versions}


def save_record(path: Path, record: dict[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=2) + "\n")
