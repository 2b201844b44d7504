"""The training configuration: duration, learning rate, precision and so on; nothing specific to a method."""

from typing import Literal

from pydantic import Field, model_validator

from fmri2img.paths import REPOSITORY
from fmri2img.settings.base import (
    Batch,
    Chance,
    Count,
    Positive,
    Seed,
    Settings,
    Weight,
    WrongKey,
    problem,
)


class TrainingSettings(Settings):
    """Settings of a training run in a study."""

    epochs: int = Field(ge=1, le=1_000_000, description="Passes over the training data, as the task defines them.")
    epoch_steps: Count = Field(
        0,
        description="Optimiser steps of an epoch at most, so that a long budget takes little more time than a short "
        "one; the next epoch goes on where it ends. 0 for whole passes.",
    )
    batch: Batch = Field(
        description="Samples per optimiser step, over all processes and all accumulated batches together."
    )
    accumulation: Batch = Field(
        1, description="Batches per optimiser step. A contrastive loss compares the samples within one batch."
    )
    optimiser: Literal["adamw", "adamw8bit"] = Field("adamw", description="`adamw8bit` needs bitsandbytes.")
    learning_rate: float = Field(3e-4, ge=1e-9, le=1, description="Peak learning rate.")
    weight_decay: float = Field(1e-2, ge=0, le=10, description="Decoupled weight decay.")
    schedule: Literal["one_cycle", "cosine", "linear", "constant"] = Field(
        "one_cycle",
        description="All schedules warm up over `warmup_epochs`. `one_cycle`: then a cosine to 1/25,000 of the peak, "
        "beta1 cycled from .95 to .85 and back. `cosine`: a half cosine over the whole training, times the warm-up, "
        "to a "
        "fiftieth of the peak. `linear`: a straight line to `linear_end` of the peak. `constant`: stays at the peak.",
    )
    warmup_epochs: Weight = Field(2.0, description="Epochs of warm-up.")
    linear_end: Weight = Field(0.0, description="End of the linear schedule, as a share of the peak.")
    schedule_stepping: Literal["optimiser", "per_process"] = Field(
        "optimiser",
        description="`optimiser`: the schedule advances once per optimiser step. `per_process`: once per process and "
        "step, as in the released MindEye2 on several GPUs, so that N processes end the schedule after 1/N of the "
        "training.",
    )
    precision: Literal["bf16", "fp32", "fp16"] = Field(
        "bf16",
        description="Precision of matrix products under autocast, also on the CPU. Weights and optimiser are fp32. "
        "`fp16` needs a GPU: a run on a machine without one does not begin; on a cluster each job looks on its node.",
    )
    clip: Weight = Field(1.0, description="Largest norm of the gradient; 0 for no limit.")
    ema: Chance = Field(
        0.0,
        description="Share of their moving average that the weights keep at each step; the training ends with the "
        "average. 0 for none.",
    )
    log_every: Positive = Field(
        50, description="Optimiser steps between two lines of the console log; the table has every step."
    )
    checkpoint_minutes: Weight = Field(
        0.5,
        description="Minutes between checkpoints, more where one takes longer than a fiftieth of that time to write; "
        "0 turns them off.",
    )
    checkpoint_steps: Count = Field(0, description="Optimiser steps between checkpoints; 0 turns them off.")
    validate_every_epochs: Count = Field(0, description="Epochs between validations; 0 for one at the end.")
    compile: bool = Field(False, description="Whether to compile the module with torch.compile.")
    activation_checkpointing: bool = Field(
        False, description="Whether to recompute activations in the backward pass, which saves memory."
    )
    deepspeed: str | None = Field(
        None, description="A DeepSpeed configuration (JSON), relative to the repository, or null."
    )

    @model_validator(mode="after")
    def _batches_are_whole(self) -> "TrainingSettings":
        if self.batch % self.accumulation:
            raise WrongKey(
                "batch", f"{self.batch} is not a multiple of accumulation ({self.accumulation}); change one of them"
            )
        return self

    @model_validator(mode="after")
    def _precision_is_possible(self) -> "TrainingSettings":
        if self.precision == "fp16" and self.deepspeed:
            raise WrongKey("precision", "fp16 does not go with deepspeed; use bf16 or fp32, or set deepspeed to null")
        return self

    def check_processes(self, world: int, where: str = "training configuration", key: str = "training") -> None:
        """Raise UserError when `world` processes cannot divide the batch evenly. where, key: see Settings.read."""
        if self.batch % (self.accumulation * world):
            raise problem(
                f"{key}.batch",
                f"{self.batch} is not a multiple of accumulation x processes ({self.accumulation} x {world}); change "
                "the batch or the number of processes",
                where,
            )


class Stage(Settings):
    """A stage of training: on how many GPUs it runs, from which processes and requests to a cluster follow."""

    nodes: int = Field(1, ge=1, le=1000, description="Machines that train together; more than one needs SLURM.")
    gpus_per_node: int = Field(
        1,
        ge=1,
        le=16,
        description="GPUs of each of them, with a process for each; without GPUs, processes. The resources that a job "
        "requests follow from both.",
    )
    training: TrainingSettings

    def check_processes(self, key: str) -> None:
        """Raise UserError when the processes cannot divide the batch evenly, or DeepSpeed's configuration is missing.

        key: of the stage in a configuration.
        """
        self.training.check_processes(self.nodes * self.gpus_per_node, "configuration", f"{key}.training")
        deepspeed = self.training.deepspeed
        if deepspeed is not None and not (REPOSITORY / deepspeed).is_file():
            raise problem(f"{key}.training.deepspeed", f"there is no file {REPOSITORY / deepspeed}; name one, or null")


class TrainingConfig(TrainingSettings):
    """Settings of one training run."""

    seed: Seed = Field(0, description="Seed of initial weights, samples, noise and dropout.")
