"""The training configuration: how long, how fast, in which precision; nothing about any one method."""

import dataclasses
import difflib
import types
import typing
from dataclasses import dataclass
from typing import Any

from fmri2img.errors import UserError

CHOICES = {
    "optimiser": ("adamw", "adamw8bit"),
    "schedule": ("one_cycle", "cosine", "linear", "constant"),
    "precision": ("bf16", "fp32", "fp16"),
    "schedule_stepping": ("optimiser", "per_process"),
}


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one training run.

    epochs: of the task's own definition.
    batch: samples per optimiser step, over all processes and all accumulated batches.
    accumulation: batches per optimiser step; a contrastive loss compares samples within one of them.
    optimiser: adamw | adamw8bit (needs bitsandbytes).
    schedule: one_cycle (warm up over `warmup_epochs`, cosine to 1/25,000 of the peak, beta1 cycled from .95 to .85 and
        back) | cosine (warm up, and a half cosine over the whole training down to a fiftieth of the peak) | linear
        (warm up, then straight to `linear_end` of the peak) | constant (warm up, then constant).
    schedule_stepping: optimiser: one step of the schedule per optimiser step; per_process: as the released MindEye2
        does on several GPUs, one step per process, so that N processes end the schedule after 1/N of the training.
    precision: of matrix products under autocast; weights and optimiser state are fp32. bf16 also on the CPU.
    clip: largest norm of the gradient, 0 for no limit.
    ema: share of their moving average that the weights keep at each step; the training ends with the average. 0 for
        none.
    seed: of initial weights, samples, noise and dropout.
    log_every: optimiser steps between lines of the console log; the table has every step.
    checkpoint_minutes, checkpoint_steps: what comes first; 0 turns one off.
    validate_every_epochs: 0 for only at the end.
    compile: torch.compile the module. activation_checkpointing: recompute activations in the backward pass.
    deepspeed: path of a DeepSpeed configuration (JSON), relative to the repository, or null.
    """

    epochs: int
    batch: int
    accumulation: int = 1
    optimiser: str = "adamw"
    learning_rate: float = 3e-4
    weight_decay: float = 1e-2
    schedule: str = "one_cycle"
    warmup_epochs: float = 2.0
    linear_end: float = 0.0
    schedule_stepping: str = "optimiser"
    precision: str = "bf16"
    clip: float = 1.0
    ema: float = 0.0
    seed: int = 0
    log_every: int = 50
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int = 0
    validate_every_epochs: int = 0
    compile: bool = False
    activation_checkpointing: bool = False
    deepspeed: str | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainingConfig":
        """Check and fill in defaults. Raises UserError naming the first offending key of `training`."""
        hints = typing.get_type_hints(cls)
        for key in values:
            if key not in hints:
                near = difflib.get_close_matches(key, hints, 1)
                hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(hints)}"
                raise UserError(f"training configuration: unknown key 'training.{key}'; {hint}")
        for field in dataclasses.fields(cls):
            if field.name not in values:
                if field.default is dataclasses.MISSING:
                    raise UserError(f"training configuration: key 'training.{field.name}' is missing")
                continue
            _check_type(field.name, values[field.name], hints[field.name])
        config = cls(**values)
        config._check_values()
        return config

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def check_processes(self, world: int) -> None:
        """Raise UserError when `world` processes cannot divide the batch evenly."""
        if self.batch % (self.accumulation * world):
            raise UserError(
                f"training.batch = {self.batch} is not a multiple of training.accumulation x processes = "
                f"{self.accumulation} x {world}; change the batch or the number of processes"
            )

    def _check_values(self) -> None:
        for key, allowed in CHOICES.items():
            if getattr(self, key) not in allowed:
                raise UserError(f"training.{key} = '{getattr(self, key)}'; it must be one of {', '.join(allowed)}")
        for key in ("epochs", "batch", "accumulation", "log_every"):
            if getattr(self, key) < 1:
                raise UserError(f"training.{key} = {getattr(self, key)}; it must be at least 1")
        if not self.learning_rate > 0:
            raise UserError(f"training.learning_rate = {self.learning_rate}; it must be greater than 0")
        for key in ("weight_decay", "warmup_epochs", "linear_end", "clip", "seed", "checkpoint_minutes",
                    "checkpoint_steps", "validate_every_epochs"):  # fmt: skip
            if not getattr(self, key) >= 0:
                raise UserError(f"training.{key} = {getattr(self, key)}; it must not be negative")
        if not 0 <= self.ema < 1:
            raise UserError(f"training.ema = {self.ema}; it must be at least 0 and less than 1")
        if self.batch % self.accumulation:
            raise UserError(
                f"training.batch = {self.batch} is not a multiple of training.accumulation = {self.accumulation}"
            )


def _check_type(key: str, value: Any, hint: Any) -> None:
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if float in allowed:
        allowed = (*allowed, int)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        wanted = " or ".join("null" if kind is types.NoneType else kind.__name__ for kind in allowed)
        raise UserError(f"training.{key} = {value!r}; it must be {wanted}")
