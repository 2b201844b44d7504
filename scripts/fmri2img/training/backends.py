"""Optimiser steps and checkpoints, either plain (one process or DDP) or with DeepSpeed.

Both offer backward(loss, last), step() -> norm of the gradient before clipping, save(folder) -> JSON-ready state and a
function that writes the tensors, now or later in another thread, and load(folder, state).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from fmri2img.training import checkpoint, distributed, optimisers
from fmri2img.training.configuration import TrainingConfig
from fmri2img.training.dropout import check_dropout


def backend(accelerator: Accelerator, config: TrainingConfig, module: nn.Module, groups: list[dict[str, Any]]):
    """Wrap `module` and its optimiser for the processes that train together."""
    optimisers.check_groups(module, groups)
    check_dropout(module)
    kind = DeepSpeed if config.deepspeed else Plain
    return kind(accelerator, config, module, optimisers.optimiser(config, groups))


class Plain:
    """One process, or several with DistributedDataParallel."""

    def __init__(self, accelerator: Accelerator, config: TrainingConfig, module: nn.Module, optimiser) -> None:
        self._accelerator, self._clip = accelerator, config.clip
        self._module = module
        if config.compile:
            module.compile()
        self.wrapped, self._optimiser = accelerator.prepare(module, optimiser)
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._accumulation = config.accumulation

    def set_rates(self, rate: float, beta1: float | None) -> None:
        _set_rates(self._optimiser.param_groups, rate, beta1)

    @property
    def learning_rate(self) -> float:
        """The rate that the optimiser will actually use."""
        return self._optimiser.param_groups[0]["lr"]

    def backward(self, loss: Tensor, last: bool) -> None:
        """Accumulate the gradient of loss / accumulation; processes exchange it at the `last` batch of a step."""
        if last:
            self._accelerator.backward(loss)
        else:
            with self._accelerator.no_sync(self.wrapped):
                self._accelerator.backward(loss)

    def gradient_norm(self) -> Tensor | None:
        """Norm of the accumulated gradient of all parameters, before clipping."""
        self._accelerator.unscale_gradients()
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)

    def step(self, norm: float) -> float:
        """Clip, step and clear the gradients. norm: the result of gradient_norm, which is also returned."""
        if self._clip and norm > self._clip:  # clipping needs a pass over all gradients, so skip it if possible
            torch.nn.utils.clip_grads_with_norm_(self._parameters, self._clip, torch.tensor(norm))
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        return norm

    @property
    def may_skip(self) -> bool:
        """Whether infinite gradients are expected, as in fp16 while the loss scale is being lowered."""
        return self._accelerator.scaler is not None and self._accelerator.scaler.get_scale() > 1

    def save(self, folder: Path) -> tuple[dict[str, Any], Callable[[], None]]:
        """Copy the tensors, which the returned function writes; the main process has all of them."""
        if not self._accelerator.is_main_process:
            return {}, _nothing
        scaler = self._accelerator.scaler
        tensors = checkpoint.Tensors(self._module, self._optimiser.optimizer)
        state = {"optimiser": tensors.scalars, "scaler": scaler.state_dict() if scaler else None}
        return state, lambda: tensors.save(folder)

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        checkpoint.load_tensors(folder, self._module, self._optimiser.optimizer, state["optimiser"])
        if state["scaler"]:
            self._accelerator.scaler.load_state_dict(state["scaler"])


class DeepSpeed:
    """ZeRO stages 1 and 2: optimiser state divided over the processes, or on the CPU if so configured."""

    may_skip = False

    def __init__(self, accelerator: Accelerator, config: TrainingConfig, module: nn.Module, optimiser) -> None:
        if config.compile:
            module.compile()
        self.wrapped, self._optimiser = accelerator.prepare(module, optimiser)

    def set_rates(self, rate: float, beta1: float | None) -> None:
        _set_rates(self._optimiser.param_groups, rate, beta1)

    @property
    def learning_rate(self) -> float:
        return self._optimiser.param_groups[0]["lr"]

    def backward(self, loss: Tensor, last: bool) -> None:
        # not accelerator.backward, which also steps before the loss terms can be checked
        self.wrapped.set_gradient_accumulation_boundary(is_boundary=last)
        self.wrapped.backward(loss)

    def gradient_norm(self) -> None:
        """None, because DeepSpeed knows the norm only after the step."""

    def step(self, norm: None) -> float:
        self.wrapped.step()
        return float(self.wrapped.get_global_grad_norm())

    def save(self, folder: Path) -> tuple[dict[str, Any], Callable[[], None]]:
        """Write engine/ in DeepSpeed's own format, at once; every process takes part."""
        with checkpoint.disk_errors(folder):
            self.wrapped.save_checkpoint(str(folder), tag="engine", save_latest=False)
        distributed.barrier()
        return {}, _nothing

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        loaded, _ = self.wrapped.load_checkpoint(str(folder), tag="engine")
        if loaded is None:  # DeepSpeed only warns, and would go on with initial weights
            raise FileNotFoundError("no engine/ in it")


def _nothing() -> None:
    """What is left to write when all has been written."""


def _set_rates(groups: list[dict[str, Any]], rate: float, beta1: float | None) -> None:
    for group in groups:
        group["lr"] = rate * group.get("rate", 1.0)
        if beta1 is not None:
            group["betas"] = (beta1, group["betas"][1])
