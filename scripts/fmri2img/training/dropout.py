"""Dropout with masks that come with the batch, so that any number of processes drops the same units.

torch's own dropout draws masks for the given rows from the process's generator, so two processes would drop other units
than one. Here the masks of a batch depend on the seed, the number of the batch and the position of a sample in it, like
the other random numbers of `Task.inputs`. The forward pass draws nothing and may be recomputed or compiled.
"""

import numpy as np
import torch
from torch import Tensor, nn

from fmri2img.training.sampler import generator

Masks = dict[str, Tensor]


class Dropout(nn.Module):
    """In training, sets units to 0 according to the batch's mask and divides the others by the probability to be kept.

    name: name of its mask, unique in a network; chance: probability that a unit is dropped; units: numbers in one
    sample.
    """

    def __init__(self, name: str, chance: float, units: int) -> None:
        super().__init__()
        self.name, self.chance, self.units = name, chance, units

    def forward(self, x: Tensor, kept: Masks | None = None) -> Tensor:
        """x (samples, ...), `units` numbers per sample -> the same shape. kept: from `masks`; None in evaluation."""
        if not self.training or not self.chance:
            return x
        return torch.where(kept[self.name].view_as(x), x / (1 - self.chance), 0)


def masks(module: nn.Module, batch: int, places: np.ndarray, device: torch.device, *keys: int) -> Masks:
    """Masks of the dropout layers in `module`: name -> bool (len(places), units), False where a unit is dropped.

    batch: samples of the global batch; places: int64 positions in it for which masks are returned; keys: of the random
    numbers, e.g. the seed and the number of the batch.
    """
    random = generator(device, *keys)
    rows = torch.from_numpy(places).to(device)
    layers = [layer for layer in module.modules() if isinstance(layer, Dropout) and layer.chance]
    return {
        layer.name: (torch.rand(batch, layer.units, generator=random, device=device) >= layer.chance)[rows]
        for layer in layers
    }


def check_dropout(module: nn.Module) -> None:
    """Raise ValueError if `module` contains torch's own dropout, which resumed or distributed runs would not repeat."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p:
            raise ValueError(f"{name}: is a {type(layer).__name__} of torch; use fmri2img.training.dropout")
