"""The Inception network of published FID values, whose pooling differs from torchvision's Inception v3.

It was trained in TensorFlow, where the average pools of its mixed blocks leave out padding, and where the last block
pools by maximum. Its 1,008 classes are not used. Seitzer, pytorch-fid (2020); Obukhov et al., torch-fidelity (2020).
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision import models
from torchvision.models import inception

CLASSES = 1008


class InceptionA(inception.InceptionA):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(mean_pool(x))]


class InceptionC(inception.InceptionC):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(mean_pool(x))]


class InceptionE(inception.InceptionE):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(mean_pool(x))]


class LastInceptionE(inception.InceptionE):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(F.max_pool2d(x, 3, stride=1, padding=1))]


def mean_pool(x: Tensor) -> Tensor:
    """Mean over 3 x 3 positions, without those outside the map."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def fid_inception(tensors: dict[str, Tensor]) -> torch.nn.Module:
    """The network with these weights, whose names are torchvision's. Raises RuntimeError when they do not fit."""
    blocks = [
        inception.BasicConv2d, InceptionA, inception.InceptionB, InceptionC, inception.InceptionD, InceptionE,
        inception.InceptionAux,
    ]  # fmt: skip
    network = models.Inception3(CLASSES, aux_logits=False, inception_blocks=blocks, init_weights=False)
    network.Mixed_7c = LastInceptionE(2048)
    network.load_state_dict(tensors)
    return network
