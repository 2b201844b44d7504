"""What a method provides to the training engine: its network, its batches and its loss terms.

A configuration file (JSON) names the class and holds its settings:

    {"task": "fmri2img.methods.mindeye2.task:MindEye2Task",
     "settings": {...},      of the task: paths of artifacts, model, losses
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

    module: the network with all trained parameters, in fp32. The engine wraps it (DistributedDataParallel, DeepSpeed,
        torch.compile) and calls `wrapped(inputs)`, which returns the loss terms, {name: 0-d tensor}, already weighted;
        the loss is their sum. Terms are means over this process's share of the batch, or, where a term compares
        samples with each other, over rows gathered by `distributed.gather`; the engine averages gradients and
        logged terms over processes. The forward pass runs under autocast of `training.precision`; a term that needs
        fp32 disables autocast itself. It draws no random numbers: they come with the inputs, including the masks of
        dropout (dropout.py).
    """

    module: nn.Module

    def __init__(self, settings: dict[str, Any], training: TrainingConfig) -> None:
        """Build the network and open the data. Raises UserError for bad settings.

        training.seed seeds everything random; with training.activation_checkpointing the task recomputes activations
        (torch.utils.checkpoint, use_reentrant=False) in the backward pass.
        """
        ...

    def sources(self) -> dict[str, str]:
        """Name of each artifact that the training uses -> a fingerprint of its content (sources.fingerprint).

        A checkpoint is not resumed if one of them has changed.
        """
        ...

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Parameter groups for the optimiser, with every trained parameter in exactly one: {"params": [...], ...}.

        A group's "rate" is its learning rate as a multiple of the schedule's, 1 without; the first group's is logged.
        """
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
        `sampler.generator`): a resumed run repeats it, and it is called ahead of time in a separate thread. The shares
        of all processes together are the same samples, mixed and noised in the same way, for any number of processes.
        """
        ...

    def validate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Metrics on a held-out part of the TRAINING images. They are logged but never used to choose weights.

        Called in every process with the unwrapped `module` in eval mode, without gradients, under autocast.
        """
        ...

    def save(self, directory: Path, metadata: dict[str, Any]) -> None:
        """Write the trained `self.module` into the existing, empty `directory`; called in the main process, once.

        metadata: JSON-ready record of the training (the same as training.json next to it).
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
