"""What the training engine asks of a method: its network, its batches and its loss terms.

A configuration file (JSON) names the class and holds what it needs:

    {"task": "fmri2img.methods.mindeye2.task:MindEye2Task",
     "settings": {...},      the task's own: paths of artifacts, model, losses
     "training": {...}}      TrainingConfig: epochs, batch, optimiser, precision, ...

and the engine calls `MindEye2Task(settings, training)` in every process, after seeding torch with `training.seed`.
"""

import importlib
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fmri2img.errors import UserError
from fmri2img.training.configuration import TrainingConfig


class Task(Protocol):
    """A trainable method.

    module: everything that is trained, in fp32. The engine wraps it (DistributedDataParallel, DeepSpeed,
        torch.compile) and calls `wrapped(inputs)`, which returns the loss terms, {name: 0-d tensor}, already weighted;
        the loss is their sum. Terms are means over this process's share of the batch, or, where a term compares
        samples with each other, are computed over `distributed.gather`ed rows; the engine averages gradients and
        logged terms over processes. The forward pass runs under autocast of `training.precision`; a term that needs
        fp32 disables autocast itself. It draws no random numbers: those come with the inputs, dropout's masks too
        (dropout.py).
    """

    module: nn.Module

    def __init__(self, settings: dict[str, Any], training: TrainingConfig) -> None:
        """Build the network and open the data. Raises UserError for bad settings.

        training.seed seeds everything random; training.activation_checkpointing asks the task to recompute
        activations (torch.utils.checkpoint, use_reentrant=False) in the backward pass.
        """
        ...

    def sources(self) -> dict[str, str]:
        """Name of each artifact that the training is made from -> what tells it from another one (sources.fingerprint).

        A checkpoint is not gone on from where one of them has changed.
        """
        ...

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Parameter groups for the optimiser, every trained parameter in exactly one: {"params": [...], ...}."""
        ...

    def steps_per_epoch(self, batch: int) -> int:
        """Optimiser steps of one epoch with a global batch of `batch` samples."""
        ...

    def inputs(self, step: int, epoch: int, batch: int, rank: int, world: int, device: torch.device) -> dict[str, Any]:
        """Process `rank`'s share of global batch number `step`, on `device`; passed to the module unchanged.

        step: 0-based number of the batch. With gradient accumulation an optimiser step takes `accumulation`
            consecutive batches of `batch` = training.batch / accumulation samples each.
        epoch: 0-based, for schedules of the loss.
        batch: samples over all processes; always a multiple of `world`.

        A pure function of its arguments and the seed, with no state and no use of the global random generators (see
        `sampler.generator`): a resumed run repeats it, it is called ahead of time in a thread of its own, and the
        shares of any number of processes together are the same samples, mixed and noised in the same way.
        """
        ...

    def validate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Metrics on a held-out slice of the TRAINING images; logged, never used to choose weights.

        Called in every process with the unwrapped `module` in eval mode, without gradients, under autocast.
        """
        ...

    def save(self, directory: Path, metadata: dict[str, Any]) -> None:
        """Write the trained `self.module` into the existing, empty `directory`; called in the main process, once.

        metadata: JSON-ready record of the training (the same as training.json beside it).
        """
        ...


def task_class(name: str) -> type[Task]:
    """The class named "package.module:Class". Raises UserError when there is none."""
    module, separator, attribute = name.partition(":")
    if not separator:
        raise UserError(f"training configuration: task '{name}' is not of the form 'package.module:Class'")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name and not (module == error.name or module.startswith(f"{error.name}.")):
            raise  # the task's module exists and something that it imports does not
        raise UserError(f"training configuration: task '{name}': there is no module '{module}'") from error
    except AttributeError as error:
        raise UserError(f"training configuration: task '{name}': '{module}' has no '{attribute}'") from error


def total_loss(terms: dict[str, Tensor]) -> Tensor:
    """Sum of the weighted loss terms."""
    return torch.stack([term.float() for term in terms.values()]).sum()
