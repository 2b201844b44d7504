"""Sizes of a very deep VAE, without the network itself: what the workflow needs to know of it."""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Layout:
    """Sizes of a network, under the names of OpenAI's release.

    enc_blocks, dec_blocks: comma-separated; "64x11" is eleven blocks at 64 x 64, "64d2" a block after which the side is
    halved, "4m1" a block at 4 x 4 that begins with the enlarged state at 1 x 1. bottleneck_multiple: width inside a
    block, as a share of its width. no_bias_above: the largest side with a learned bias. widths: of resolutions that do
    not have the common width.
    """

    image_size: int
    width: int
    zdim: int
    enc_blocks: str
    dec_blocks: str
    bottleneck_multiple: float = 0.25
    no_bias_above: int = 64
    num_mixtures: int = 10
    widths: dict[int, int] = field(default_factory=dict)

    def width_at(self, side: int) -> int:
        return self.widths.get(side, self.width)

    def inner_width_at(self, side: int) -> int:
        return int(self.width_at(side) * self.bottleneck_multiple)

    def encoder_blocks(self) -> list[tuple[int, int | None]]:
        """(side, factor by which it is then reduced or None) of each block of the encoder."""
        return [block for part in self.enc_blocks.split(",") for block in _blocks(part, "d")]

    def decoder_blocks(self) -> list[tuple[int, int | None]]:
        """(side, side of the state that is enlarged and added, or None) of each block of the decoder: its levels."""
        return [block for part in self.dec_blocks.split(",") for block in _blocks(part, "m")]

    def latent_shapes(self) -> list[tuple[int, int, int]]:
        """(zdim, side, side) of each level, coarsest first."""
        return [(self.zdim, side, side) for side, _ in self.decoder_blocks()]


def _blocks(part: str, mark: str) -> list[tuple[int, int | None]]:
    side, x, count = part.partition("x")
    if x:
        return [(int(side), None)] * int(count)
    side, _, other = part.partition(mark)
    return [(int(side), int(other) if other else None)]


def latent_sizes(record: dict) -> list[int]:
    """Values of each level of latents that a registered network gives of a picture, coarsest first."""
    return [math.prod(shape) for shape in Layout(**record["vdvae"]).latent_shapes()[: record["levels"]]]
