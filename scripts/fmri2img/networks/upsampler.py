"""From a grid of features to autoencoder latents: the decoder half of Stable Diffusion's autoencoder.

Its weights have the names that diffusers' `Decoder` gives them, and its outputs are equal (a test compares them). It is
written out because importing diffusers takes longer than importing torch, and every training and decoding job would pay
for that.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class Residual(nn.Module):
    """Norm, SiLU, 3 x 3 convolution, twice, plus a shortcut that is a 1 x 1 convolution where the channels change."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.norm1, self.conv1 = group_norm(channels), nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2, self.conv2 = group_norm(out_channels), nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        return self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(hidden)))


class GridAttention(nn.Module):
    """Single-head self-attention over the positions of a grid, plus a shortcut."""

    def __init__(self, channels: int):
        super().__init__()
        self.group_norm = group_norm(channels)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        positions = self.group_norm(x).flatten(2).transpose(1, 2)
        attended = F.scaled_dot_product_attention(self.to_q(positions), self.to_k(positions), self.to_v(positions))
        return x + self.to_out[0](attended).transpose(1, 2).unflatten(2, x.shape[2:])


class Middle(nn.Module):
    """Residual unit, attention, residual unit."""

    def __init__(self, channels: int):
        super().__init__()
        self.resnets = nn.ModuleList([Residual(channels, channels), Residual(channels, channels)])
        self.attentions = nn.ModuleList([GridAttention(channels)])

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Enlargement(nn.Module):
    """Nearest-neighbour enlargement by 2, then a 3 x 3 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class UpBlock(nn.Module):
    """Residual units, then an enlargement in all blocks but the last."""

    def __init__(self, channels: int, out_channels: int, units: int, enlarges: bool):
        super().__init__()
        widths = [channels] + [out_channels] * units
        self.resnets = nn.ModuleList([Residual(a, b) for a, b in pairwise(widths)])
        if enlarges:
            self.upsamplers = nn.ModuleList([Enlargement(out_channels)])

    def forward(self, x: Tensor) -> Tensor:
        for resnet in self.resnets:
            x = resnet(x)
        return self.upsamplers[0](x) if hasattr(self, "upsamplers") else x


class Upsampler(nn.Module):
    """Grid (n, in_channels, side, side) to (n, out_channels, s, s), s = side times 2 for each block but the last.

    channels: of the blocks, the last block's first, each a multiple of 32; layers: residual units of a block, less one.
    """

    def __init__(self, in_channels: int, out_channels: int, channels: tuple[int, ...], layers: int):
        super().__init__()
        widths = [channels[-1], *reversed(channels)]
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.mid_block = Middle(widths[0])
        last = len(channels) - 1
        self.up_blocks = nn.ModuleList(
            [UpBlock(a, b, layers + 1, i < last) for i, (a, b) in enumerate(pairwise(widths))]
        )
        self.conv_norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class LocalMaps(nn.Sequential):
    """Local features of a seed grid, by 1 x 1 convolutions. (n, channels, side, side) -> (n, side * side, width)."""

    def __init__(self, channels: int, width: int):
        super().__init__(
            nn.Conv2d(channels, width, 1, bias=False),
            nn.GroupNorm(1, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 1, bias=False),
            nn.GroupNorm(1, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).flatten(2).transpose(1, 2)
