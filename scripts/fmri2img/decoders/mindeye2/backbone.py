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

from fmri2img.decoders.mindeye2.configuration import ModelConfig


def _block(width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
    )


class ReleasedMixer(nn.Module):
    """The released blocks at sequence length 1: two residual streams, one per kind of block, both starting at x."""

    def __init__(self, hidden: int, blocks: int, dropout: float):
        super().__init__()
        self.wide = nn.ModuleList(_block(hidden, dropout) for _ in range(blocks))
        self.sequence = nn.ModuleList(_block(1, dropout) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """(trials, hidden) -> (trials, hidden). The wide blocks run so that their gradient is zero and not absent."""
        wide_stream = sequence_stream = x
        for wide, sequence in zip(self.wide, self.sequence, strict=True):
            wide_stream = wide(x) + wide_stream
            sequence_stream = x = sequence(wide_stream.unsqueeze(-1)).squeeze(-1) + sequence_stream
        return x


class ResidualMLP(nn.Module):
    """Residual blocks over the latent."""

    def __init__(self, hidden: int, blocks: int, dropout: float):
        super().__init__()
        self.wide = nn.ModuleList(_block(hidden, dropout) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """(trials, hidden) -> (trials, hidden)."""
        for wide in self.wide:
            x = x + wide(x)
        return x


class Backbone(nn.Module):
    """Blocks, then one linear map to all image tokens, which holds most of the model's parameters."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.shape = (config.tokens, config.token_width)
        kind = {"as_released": ReleasedMixer, "residual_mlp": ResidualMLP}[config.backbone]
        self.blocks = kind(config.hidden, config.blocks, config.dropout)
        self.to_tokens = nn.Linear(config.hidden, config.tokens * config.token_width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (trials, hidden) -> (hidden (trials, hidden), tokens (trials, tokens, token_width))."""
        hidden = self.blocks(x)
        return hidden, self.to_tokens(hidden).unflatten(-1, self.shape)
