"""The diffusion prior: from brain tokens (the backbone's) to image tokens. First its network, then the diffusion.

The network predicts clean image tokens from brain tokens and noised image tokens. It is a transformer over the sequence
[brain tokens | time | noised image tokens + learned position], without a causal mask; its outputs at the image tokens
are the prediction. It is the prior of DALL-E 2 (Ramesh et al., 2022) in the form of the package dalle2-pytorch 1.15.6,
with whose weights it is compatible:

- attention: many query heads share one key head and one value head; a learned null key and value come first; queries
  and keys are normalised to unit length, their product is multiplied by 16;
- positions: part of each head is rotated (before the null key is added), and a learned bias of the T5 kind is added,
  whose buckets distinguish earlier positions only: all later ones share one;
- normalisation with a gain and no bias, feed-forward gated by SiLU, no dropout.

The diffusion is Gaussian; its noise schedule is the cosine schedule (Nichol & Dhariwal, 2021) with betas of at most
0.999. All random numbers of training and sampling come from the caller.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fmri2img.errors import UserError
from fmri2img.networks.settings import PriorConfig
from fmri2img.training.sampler import generator

LOGIT_SCALE = 16.0
BUCKETS, MAX_DISTANCE = 32, 128  # of the relative positions
DIFFUSION, NOISE = 1003, 1004  # streams of random numbers of a seed


class GainNorm(nn.Module):
    """Layer normalisation with a gain only; epsilon is larger for inputs of less precision than float32.

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

    def forward(self, x: Tensor, bias: Tensor, angles: Tensor, queries: int) -> Tensor:
        """Attention of the last `queries` positions to all. x (batch, length, width) -> (batch, queries, width).

        bias (heads, length, length + 1); angles (length, pairs).
        """
        x = self.norm(x)
        query = self.to_query(x[:, -queries:]).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.to_key_value(x).chunk(2, dim=-1)
        null_key, null_value = self.null_key_value.to(key.dtype)[:, None, None].expand(-1, len(x), 1, -1)
        key = torch.cat((null_key, rotate(key, angles)), dim=1)
        value = torch.cat((null_value, value), dim=1)
        query = F.normalize(rotate(query, angles[-queries:]).float(), dim=-1).to(value.dtype)
        key = F.normalize(key.float(), dim=-1).to(value.dtype)

        # Fused kernels take heads of multiples of 8 entries; zeros change no product.
        padding = (0, -self.head_width % 8)
        query, key, value = F.pad(query, padding), F.pad(key, padding), F.pad(value, padding)
        shared = (-1, self.heads, -1, -1)
        mixed = F.scaled_dot_product_attention(
            query,
            key[:, None].expand(shared),
            value[:, None].expand(shared),
            attn_mask=bias[:, -queries:].to(value.dtype),
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

    def forward(self, x: Tensor, bias: Tensor, angles: Tensor, queries: int) -> Tensor:
        """x (batch, length, width) -> (batch, queries, width), of the last `queries` positions; see Attention."""
        x = self.attention(x, bias, angles, queries) + x[:, -queries:]
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
        # longer than decoding a small study, so there is no such arithmetic here.
        self.position = nn.Parameter(torch.randn(tokens, width).mul_(width**-0.5))
        self.null_brain = nn.Parameter(torch.randn(tokens, width))
        self.null_image = nn.Parameter(torch.randn(tokens, width))
        # "bias" in its name exempts the table from weight decay, as in the released training.
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
        False where a learned null replaces the brain tokens, or the noised image tokens; None keeps all.
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
            queries = length if number < len(self.layers) else self.tokens
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, bias, angles, queries, use_reentrant=False)
            else:
                x = layer(x, bias, angles, queries)
        return self.to_out(self.norm(x))


# The diffusion: noise schedule, training loss, sampler.


def cosine_betas(timesteps: int) -> Tensor:
    """Variance added at each step, float64 (timesteps,)."""
    offset = 0.008
    time = torch.linspace(0, timesteps, timesteps + 1, dtype=torch.float64, device="cpu") / timesteps
    remaining = torch.cos((time + offset) / (1 + offset) * torch.pi / 2) ** 2
    return (1 - remaining[1:] / remaining[:-1]).clamp(0, 0.999)


@functools.cache
def remaining_signal(timesteps: int, device: torch.device) -> Tensor:
    """Share of the clean tokens' variance left after each step, float64 (timesteps,): products of 1 - beta."""
    with torch.inference_mode(False):
        return torch.cumprod(1 - cosine_betas(timesteps), dim=0).to(device)


def noised(target: Tensor, t: Tensor, noise: Tensor, timesteps: int) -> Tensor:
    """Tokens (batch, tokens, width) after step t (batch,) of the diffusion; noise: standard normal, as `target`."""
    signal = remaining_signal(timesteps, target.device)[t][:, None, None]
    return signal.sqrt().float() * target + (1 - signal).sqrt().float() * noise


def diffusion_numbers(
    config: PriorConfig,
    shape: tuple[int, int],
    batch: int,
    places: np.ndarray,
    device: torch.device,
    seed: int,
    step: int,
) -> dict[str, Tensor]:
    """Random numbers of `prior_loss` for `places` int64 of a global batch of `batch` samples: t, noise, keep_brain,
    keep_image. shape: (tokens, width) of a sample.
    """
    rng = np.random.default_rng([seed, DIFFUSION, step])
    t = rng.integers(config.timesteps, size=batch)[places]
    keep_brain = (rng.random(batch) >= config.condition_drop)[places]
    keep_image = (rng.random(batch) >= config.image_drop)[places]
    noise = torch.empty(len(places), *shape, device=device)
    for row, place in enumerate(places.tolist()):
        noise[row].normal_(generator=generator(device, seed, NOISE, step, place))
    numbers = {"t": t, "keep_brain": keep_brain, "keep_image": keep_image}
    return {name: torch.from_numpy(values).to(device) for name, values in numbers.items()} | {"noise": noise}


def prior_loss(
    prior: PriorNetwork,
    target: Tensor,
    brain: Tensor,
    t: Tensor,
    noise: Tensor,
    keep_brain: Tensor,
    keep_image: Tensor,
) -> tuple[Tensor, Tensor]:
    """Mean squared error of the predicted clean tokens, 0-d, and the prediction (batch, tokens, width).

    target: true image tokens (batch, tokens, width); brain: backbone tokens, as `target`; t: int (batch,), uniform in
    [0, timesteps); noise: standard normal, as `target`; keep_brain, keep_image: bool (batch,), drawn independently,
    False with the chances condition_drop and image_drop of the prior's configuration.
    """
    predicted = prior(noised(target, t, noise, prior.config.timesteps), t, brain, keep_brain, keep_image)
    return F.mse_loss(predicted.float(), target.float()), predicted


def sampling_times(timesteps: int, steps: int) -> list[int]:
    """Timesteps at which the sampler calls the prior, descending: `steps` points of an even grid from timesteps to -1.

    The grid holds -1 (done) and leaves out `timesteps`; so the prior is called steps - 1 times. 100 and 20 give
    94, 89, ..., 9, 4. Raises UserError unless 2 <= steps < timesteps.
    """
    if not 2 <= steps < timesteps:
        raise UserError(
            f"prior sampling steps: {steps} must be at least 2 and below the {timesteps} it was trained with"
        )
    return torch.linspace(-1, timesteps, steps + 1, device="cpu")[1:-1].int().tolist()[::-1]


@torch.no_grad()
def sample(prior: PriorNetwork, brain: Tensor, noises: Sequence[Tensor], steps: int = 20) -> Tensor:
    """Image tokens (batch, tokens, width), float32, drawn given backbone tokens `brain` of the same shape.

    noises: steps - 1 standard normal tensors (batch, tokens, width) on the device of `brain`: where sampling starts,
    then one for each move between two timesteps. steps: see `sampling_times`. No guidance, no clamping.

    This is DDIM (Song et al., 2021, eq. 12 and 16) with eta = 1, as the released code has it: the noise in the current
    tokens is computed with the schedule at timestep t, the move from t to the next timestep with the schedule one step
    earlier at both ends.
    """
    times = sampling_times(prior.config.timesteps, steps)
    if len(noises) != len(times):
        raise ValueError(f"{steps} steps take {len(times)} noise tensors, got {len(noises)}")
    after = remaining_signal(prior.config.timesteps, torch.device("cpu")).tolist()
    before = [1.0, *after[:-1]]

    x = noises[0]
    for i, t in enumerate(times):
        clean = prior(x, torch.full((len(x),), t, device=x.device), brain).float()
        if i == len(times) - 1:
            break
        noise_in_x = (x / math.sqrt(after[t]) - clean) / math.sqrt(1 / after[t] - 1)
        now, then = before[t], before[times[i + 1]]
        fresh = (1 - now / then) * (1 - then) / (1 - now)
        kept = 1 - then - fresh
        x = math.sqrt(then) * clean + math.sqrt(fresh) * noises[i + 1] + math.sqrt(kept) * noise_in_x
    return clean


@torch.no_grad()
def sample_every_step(prior: PriorNetwork, brain: Tensor, noises: Sequence[Tensor]) -> Tensor:
    """Image tokens (batch, tokens, width), float32, by all steps that the prior was trained with.

    noises: as many standard normal tensors (batch, tokens, width) as the prior has timesteps: where sampling starts,
    then one for each step but the last. This is DDPM (Ho et al., 2020, eq. 6 and 7): from timestep t to t - 1 by the
    posterior given the predicted clean tokens.
    """
    timesteps = prior.config.timesteps
    if len(noises) != timesteps:
        raise ValueError(f"{timesteps} timesteps take {timesteps} noise tensors, got {len(noises)}")
    betas = cosine_betas(timesteps).tolist()
    after = remaining_signal(timesteps, torch.device("cpu")).tolist()
    before = [1.0, *after[:-1]]

    x = noises[0]
    for t in reversed(range(timesteps)):
        clean = prior(x, torch.full((len(x),), t, device=x.device), brain).float()
        if t == 0:
            break
        mean = betas[t] * math.sqrt(before[t]) * clean + (1 - before[t]) * math.sqrt(1 - betas[t]) * x
        spread = math.sqrt(betas[t] * (1 - before[t]) / (1 - after[t]))
        x = mean / (1 - after[t]) + spread * noises[timesteps - t]
    return clean
