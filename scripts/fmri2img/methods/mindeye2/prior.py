"""The network of the diffusion prior: brain tokens and noised image tokens in, clean image tokens out.

A transformer over the sequence [brain tokens | time | noised image tokens + learned position], without a causal mask;
what comes out at the image tokens is the prediction. It is the prior of DALL-E 2 (Ramesh et al., 2022) in the form of
the package dalle2-pytorch 1.15.6, with whose weights it is compatible:

- attention: many query heads share one key head and one value head; a learned null key and value come first; queries
  and keys are normalised to unit length, their product is multiplied by 16;
- positions: part of each head is rotated (before the null key joins), and a learned bias of the T5 kind is added, whose
  buckets tell only earlier positions apart: all later ones share one;
- normalisation with a gain and no bias, feed-forward gated by SiLU, no dropout.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fmri2img.methods.mindeye2.configuration import PriorConfig

LOGIT_SCALE = 16.0
BUCKETS, MAX_DISTANCE = 32, 128  # of the relative positions


class GainNorm(nn.Module):
    """Layer normalisation with a gain only. Inputs of less than float32's precision get a larger epsilon.

    stable: first divide by the largest entry, which keeps the variance of large activations inside float16.
    """

    def __init__(self, width: int, stable: bool = False):
        super().__init__()
        self.stable = stable
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        epsilon = 1e-5 if x.dtype == torch.float32 else 1e-3
        if self.stable:
            x = x / x.amax(dim=-1, keepdim=True).detach()
        return F.layer_norm(x, self.gain.shape, self.gain, eps=epsilon)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate the first entries of x (..., positions, width) in neighbouring pairs by angles (positions, pairs)."""
    rotated, rest = x.split([2 * angles.shape[-1], x.shape[-1] - 2 * angles.shape[-1]], dim=-1)
    even, odd = rotated.float().unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = angles.cos(), angles.sin()
    turned = torch.stack((even * cosine - odd * sine, odd * cosine + even * sine), dim=-1).flatten(-2)
    return torch.cat((turned.to(x.dtype), rest), dim=-1)


def relative_buckets(length: int, device: torch.device) -> Tensor:
    """Bucket int64 (length, length + 1) of each query and key (the null key is key 0).

    Distances back from the query up to 15 have a bucket each, longer ones share buckets of growing width up to
    MAX_DISTANCE; keys at or after the query's own index have bucket 0.
    """
    query = torch.arange(length, device=device)[:, None]
    distance = (query - torch.arange(length + 1, device=device)).clamp(min=0)
    exact = BUCKETS // 2
    octaves = torch.log(distance.clamp(min=exact).float() / exact) / math.log(MAX_DISTANCE / exact)
    wide = (exact + (octaves * (BUCKETS - exact)).long()).clamp(max=BUCKETS - 1)
    return torch.where(distance < exact, distance, wide)


class Attention(nn.Module):
    """Cosine-similarity attention with one shared key and value head."""

    def __init__(self, config: PriorConfig, width: int):
        super().__init__()
        self.heads, self.head_width = config.heads, config.head_width
        inner = config.heads * config.head_width
        self.norm = GainNorm(width)
        self.null_key_value = nn.Parameter(torch.randn(2, config.head_width))
        self.to_query = nn.Linear(width, inner, bias=False)
        self.to_key_value = nn.Linear(width, 2 * config.head_width, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)
        self.out_norm = GainNorm(width)

    def forward(self, x: Tensor, bias: Tensor, angles: Tensor, asked: int) -> Tensor:
        """What the last `asked` positions hear of all. x (batch, length, width) -> (batch, asked, width).

        bias (heads, length, length + 1); angles (length, pairs).
        """
        x = self.norm(x)
        query = self.to_query(x[:, -asked:]).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.to_key_value(x).chunk(2, dim=-1)
        null_key, null_value = self.null_key_value.to(key.dtype)[:, None, None].expand(-1, len(x), 1, -1)
        key = torch.cat((null_key, rotate(key, angles)), dim=1)
        value = torch.cat((null_value, value), dim=1)
        query = F.normalize(rotate(query, angles[-asked:]).float(), dim=-1).to(value.dtype)
        key = F.normalize(key.float(), dim=-1).to(value.dtype)

        # Fused kernels take heads of multiples of 8 entries; zeros change no product.
        padding = (0, -self.head_width % 8)
        query, key, value = F.pad(query, padding), F.pad(key, padding), F.pad(value, padding)
        shared = (-1, self.heads, -1, -1)
        mixed = F.scaled_dot_product_attention(
            query,
            key[:, None].expand(shared),
            value[:, None].expand(shared),
            attn_mask=bias[:, -asked:].to(value.dtype),
            scale=LOGIT_SCALE,
        )
        mixed = mixed[..., : self.head_width].transpose(1, 2).flatten(2)
        return self.out_norm(self.to_out(mixed))


class FeedForward(nn.Module):
    """SwiGLU: one half of the hidden layer gates the other."""

    def __init__(self, config: PriorConfig, width: int):
        super().__init__()
        inner = config.feedforward * width
        self.norm = GainNorm(width)
        self.to_hidden = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden, gate = self.to_hidden(self.norm(x)).chunk(2, dim=-1)
        return self.to_out(hidden * F.silu(gate))


class Layer(nn.Module):
    """Attention and feed-forward, each added to the stream."""

    def __init__(self, config: PriorConfig, width: int):
        super().__init__()
        self.attention = Attention(config, width)
        self.feedforward = FeedForward(config, width)

    def forward(self, x: Tensor, bias: Tensor, angles: Tensor, asked: int) -> Tensor:
        """The last `asked` positions of x (batch, length, width), (batch, asked, width); see Attention."""
        x = self.attention(x, bias, angles, asked) + x[:, -asked:]
        return self.feedforward(x) + x


class TimeEmbedding(nn.Module):
    """Sines and cosines of the timestep at geometric frequencies, then an MLP. (batch,) -> (batch, width), float32."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.SiLU(),
            nn.Linear(2 * width, 2 * width),
            nn.SiLU(),
            nn.Linear(2 * width, width),
        )

    def forward(self, t: Tensor) -> Tensor:
        half = self.width // 2
        exponents = torch.arange(half, device=t.device, dtype=torch.float32) * -(math.log(10000) / (half - 1))
        angles = t.float()[:, None] * exponents.exp()
        return self.mlp(torch.cat((angles.sin(), angles.cos()), dim=-1).to(self.mlp[0].weight.dtype))


class PriorNetwork(nn.Module):
    """Predicts clean image tokens from noised ones.

    `checkpointing = True` recomputes each layer's activations in the backward pass instead of keeping them.
    """

    checkpointing = False

    def __init__(self, config: PriorConfig, tokens: int, width: int):
        super().__init__()
        self.config = config
        self.tokens, self.width = tokens, width
        self.time = TimeEmbedding(width)
        # Loading builds the network on the meta device, where most arithmetic would import torch's compiler. That takes
        # longer than decoding a small study, so there is none here.
        self.position = nn.Parameter(torch.randn(tokens, width).mul_(width**-0.5))
        self.null_brain = nn.Parameter(torch.randn(tokens, width))
        self.null_image = nn.Parameter(torch.randn(tokens, width))
        # "bias" in its name spares the table weight decay, as in the released training.
        self.relative_position_bias = nn.Embedding.from_pretrained(torch.randn(BUCKETS, config.heads), freeze=False)
        frequencies = [10000 ** (-i / config.rotated) for i in range(0, config.rotated, 2)]
        self.rotary_frequencies = nn.Parameter(torch.tensor(frequencies), requires_grad=False)
        self.layers = nn.ModuleList(Layer(config, width) for _ in range(config.depth))
        self.norm = GainNorm(width, stable=True)
        self.to_out = nn.Linear(width, width, bias=False)

    def forward(
        self,
        noisy: Tensor,
        t: Tensor,
        brain: Tensor,
        keep_brain: Tensor | None = None,
        keep_image: Tensor | None = None,
    ) -> Tensor:
        """Prediction (batch, tokens, width) of the clean tokens.

        noisy, brain: (batch, tokens, width); t: int (batch,) timestep from 0; keep_brain, keep_image: bool (batch,),
        False where a learned null stands in for the brain tokens, or for the noised image tokens; None keeps all.
        """
        if keep_brain is not None:
            brain = torch.where(keep_brain[:, None, None], brain, self.null_brain.to(brain.dtype))
        if keep_image is not None:
            noisy = torch.where(keep_image[:, None, None], noisy, self.null_image.to(noisy.dtype))
        x = torch.cat((brain, self.time(t)[:, None], noisy + self.position), dim=1)

        length = x.shape[1]
        angles = torch.arange(length, device=x.device, dtype=torch.float32)[:, None] * self.rotary_frequencies.float()
        bias = self.relative_position_bias(relative_buckets(length, x.device)).permute(2, 0, 1)
        for number, layer in enumerate(self.layers, 1):
            # Of the last layer only the image tokens are read.
            asked = length if number < len(self.layers) else self.tokens
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, bias, angles, asked, use_reentrant=False)
            else:
                x = layer(x, bias, angles, asked)
        return self.to_out(self.norm(x))
