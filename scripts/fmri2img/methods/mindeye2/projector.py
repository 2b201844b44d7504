"""The projector: backbone tokens to the tokens that retrieval and the contrastive losses compare with the true ones."""

from torch import nn


class Projector(nn.Sequential):
    """Three times LayerNorm, GELU, Linear on each token by itself: (trials, tokens, width), the same shape."""

    def __init__(self, width: int):
        super().__init__(
            *(layer for _ in range(3) for layer in (nn.LayerNorm(width), nn.GELU(), nn.Linear(width, width)))
        )
