"""One training loop for all recipes: AdamW, warm-up and decay, weight averaging, checkpoints, plain log lines.

Every random number of the `n`th batch follows from (seed, n) alone, so a run that was killed and resumed from its
checkpoint ends with the same weights as one that was not. A step takes `accumulation` batches in each process, and
batches are numbered through: two processes see the batches that one process sees with twice the accumulation.
"""

import contextlib
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fmri2img.errors import UserError

LOG_EVERY = 50


@dataclass(frozen=True)
class Schedule:
    """Optimiser settings of one recipe, as they stand in the recipe file.

    batch: pictures per process and batch; a step learns from batch * accumulation * processes. decay: "cosine", to a
    fiftieth at the last step, or "constant" after the warm-up. ema: decay of the averaged weights, 0 for none.
    precision: "float32", or "bfloat16" for autocast with float32 weights. clip: largest gradient norm, null for any.
    checkpoint_seconds: least time between two checkpoints.
    """

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 200
    decay: str = "cosine"
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float | None = 1.0
    accumulation: int = 1
    ema: float = 0.0
    precision: str = "float32"
    seed: int = 0
    checkpoint_seconds: float = 60.0

    def __post_init__(self):
        for key, allowed in {"decay": ("cosine", "constant"), "precision": ("float32", "bfloat16")}.items():
            if getattr(self, key) not in allowed:
                raise UserError(f"schedule: key '{key}': {getattr(self, key)!r} is none of {', '.join(allowed)}")


@dataclass(frozen=True)
class Fitted:
    """The averaged weights' module (or the trained one without averaging) and the seconds spent on training."""

    module: nn.Module
    seconds: float


def learning_rate(schedule: Schedule, step: int) -> float:
    warm = min(1.0, (step + 1) / schedule.warmup)
    if schedule.decay == "constant":
        return schedule.learning_rate * warm
    return schedule.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / schedule.steps)))


def processes(device: torch.device) -> Accelerator:
    """The processes that torchrun started, or this one alone; `.device` is where this process is to work."""
    return Accelerator(cpu=device.type == "cpu", mixed_precision="no")


def fit(
    module: nn.Module,
    loss_of: Callable[[nn.Module, np.random.Generator], dict[str, torch.Tensor]],
    schedule: Schedule,
    work: Path,
    device: torch.device,
    log: Callable[[str], None] = print,
    *,
    recipe: dict,
) -> Fitted:
    """Train `module` on the sum of the losses that `loss_of` returns for one batch.

    `loss_of` draws its batch from the NumPy generator it is given; torch's global generator is seeded for it as well.
    With several processes the module is wrapped (DistributedDataParallel), so `loss_of` may only call it. Checkpoints
    lie in `work`; a finished run leaves its last one, so calling again returns at once. recipe: what decides the result
    beside the schedule, JSON-ready; schedules in it are passed over. Raises UserError when `work` holds a checkpoint of
    another recipe or schedule.
    """
    group = processes(device)
    module.to(group.device).train()
    averaged = None
    if schedule.ema:
        averaged = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(schedule.ema))
    optimiser = torch.optim.AdamW(
        module.parameters(),
        weight_decay=schedule.weight_decay,
        betas=tuple(schedule.betas),
        fused=group.device.type == "cuda",
    )
    checkpoint = work / "checkpoint.safetensors"
    settings = deciding(recipe, schedule, group.num_processes)
    start, seconds = restore(checkpoint, module, averaged, optimiser, settings)
    wrapped = group.prepare_model(module)
    began = saved = time.monotonic()
    running: dict[str, float] = {}
    for step in range(start, schedule.steps):
        for group_of_weights in optimiser.param_groups:
            group_of_weights["lr"] = learning_rate(schedule, step)
        for part in range(schedule.accumulation):
            number = (step * schedule.accumulation + part) * group.num_processes + group.process_index
            torch.manual_seed(schedule.seed * 1_000_003 + number)
            last = part == schedule.accumulation - 1
            with contextlib.nullcontext() if last else group.no_sync(wrapped):
                with torch.autocast(group.device.type, torch.bfloat16, enabled=schedule.precision == "bfloat16"):
                    losses = loss_of(wrapped, np.random.default_rng((schedule.seed, number)))
                (sum(losses.values()) / schedule.accumulation).backward()
            for key, value in losses.items():
                if not math.isfinite(term := float(value.detach())):
                    raise FloatingPointError(f"step {step + 1}: loss '{key}' is {term}; {checkpoint} is kept")
                running[key] = running.get(key, 0.0) + term / (LOG_EVERY * schedule.accumulation)
        if schedule.clip is not None:
            nn.utils.clip_grad_norm_(module.parameters(), schedule.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if averaged is not None:
            averaged.update_parameters(module)
        now = time.monotonic()
        if (step + 1) % LOG_EVERY == 0:
            shown = "  ".join(f"{key} {value:.4f}" for key, value in running.items())
            if group.is_main_process:
                log(f"step {step + 1}/{schedule.steps}  {shown}  {seconds + now - began:.0f} s")
            running = {}
        if group.is_main_process and (now - saved > schedule.checkpoint_seconds or step + 1 == schedule.steps):
            progress = {"step": step + 1, "seconds": seconds + now - began, "settings": settings}
            keep(checkpoint, module, averaged, optimiser, progress)
            saved = now
    group.wait_for_everyone()
    final = averaged.module if averaged is not None else module
    return Fitted(final.eval().requires_grad_(False), seconds + time.monotonic() - began)


def deciding(recipe: dict, schedule: Schedule, processes: int) -> dict:
    """{key: value} of what decides the weights that a training ends with.

    A step learns from accumulation * processes batches, in whichever way they are divided.
    """
    settings = {key: value for key, value in recipe.items() if not key.endswith("schedule")}
    for key, value in dataclasses.asdict(schedule).items():
        if key not in ("accumulation", "checkpoint_seconds"):
            settings[f"schedule.{key}"] = value
    settings["schedule.accumulation x processes"] = schedule.accumulation * processes
    return json.loads(json.dumps(settings))


def keep(checkpoint, module, averaged, optimiser, progress):
    """Write weights, averaged weights and AdamW's moments with `progress` (JSON-ready); whole or not at all."""
    tensors = {f"module.{k}": v for k, v in module.state_dict().items()}
    if averaged is not None:
        tensors |= {f"averaged.{k}": v for k, v in averaged.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"moment.{index}.{k}": v for k, v in state.items()}
    tensors = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    part = checkpoint.with_suffix(".part")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, part, metadata={"progress": json.dumps(progress)})
    os.replace(part, checkpoint)


def restore(checkpoint, module, averaged, optimiser, settings) -> tuple[int, float]:
    """Step and seconds that `checkpoint` had reached; (0, 0.0) if there is none.

    Raises UserError naming what differs where it was written with other settings (`deciding`).
    """
    if not checkpoint.exists():
        return 0, 0.0
    with safe_open(checkpoint, "pt") as stored:
        progress = json.loads(stored.metadata()["progress"])
        before = progress.get("settings", {})
        changed = sorted(key for key in before.keys() | settings.keys() if before.get(key) != settings.get(key))
        if changed:
            raise UserError(
                f"{checkpoint}: is a checkpoint of another recipe ({', '.join(changed)} changed); restore the recipe "
                "to go on with it, or delete the file to start afresh"
            )
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a dict

    def under(prefix):
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    module.load_state_dict(under("module."))
    if averaged is not None:
        averaged.load_state_dict(under("averaged."))
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in under("moment.").items():
        index, name = key.split(".")
        moments.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    return progress["step"], progress["seconds"]
