"""The low-level head: autoencoder latents of a blurry picture, and local features that only training uses.

It reads the latent that the subjects share, not the image tokens. The published model predicts latents (4, 28, 28) of
224-pixel images and 7 x 7 local features, which training compares with a frozen VICRegL network's.
"""

from torch import Tensor, nn

from fmri2img.methods.mindeye2.configuration import LowLevelConfig
from fmri2img.methods.mindeye2.upsampler import Upsampler
from fmri2img.training.dropout import Dropout, Masks


class LowLevelHead(nn.Module):
    """Seed grid from one linear map; an autoencoder's decoder enlarges it; 1 x 1 convolutions make local features."""

    def __init__(self, config: LowLevelConfig, hidden: int):
        super().__init__()
        self.config = config
        width = config.maps_width
        units = config.seed_channels * config.positions
        self.seed = nn.Linear(hidden, units)
        self.dropout = Dropout("seed", config.dropout, units)
        self.norm = nn.GroupNorm(1, config.seed_channels)
        self.upsampler = Upsampler(config.seed_channels, config.latent_channels, config.channels, config.layers)
        self.maps = nn.Sequential(
            nn.Conv2d(config.seed_channels, width, 1, bias=False),
            nn.GroupNorm(1, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 1, bias=False),
            nn.GroupNorm(1, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, hidden: Tensor, kept: Masks | None = None) -> tuple[Tensor, Tensor]:
        """hidden (trials, hidden) -> (latents (trials, channels, side, side), maps (trials, positions, maps_width)).

        Latents are in the autoencoder's scaled space; positions run along the rows of the seed grid. kept: masks of
        dropout (dropout.masks), None in evaluation mode.
        """
        side = self.config.seed_side
        seed = self.dropout(self.seed(hidden), kept).unflatten(-1, (self.config.seed_channels, side, side))
        seed = self.norm(seed)
        return self.upsampler(seed), self.maps(seed).flatten(2).transpose(1, 2)
