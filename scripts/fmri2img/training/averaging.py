"""A moving average of the weights, which can replace the weights of the last step at the end of a training."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fmri2img.training import checkpoint

FILE = "average.safetensors"


class Average:
    """Exponential moving average of the trained parameters of `module`; buffers are not averaged.

    It starts with the weights after the first step; each later step keeps a share `decay` of it. All processes have
    equal weights, so all keep the same average.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._named = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        self._update = get_ema_multi_avg_fn(decay)
        self._values: list[torch.Tensor] = []

    def update(self) -> None:
        """Include the weights after an optimiser step."""
        now = [parameter.detach() for parameter in self._named.values()]
        if self._values:
            self._update(self._values, now, None)
        else:
            self._values = [value.clone() for value in now]

    @torch.no_grad()
    def apply(self) -> None:
        """Copy the average into the module."""
        for parameter, value in zip(self._named.values(), self._values, strict=True):
            parameter.copy_(value)

    def copied(self) -> dict[str, torch.Tensor]:
        """A copy in the memory of the host, for `save`."""
        named = zip(self._named, self._values, strict=True)
        return {name: value.to("cpu", copy=True).contiguous() for name, value in named}

    @staticmethod
    def save(values: dict[str, torch.Tensor], folder: Path) -> None:
        """Write average.safetensors."""
        with checkpoint.disk_errors(folder):
            save_file(values, folder / FILE)

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote, exactly."""
        stored = load_file(folder / FILE)
        self._values = [stored[name].to(parameter) for name, parameter in self._named.items()]
