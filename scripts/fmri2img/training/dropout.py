"""Dropout whose masks come with the batch, drawn for the whole of it, so that any number of processes drops the same.

torch's own dropout draws for the rows that it is given from a generator of the process: two processes would drop other
units than one. Here the masks of a batch are a function of the seed, its number and the place of a sample in it, like
the other random numbers of `Task.inputs`. The forward pass draws nothing and may be recomputed or compiled.
"""

import numpy as np
import torch
from torch import Tensor, nn

from fmri2img.training.sampler import generator

Masks = dict[str, Tensor]


class Dropout(nn.Module):
    """In training, sets units to 0 where the batch's mask says so and divides the others by the chance to be kept.

    name: of its mask, its own within a network; chance: that a unit is dropped; units: numbers in one sample.
    """

    def __init__(self, name: str, chance: float, units: int) -> None:
        super().__init__()
        self.name, self.chance, self.units = name, chance, units

    def forward(self, x: Tensor, kept: Masks | None = None) -> Tensor:
        """x (samples, ...), `units` numbers a sample, -> the same shape. kept: of `masks`; None in evaluation mode."""
        if not self.training or not self.chance:
            return x
        return torch.where(kept[self.name].view_as(x), x / (1 - self.chance), 0)


def masks(module: nn.Module, batch: int, places: np.ndarray, device: torch.device, *keys: int) -> Masks:
    """Masks of the dropout layers in `module`: name -> bool (len(places), units), False where a unit is dropped.

    batch: samples of the global batch; places: int64, those among them that are wanted; keys: of the random numbers,
    e.g. the seed and the number of the batch.
    """
    random = generator(device, *keys)
    rows = torch.from_numpy(places).to(device)
    layers = [layer for layer in module.modules() if isinstance(layer, Dropout) and layer.chance]
    return {
        layer.name: (torch.rand(batch, layer.units, generator=random, device=device) >= layer.chance)[rows]
        for layer in layers
    }


def check_dropout(module: nn.Module) -> None:
    """Raise ValueError where torch's own dropout acts in `module`: neither resumed nor divided runs would repeat it."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p:
            raise ValueError(f"{name}: is a {type(layer).__name__} of torch; use fmri2img.training.dropout")
