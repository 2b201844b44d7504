"""The backbone: from the shared latent to image tokens.

The paper describes a residual MLP of four blocks. The released code has an MLP-mixer instead, made for a latent that is
a sequence, and all released models have sequences of length 1. There the mixer does nothing: normalising over an axis
of length 1 leaves only the normalisation's bias, so a sequence block returns a number that does not depend on its
input; and what a mixer block hands on is the residual stream of the sequence blocks. The output of the blocks is thus
the input plus one number, and the wide blocks, 134 million parameters at a latent of 4096, receive zero gradient.

    as_released    the released computation, with the idle parameters: they are in the released files
    residual_mlp   what the paper describes, x + Linear(Dropout(GELU(Linear(LayerNorm(x))))), with as many parameters
"""

from torch import Tensor, nn

from fmri2img.methods.mindeye2.configuration import ModelConfig
from fmri2img.training.dropout import Dropout, Masks


class Block(nn.Sequential):
    """Linear(Dropout(GELU(Linear(LayerNorm(x))))) over the last axis; dropout: of all numbers of a trial."""

    def __init__(self, width: int, dropout: Dropout):
        super().__init__(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), dropout, nn.Linear(width, width))

    def forward(self, x: Tensor, kept: Masks | None = None) -> Tensor:
        norm, widen, gelu, dropout, out = self
        return out(dropout(gelu(widen(norm(x))), kept))


def _wide_blocks(hidden: int, blocks: int, chance: float) -> nn.ModuleList:
    return nn.ModuleList(Block(hidden, Dropout(f"wide{i}", chance, hidden)) for i in range(blocks))


class ReleasedMixer(nn.Module):
    """The released blocks at sequence length 1: two residual streams, one per kind of block, both starting at x."""

    def __init__(self, hidden: int, blocks: int, dropout: float):
        super().__init__()
        self.wide = _wide_blocks(hidden, blocks, dropout)
        self.sequence = nn.ModuleList(Block(1, Dropout(f"sequence{i}", dropout, hidden)) for i in range(blocks))

    def forward(self, x: Tensor, kept: Masks | None = None) -> Tensor:
        """(trials, hidden) -> (trials, hidden). The wide blocks run so that their gradient is zero and not absent."""
        wide_stream = sequence_stream = x
        for wide, sequence in zip(self.wide, self.sequence, strict=True):
            wide_stream = wide(x, kept) + wide_stream
            sequence_stream = x = sequence(wide_stream.unsqueeze(-1), kept).squeeze(-1) + sequence_stream
        return x


class ResidualMLP(nn.Module):
    """Residual blocks over the latent."""

    def __init__(self, hidden: int, blocks: int, dropout: float):
        super().__init__()
        self.wide = _wide_blocks(hidden, blocks, dropout)

    def forward(self, x: Tensor, kept: Masks | None = None) -> Tensor:
        """(trials, hidden) -> (trials, hidden)."""
        for wide in self.wide:
            x = x + wide(x, kept)
        return x


class Backbone(nn.Module):
    """Blocks, then one linear map to all image tokens, which holds most of the model's parameters."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.shape = (config.tokens, config.token_width)
        kind = {"as_released": ReleasedMixer, "residual_mlp": ResidualMLP}[config.backbone]
        self.blocks = kind(config.hidden, config.blocks, config.dropout)
        self.to_tokens = nn.Linear(config.hidden, config.tokens * config.token_width)

    def forward(self, x: Tensor, kept: Masks | None = None) -> tuple[Tensor, Tensor]:
        """x (trials, hidden) -> (hidden (trials, hidden), tokens (trials, tokens, token_width)).

        kept: masks of dropout (dropout.masks), None in evaluation mode.
        """
        hidden = self.blocks(x, kept)
        return hidden, self.to_tokens(hidden).unflatten(-1, self.shape)
