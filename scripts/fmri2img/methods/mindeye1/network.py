"""The networks of MindEye1, and how they are stored.

    betas (trials, voxels)
      -> HighLevel   trunk, then image tokens (trials, tokens, token_width), the condition of the diffusion prior
           -> projector    tokens of the same shape, for retrieval and the contrastive losses
      -> LowLevel    a trunk of its own, then a seed grid, enlarged to autoencoder latents of a blurry picture

Weights have the published names below `voxel2clip` (HighLevel) and in `Voxel2StableDiffusionModel` (LowLevel).
"""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fmri2img.methods.mindeye1.settings import HighLevelConfig, LowLevelConfig
from fmri2img.networks import storage
from fmri2img.networks.prior import PriorNetwork
from fmri2img.networks.upsampler import LocalMaps, Upsampler
from fmri2img.training.dropout import Dropout, Masks


class Block(nn.Sequential):
    """Dropout(activation(LayerNorm(Linear(x))))."""

    def __init__(self, inputs: int, width: int, bias: bool, activation: nn.Module, dropout: Dropout):
        super().__init__(nn.Linear(inputs, width, bias=bias), nn.LayerNorm(width), activation, dropout)

    def forward(self, x: Tensor, kept: Masks | None = None) -> Tensor:
        linear, norm, activation, dropout = self
        return dropout(activation(norm(linear(x))), kept)


class Trunk(nn.Module):
    """A first block, then residual blocks x + block(x). (trials, voxels) -> (trials, hidden).

    name: of its dropout masks. The high-level network's layers have a bias and GELU, the low-level network's have none
    and SiLU.
    """

    def __init__(self, name: str, config: HighLevelConfig | LowLevelConfig, voxels: int, high_level: bool):
        super().__init__()

        def block(number: int, inputs: int, chance: float) -> Block:
            activation = nn.GELU() if high_level else nn.SiLU()
            dropout = Dropout(f"{name}{number}", chance, config.hidden)
            return Block(inputs, config.hidden, high_level, activation, dropout)

        self.lin0 = block(0, voxels, config.first_dropout)
        self.mlp = nn.ModuleList(block(i + 1, config.hidden, config.dropout) for i in range(config.blocks))

    def hidden(self, betas: Tensor, kept: Masks | None) -> Tensor:
        """kept: masks of dropout (training.dropout.masks), None in evaluation mode."""
        x = self.lin0(betas, kept)
        for block in self.mlp:
            x = block(x, kept) + x
        return x


class HighLevel(Trunk):
    """From betas to image tokens, and from these to tokens for retrieval (the projector, on each token separately)."""

    def __init__(self, config: HighLevelConfig, voxels: int):
        super().__init__("high_level", config, voxels, high_level=True)
        self.shape = (config.tokens, config.token_width)
        self.lin1 = nn.Linear(config.hidden, config.tokens * config.token_width)
        widths = (config.token_width, config.projector, config.projector, config.token_width)
        self.projector = nn.Sequential(
            *(
                layer
                for inputs, outputs in pairwise(widths)
                for layer in (nn.LayerNorm(inputs), nn.GELU(), nn.Linear(inputs, outputs))
            )
        )

    def forward(self, betas: Tensor, kept: Masks | None = None) -> tuple[Tensor, Tensor]:
        """betas (trials, voxels) -> (tokens, projected), each (trials, tokens, token_width)."""
        tokens = self.lin1(self.hidden(betas, kept)).unflatten(-1, self.shape)
        return tokens, self.projector(tokens)


class LowLevel(Trunk):
    """From betas to autoencoder latents of a blurry picture, and to local features that only training uses."""

    def __init__(self, config: LowLevelConfig, voxels: int):
        super().__init__("low_level", config, voxels, high_level=False)
        self.seed_shape = (config.seed_channels, config.seed_side, config.seed_side)
        self.lin1 = nn.Linear(config.hidden, config.seed_channels * config.positions, bias=False)
        self.norm = nn.GroupNorm(1, config.seed_channels)
        self.upsampler = Upsampler(config.seed_channels, config.latent_channels, config.channels, config.layers)
        self.maps_projector = LocalMaps(config.seed_channels, config.maps_width) if config.maps_width else None

    def grid(self, betas: Tensor, kept: Masks | None = None) -> Tensor:
        """betas (trials, voxels) -> the seed grid (trials, seed_channels, side, side)."""
        return self.norm(self.lin1(self.hidden(betas, kept)).unflatten(-1, self.seed_shape))

    def forward(self, betas: Tensor, kept: Masks | None = None) -> tuple[Tensor, Tensor | None]:
        """betas (trials, voxels) -> (latents (trials, channels, side, side), maps (trials, positions, maps_width)).

        Latents are in the autoencoder's scaled space; positions run along the rows of the seed grid. Maps are None in a
        network without them.
        """
        grid = self.grid(betas, kept)
        return self.upsampler(grid), self.maps_projector(grid) if self.maps_projector is not None else None


class Encoded(NamedTuple):
    """Outputs of the networks before any sampling; first axis: trials.

    tokens: (trials, tokens, token_width), the prior's condition; projected: the same shape, for retrieval; latents:
    (trials, channels, side, side), scaled autoencoder latents, None without the low-level network.
    """

    tokens: Tensor
    projected: Tensor
    latents: Tensor | None


class MindEye1(nn.Module):
    """The high-level network with its prior, and where configured the low-level network, of one subject."""

    def __init__(self, high_level: HighLevelConfig, low_level: LowLevelConfig | None, voxels: int):
        super().__init__()
        self.high_level_config, self.low_level_config, self.voxels = high_level, low_level, voxels
        self.voxel2clip = HighLevel(high_level, voxels)
        self.prior = PriorNetwork(high_level.prior, high_level.tokens, high_level.token_width)
        self.voxel2sd = LowLevel(low_level, voxels) if low_level else None

    def forward(self, betas: Tensor) -> Encoded:
        """betas (trials, voxels), in evaluation mode."""
        latents = self.voxel2sd.upsampler(self.voxel2sd.grid(betas)) if self.voxel2sd else None
        return Encoded(*self.voxel2clip(betas), latents)


def save_model(path: str | Path, model: MindEye1, subject: str, metadata: dict) -> None:
    """Write a directory with model.safetensors and config.json (configurations, voxels by subject, `metadata`)."""
    low_level = model.low_level_config
    record = {
        "model": {
            "high_level": model.high_level_config.to_dict(),
            "low_level": low_level.to_dict() if low_level else None,
        },
        "voxels": {subject: model.voxels},
        "metadata": metadata,
    }
    storage.save(path, model, record)


def load_model(path: str | Path) -> tuple[MindEye1, dict]:
    """Read what `save_model` wrote: the model, in evaluation mode on the CPU, and the metadata.

    Raises UserError naming the file, and the weight or key, that is missing or does not fit.
    """
    record, state, source = storage.load(path, ("model", "voxels", "metadata"))
    model = empty_model(record, str(Path(path) / "config.json"))
    storage.fill(model, state, source)
    return model, record["metadata"]


def empty_model(record: dict, where: str) -> MindEye1:
    """The model that a config.json describes, on the meta device, without memory for its weights."""
    high_level = HighLevelConfig.read(record["model"]["high_level"], where, "model.high_level")
    low_level = record["model"]["low_level"]
    if low_level is not None:
        low_level = LowLevelConfig.read(low_level, where, "model.low_level")
    (voxels,) = record["voxels"].values()
    with torch.device("meta"):
        return MindEye1(high_level, low_level, voxels)
