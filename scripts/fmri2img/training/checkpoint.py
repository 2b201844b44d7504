"""Checkpoints that a kill at any moment cannot damage.

    <work>/step-00001200/     the newest complete checkpoint (only a complete one has this name: it is written under
                              another name, and is renamed again before it is removed)
        state.json            step, training configuration, number of processes, scalars of the optimiser
        model.safetensors     weights and buffers, fp32
        optimiser.safetensors moments
        average.safetensors   with training.ema, the moving average of the weights
        log.parquet           the table of all steps so far
        engine/               with DeepSpeed, instead of the two safetensors files: DeepSpeed's own format

Sampler and random generators are pure functions of the seed and the step, so their state needs no file.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor

from fmri2img.artifacts.atomic import is_full, raise_refused
from fmri2img.errors import UserError

PREFIX = "step-"
TABLE, EVENTS = "log.parquet", "tensorboard"
# Keys of the training configuration that a resumed run may change because they do not affect the result.
FREE_KEYS = ("log_every", "checkpoint_minutes", "checkpoint_steps", "validate_every_epochs")


def path_of(work: Path, step: int) -> Path:
    """Folder of the checkpoint after `step` optimiser steps."""
    return work / f"{PREFIX}{step:08d}"


def newest(work: Path) -> Path | None:
    """The newest complete checkpoint in `work`."""
    return max((path for path in work.glob(f"{PREFIX}*") if not path.suffix), default=None)


def partial(work: Path, step: int) -> Path:
    """Make and return an empty folder, the temporary name of a checkpoint. Raises UserError when the disk is full."""
    path = path_of(work, step).with_suffix(".part")
    shutil.rmtree(path, ignore_errors=True)
    with disk_errors(path):
        path.mkdir(parents=True)
    return path


def publish(work: Path, step: int) -> Path:
    """Rename a checkpoint from its temporary to its final name, then remove older ones and leftovers."""
    temporary, path = path_of(work, step).with_suffix(".part"), path_of(work, step)
    with disk_errors(temporary):
        for file in [*temporary.rglob("*"), temporary]:
            _to_disk(file)
        _remove(path)
        os.rename(temporary, path)
        _to_disk(work)
    for other in work.glob(f"{PREFIX}*"):
        if other != path:
            _remove(other)
    return path


def discard(work: Path) -> None:
    """Remove the checkpoints and records of a training that has ended."""
    for path in work.glob(f"{PREFIX}*"):
        _remove(path)
    shutil.rmtree(work / EVENTS, ignore_errors=True)
    for path in work.glob(f"*{TABLE}*"):  # with the record of its checksum
        path.unlink()


def _remove(path: Path) -> None:
    """Remove a checkpoint, complete or partial; a kill in the middle leaves none that looks complete."""
    if path.exists() and not path.suffix:
        gone = path.with_suffix(".gone")
        shutil.rmtree(gone, ignore_errors=True)
        path = path.rename(gone)
    shutil.rmtree(path, ignore_errors=True)


class Tensors:
    """A copy, in the memory of the host, of weights, buffers and moments, which training goes on from meanwhile.

    scalars: the rest of the optimiser's state, JSON-ready.
    """

    def __init__(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer) -> None:
        copies: dict[tuple, Tensor] = {}  # tensors that share their memory share their copy
        self._model = {name: _copied(value, copies) for name, value in module.state_dict().items()}
        self._moments: dict[str, Tensor] = {}
        self.scalars: dict[str, Any] = {}
        for number, state in optimiser.state_dict()["state"].items():
            for key, value in state.items():
                if torch.is_tensor(value):
                    self._moments[f"{number}.{key}"] = _copied(value, copies).contiguous()
                else:
                    self.scalars[f"{number}.{key}"] = value

    def state_dict(self) -> dict[str, Tensor]:
        """Weights and buffers, for safetensors' save_model."""
        return dict(self._model)

    def save(self, folder: Path) -> None:
        """Write model.safetensors and optimiser.safetensors."""
        with disk_errors(folder):
            save_model(self, str(folder / "model.safetensors"))
            save_file(self._moments, folder / "optimiser.safetensors")


def _copied(value: Tensor, copies: dict[tuple, Tensor]) -> Tensor:
    key = (value.device, value.data_ptr(), value.dtype, value.shape, value.stride())
    if key not in copies or not value.numel():
        copies[key] = value.detach().to("cpu", copy=True)
    return copies[key]


def load_tensors(
    folder: Path, module: torch.nn.Module, optimiser: torch.optim.Optimizer, scalars: dict[str, Any]
) -> None:
    """Restore what `Tensors.save` wrote, exactly."""
    load_model(module, folder / "model.safetensors", strict=True)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in (load_file(folder / "optimiser.safetensors") | scalars).items():
        number, _, key = name.partition(".")
        parameter = parameters[int(number)]
        if torch.is_tensor(value) and value.shape == parameter.shape:
            # a fused step expects moments in the memory layout of their parameter, e.g. channels last
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write state.json."""
    with disk_errors(folder):
        (folder / "state.json").write_text(json.dumps(state, indent=2) + "\n")


def load_state(folder: Path, config: dict[str, Any], world: int) -> dict[str, Any]:
    """Read state.json. Raises UserError when the checkpoint has another configuration or other artifacts.

    config: the whole configuration of this run (task, settings, training), and its sources.
    """
    state = json.loads((folder / "state.json").read_text())
    changed = changed_keys(state["config"], config)
    if changed:
        raise UserError(
            f"{folder.parent}: holds a checkpoint of another configuration ({', '.join(changed)} changed); "
            "restore the old one to resume, or delete the folder to start over"
        )
    if state["processes"] != world and config["training"].get("deepspeed"):
        raise UserError(
            f"{folder.parent}: this DeepSpeed checkpoint is for {state['processes']} processes, but {world} are "
            "running; "
            f"start {state['processes']}, or delete the folder to start over"
        )
    return state


def changed_keys(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Dotted keys that affect the result and in which two whole configurations differ."""
    before, now = _fixed(before), _fixed(now)
    return sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))


def _fixed(config: dict[str, Any]) -> dict[str, Any]:
    """{dotted key: value} of all keys that affect the result."""
    flat = {f"training.{key}": value for key, value in config["training"].items() if key not in FREE_KEYS}
    for part in ("settings", "sources"):
        flat |= {f"{part}.{key}": value for key, value in config.get(part, {}).items()}
    return json.loads(json.dumps(flat | {"task": config["task"]}))


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a write that is refused, as Python or safetensors reports it, into a UserError that names `path`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if is_full(error):
            what = "the disk is full; the last complete checkpoint is kept: free some space and rerun"
            raise UserError(f"{path}: {what}") from error
        raise_refused(path, error)
        raise


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn whatever a damaged or incomplete checkpoint makes its readers raise into a UserError that names it."""
    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of JSON, safetensors, Parquet, torch or DeepSpeed
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UserError(
            f"{folder}: the checkpoint cannot be read ({reason}); delete {folder.parent} to start the training over"
        ) from error


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
