"""The optimisers: AdamW from torch, or from bitsandbytes with 8-bit state."""

from typing import Any

import torch

from fmri2img.errors import UserError
from fmri2img.training.configuration import TrainingConfig


def optimiser(config: TrainingConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """AdamW over the task's parameter groups. Raises UserError when bitsandbytes is needed but not installed."""
    settings = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimiser == "adamw":
        return torch.optim.AdamW(groups, fused=True, **settings)
    try:
        import bitsandbytes
    except ImportError as error:
        raise UserError(
            "training.optimiser = 'adamw8bit' needs bitsandbytes; `pip install bitsandbytes` on a machine with a GPU, "
            "or set it to 'adamw'"
        ) from error
    return bitsandbytes.optim.AdamW8bit(groups, **settings)


def check_groups(module: torch.nn.Module, groups: list[dict[str, Any]]) -> None:
    """Raise ValueError unless every trained parameter of `module` is in exactly one group."""
    names = {id(parameter): name for name, parameter in module.named_parameters() if parameter.requires_grad}
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    if len(grouped) != len(set(grouped)) or set(grouped) != set(names):
        missing = [name for key, name in names.items() if key not in set(grouped)]
        raise ValueError(f"parameter groups must hold every trained parameter once; missing: {missing[:5]}")
