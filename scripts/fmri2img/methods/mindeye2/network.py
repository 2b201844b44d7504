"""The network of MindEye2: subject adapters, backbone, projector, low-level head, and how it is stored.

    betas of a subject (trials, voxels)
      -> SubjectAdapters   the latent that all subjects share (trials, hidden)
      -> Backbone          image tokens (trials, tokens, token_width), the condition of the diffusion prior (prior.py)
           -> Projector    tokens of the same shape, for retrieval and the contrastive losses
           -> LowLevelHead, on the latent after the backbone's blocks: autoencoder latents of a blurry picture

`MindEye2` at the end of the file puts them together.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fmri2img.methods.mindeye2.settings import LowLevelConfig, ModelConfig
from fmri2img.networks import storage
from fmri2img.networks.prior import PriorNetwork
from fmri2img.networks.upsampler import LocalMaps, Upsampler
from fmri2img.training.dropout import Dropout, Masks


class SubjectAdapters(nn.ModuleDict):
    """One linear map with bias per subject, by the subject's name: from voxels to the latent that all subjects share.

    Voxels differ in number and meaning between subjects. The paper calls the map ridge regression, since weight decay
    acts on it (weight and bias) in training.
    """

    def __init__(self, voxels: dict[str, int], hidden: int):
        """voxels: subject -> number of voxels."""
        super().__init__({subject: nn.Linear(n, hidden) for subject, n in voxels.items()})

    def forward(self, betas: dict[str, Tensor]) -> Tensor:
        """Latents (trials, hidden) of betas (trials, voxels) of each subject, in the dictionary's order."""
        return torch.cat([self[subject](values) for subject, values in betas.items()])


class MLP(nn.Sequential):
    """Linear(Dropout(GELU(Linear(LayerNorm(x))))) over the last axis; dropout: of all numbers of a trial."""

    def __init__(self, width: int, dropout: Dropout):
        super().__init__(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), dropout, nn.Linear(width, width))

    def forward(self, x: Tensor, kept: Masks | None = None) -> Tensor:
        norm, widen, gelu, dropout, out = self
        return out(dropout(gelu(widen(norm(x))), kept))


def _wide_blocks(hidden: int, blocks: int, chance: float) -> nn.ModuleList:
    return nn.ModuleList(MLP(hidden, Dropout(f"wide{i}", chance, hidden)) for i in range(blocks))


class ReleasedMixer(nn.Module):
    """The released blocks, an MLP-mixer made for a latent that is a sequence, at the only length that was released, 1.

    Two residual streams, one per kind of block, both start at x. At length 1 the mixer does nothing: normalising over
    an axis of length 1 leaves only the normalisation's bias, so a sequence block returns a number that does not depend
    on its input; and a mixer block passes on only the residual stream of the sequence blocks. The output is thus the
    input plus one number, and the wide blocks, 134 million parameters at a latent of 4096, receive zero gradient. They
    are kept since they are in the released files.
    """

    def __init__(self, hidden: int, blocks: int, dropout: float):
        super().__init__()
        self.wide = _wide_blocks(hidden, blocks, dropout)
        self.sequence = nn.ModuleList(MLP(1, Dropout(f"sequence{i}", dropout, hidden)) for i in range(blocks))

    def forward(self, x: Tensor, kept: Masks | None = None) -> Tensor:
        """(trials, hidden) -> (trials, hidden). Only what reaches the output is computed."""
        idle = [*self.wide.parameters()]
        for sequence in self.sequence:
            norm, widen, gelu, dropout, out = sequence
            idle.append(norm.weight)
            number = gelu(widen(norm.bias)).expand(x.shape)
            x = x + dropout(number, kept) * out.weight + out.bias
        return Idle.apply(x, *idle)


class Idle(torch.autograd.Function):
    """Returns x unchanged, and gives the other arguments a gradient of zeros.

    Weight decay and the exchange of gradients between processes need a gradient of every parameter, also of those that
    nothing depends on.
    """

    @staticmethod
    def forward(context, x: Tensor, *parameters: Tensor) -> Tensor:
        context.save_for_backward(*parameters)
        return x.view_as(x)

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, ...]:
        return gradient, *map(torch.zeros_like, context.saved_tensors)


class ResidualMLP(nn.Module):
    """The paper's description: residual blocks over the latent, with as many parameters as the wide blocks above."""

    def __init__(self, hidden: int, blocks: int, dropout: float):
        super().__init__()
        self.wide = _wide_blocks(hidden, blocks, dropout)

    def forward(self, x: Tensor, kept: Masks | None = None) -> Tensor:
        """(trials, hidden) -> (trials, hidden)."""
        for wide in self.wide:
            x = x + wide(x, kept)
        return x


class Backbone(nn.Module):
    """From the shared latent to image tokens: blocks, then one linear map, which holds most of the model's parameters.

    config.backbone: "as_released" (ReleasedMixer) or "residual_mlp" (ResidualMLP).
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.shape = (config.tokens, config.token_width)
        kind = {"as_released": ReleasedMixer, "residual_mlp": ResidualMLP}[config.backbone]
        self.blocks = kind(config.hidden, config.blocks, config.dropout)
        self.to_tokens = nn.Linear(config.hidden, config.tokens * config.token_width)

    def forward(self, x: Tensor, kept: Masks | None = None) -> tuple[Tensor, Tensor]:
        """x (trials, hidden) -> (hidden (trials, hidden), tokens (trials, tokens, token_width)).

        kept: masks of dropout (training.dropout.masks), None in evaluation mode.
        """
        hidden = self.blocks(x, kept)
        return hidden, self.to_tokens(hidden).unflatten(-1, self.shape)


class Projector(nn.Sequential):
    """Backbone tokens to those that retrieval and the contrastive losses compare with the true ones.

    LayerNorm, GELU and Linear, three times, on each token separately: (trials, tokens, width), the same shape.
    """

    def __init__(self, width: int):
        super().__init__(
            *(layer for _ in range(3) for layer in (nn.LayerNorm(width), nn.GELU(), nn.Linear(width, width)))
        )


class LowLevelHead(nn.Module):
    """Autoencoder latents of a blurry picture, and local features that only training uses.

    One linear map of the shared latent (not of the image tokens) makes a seed grid; the upsampler enlarges it to
    latents, 1 x 1 convolutions make local features of it. The published model predicts latents (4, 28, 28) of 224-pixel
    images and 7 x 7 local features, which training compares with those of a frozen VICRegL network.
    """

    def __init__(self, config: LowLevelConfig, hidden: int):
        super().__init__()
        self.config = config
        units = config.seed_channels * config.positions
        self.seed = nn.Linear(hidden, units)
        self.dropout = Dropout("seed", config.dropout, units)
        self.norm = nn.GroupNorm(1, config.seed_channels)
        self.upsampler = Upsampler(config.seed_channels, config.latent_channels, config.channels, config.layers)
        self.maps = LocalMaps(config.seed_channels, config.maps_width)

    def forward(self, hidden: Tensor, kept: Masks | None = None) -> tuple[Tensor, Tensor]:
        """hidden (trials, hidden) -> (latents (trials, channels, side, side), maps (trials, positions, maps_width)).

        Latents are in the autoencoder's scaled space; positions run along the rows of the seed grid. kept: masks of
        dropout (training.dropout.masks), None in evaluation mode.
        """
        side = self.config.seed_side
        seed = self.dropout(self.seed(hidden), kept).unflatten(-1, (self.config.seed_channels, side, side))
        seed = self.norm(seed)
        return self.upsampler(seed), self.maps(seed)


class Encoded(NamedTuple):
    """Outputs of the network before any sampling; first axis: trials.

    hidden: (trials, hidden) the shared latent after the backbone's blocks; tokens: (trials, tokens, token_width), the
    prior's condition; projected: the same shape, for retrieval; latents: (trials, channels, side, side), scaled
    autoencoder latents; maps: (trials, positions, maps_width), local features; both None without the low-level head.
    """

    hidden: Tensor
    tokens: Tensor
    projected: Tensor
    latents: Tensor | None
    maps: Tensor | None


class MindEye2(nn.Module):
    """Adapters, backbone, projector, and where configured the low-level head and the diffusion prior.

    `forward` is everything but the prior, which prior.py trains and samples.
    """

    def __init__(self, config: ModelConfig, voxels: dict[str, int]):
        """voxels: subject -> number of voxels."""
        super().__init__()
        self.config = config
        self.adapters = SubjectAdapters(voxels, config.hidden)
        self.backbone = Backbone(config)
        self.projector = Projector(config.token_width)
        self.low_level = LowLevelHead(config.low_level, config.hidden) if config.low_level else None
        self.prior = PriorNetwork(config.prior, config.tokens, config.token_width) if config.prior else None

    @property
    def voxels(self) -> dict[str, int]:
        """Subject -> number of voxels."""
        return {subject: adapter.in_features for subject, adapter in self.adapters.items()}

    def forward(
        self, betas: dict[str, Tensor], low_level_rows: Tensor | slice = slice(None), kept: Masks | None = None
    ) -> Encoded:
        """betas: subject -> (trials, voxels); subjects follow each other in the dictionary's order.

        low_level_rows: trials that the low-level head is run on; kept: masks of dropout (training.dropout.masks), which
        training needs, the low-level head's for its trials.
        """
        hidden, tokens = self.backbone(self.adapters(betas), kept)
        latents, maps = self.low_level(hidden[low_level_rows], kept) if self.low_level else (None, None)
        return Encoded(hidden, tokens, self.projector(tokens), latents, maps)


def save_model(path: str | Path, model: MindEye2, metadata: dict) -> None:
    """Write a directory with model.safetensors and config.json (configuration, voxels of each subject, `metadata`)."""
    storage.save(path, model, {"model": model.config.to_dict(), "voxels": model.voxels, "metadata": metadata})


def load_model(path: str | Path) -> tuple[MindEye2, dict]:
    """Read what `save_model` wrote: the model, in evaluation mode on the CPU, and the metadata.

    Raises UserError naming the file, and the weight or key, that is missing or does not fit.
    """
    record, state, source = storage.load(path, ("model", "voxels", "metadata"))
    config = ModelConfig.read(record["model"], str(Path(path) / "config.json"), "model")
    return assemble(config, record["voxels"], state, source), record["metadata"]


def assemble(config: ModelConfig, voxels: dict[str, int], state: dict[str, Tensor], source: str) -> MindEye2:
    """A model whose weights are the tensors of `state` themselves (no copies), in evaluation mode.

    Raises UserError naming `source` and the first weight that is missing, unexpected or of another shape.
    """
    with torch.device("meta"):
        model = MindEye2(config, voxels)
    storage.fill(model, state, source)
    return model
