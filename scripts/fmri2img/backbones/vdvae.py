"""Very deep variational autoencoders (Child 2021): pictures to a hierarchy of latents, and back.

The encoder computes activations at falling resolutions. The decoder starts from learned biases and runs through its
blocks from the coarsest resolution to the finest; each block has one level of latents, drawn from the posterior (with
the encoder's activations) or from the prior (without them). The picture is drawn from a mixture of discretised
logistics. Tensor names and numerics are those of OpenAI's release, so that its checkpoints load.

Brain-Diffuser decodes the first 31 of the 75 levels of the network for ImageNet at 64 pixels, 91,168 values, and draws
the other levels from the prior.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmri2img.artifacts.axes import Axes
from fmri2img.backbones.pixels import Preprocessing, placement
from fmri2img.backbones.registry import Backbone, expect_kind
from fmri2img.backbones.vdvae_layout import Layout
from fmri2img.errors import UserError
from fmri2img.tensors import read_checkpoint

CHANNELS = 3
SMALLEST_LOG_SCALE = -7.0
EDGE = 1e-5  # uniform numbers are drawn from EDGE..1 - EDGE
DISTRIBUTED_PREFIX = "module."  # of tensors that were saved from a network wrapped for several processes


class Block(nn.Module):
    """Four convolutions, each after a GELU; 3 x 3 in the middle where the side allows it."""

    def __init__(self, width: int, inner: int, out: int, side: int, residual: bool, reduction: int | None = None):
        super().__init__()
        self.residual, self.reduction = residual, reduction
        kernel = 3 if side > 2 else 1
        self.c1 = nn.Conv2d(width, inner, 1)
        self.c2 = nn.Conv2d(inner, inner, kernel, padding=kernel // 2)
        self.c3 = nn.Conv2d(inner, inner, kernel, padding=kernel // 2)
        self.c4 = nn.Conv2d(inner, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for convolution in (self.c1, self.c2, self.c3, self.c4):
            out = convolution(F.gelu(out))
        if self.residual:
            out = x + out
        return out if self.reduction is None else F.avg_pool2d(out, self.reduction)


class Encoder(nn.Module):
    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.in_conv = nn.Conv2d(CHANNELS, layout.width, 3, padding=1)
        self.enc_blocks = nn.ModuleList(
            Block(layout.width_at(side), layout.inner_width_at(side), layout.width_at(side), side, True, reduction)
            for side, reduction in layout.encoder_blocks()
        )

    def forward(self, pixels: Tensor) -> dict[int, Tensor]:
        """The last activations (n, width, side, side) at each side, of normalised pixels (n, 3, side, side)."""
        x = self.in_conv(pixels)
        activations = {x.shape[2]: x}
        for block in self.enc_blocks:
            x = block(x)
            x = _with_channels(x, self.layout.width_at(x.shape[2]))
            activations[x.shape[2]] = x
        return activations


def _with_channels(x: Tensor, channels: int) -> Tensor:
    """x (n, c, h, w) with zeros behind its channels, as the release widens a state; c must not be larger."""
    return F.pad(x, (0, 0, 0, 0, 0, channels - x.shape[1]))


class DecoderBlock(nn.Module):
    """One level: its prior, its posterior (`enc`), and what the state becomes with the level's latents."""

    def __init__(self, layout: Layout, side: int, mixin: int | None) -> None:
        super().__init__()
        self.side, self.mixin, self.zdim = side, mixin, layout.zdim
        self.width = width = layout.width_at(side)
        inner = layout.inner_width_at(side)
        self.enc = Block(2 * width, inner, 2 * layout.zdim, side, residual=False)
        self.prior = Block(width, inner, 2 * layout.zdim + width, side, residual=False)
        self.z_proj = nn.Conv2d(layout.zdim, width, 1)
        self.resnet = Block(width, inner, width, side, residual=True)

    def entered(self, states: dict[int, Tensor]) -> Tensor:
        """The state (n, width, side, side) that the block begins with; zeros where no bias is learned."""
        if self.side in states:
            x = states[self.side]
        else:
            some = next(iter(states.values()))
            x = some.new_zeros(len(some), self.width, self.side, self.side)
        if self.mixin is not None:
            below = states[self.mixin][:, : self.width]
            x = x + F.interpolate(below, scale_factor=self.side // self.mixin)
        return x

    def forward(self, x: Tensor, latents: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """The state after the block. latents: called with the state, and mean and log deviation of the prior."""
        mean, log_deviation, features = self.prior(x).split([self.zdim, self.zdim, self.width], dim=1)
        z = latents(x, mean, log_deviation)
        x = x + features
        return self.resnet(x + self.z_proj(z))

    def posterior(self, x: Tensor, activations: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log deviation of the level's latents, each (n, zdim, side, side)."""
        mean, log_deviation = self.enc(torch.cat([x, activations], dim=1)).chunk(2, dim=1)
        return mean, log_deviation


class OutputNetwork(nn.Module):
    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.mixtures = layout.num_mixtures
        self.out_conv = nn.Conv2d(layout.width, 10 * layout.num_mixtures, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Parameters (n, side, side, 10 * mixtures) of the mixture at each pixel, in the order of `Mixture.of`."""
        return self.out_conv(features).permute(0, 2, 3, 1)


class Decoder(nn.Module):
    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        blocks = layout.decoder_blocks()
        self.dec_blocks = nn.ModuleList(DecoderBlock(layout, side, mixin) for side, mixin in blocks)
        sides = [side for side in sorted({side for side, _ in blocks}) if side <= layout.no_bias_above]
        self.bias_xs = nn.ParameterList(
            nn.Parameter(torch.zeros(1, layout.width_at(side), side, side)) for side in sides
        )
        self.out_net = OutputNetwork(layout)
        self.gain = nn.Parameter(torch.ones(1, layout.width, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, layout.width, 1, 1))

    def states(self, n: int) -> dict[int, Tensor]:
        """The learned states of `n` pictures, by side."""
        return {bias.shape[2]: bias.repeat(n, 1, 1, 1) for bias in self.bias_xs}

    def finished(self, states: dict[int, Tensor]) -> Tensor:
        return states[self.layout.image_size] * self.gain + self.bias


@dataclass(frozen=True)
class Mixture:
    """Mixture of logistics over the three channels of each pixel, in -1..1 (Salimans et al. 2017).

    logits (n, h, w, mixtures); means, log_scales and coefficients (n, h, w, 3, mixtures). A channel's mean is shifted
    by the channels before it: green by coefficients[0] * red, blue by coefficients[1] * red + coefficients[2] * green.
    """

    logits: Tensor
    means: Tensor
    log_scales: Tensor
    coefficients: Tensor

    @classmethod
    def of(cls, parameters: Tensor) -> "Mixture":
        """From parameters (n, h, w, 10 * mixtures): the logits, then three times mean, log scale and coefficient."""
        mixtures = parameters.shape[-1] // 10
        logits, rest = parameters.split([mixtures, 9 * mixtures], dim=-1)
        means, log_scales, coefficients = rest.unflatten(-1, (CHANNELS, 3, mixtures)).unbind(-2)
        return cls(logits, means, log_scales.clamp(min=SMALLEST_LOG_SCALE), torch.tanh(coefficients))

    def sample(self, choosing: Tensor, drawing: Tensor) -> Tensor:
        """Pictures (n, h, w, 3) in -1..1 from uniform numbers, (n, h, w, mixtures) and (n, h, w, 3).

        The component is chosen by the Gumbel-max trick, each channel drawn by the inverse distribution function.
        """
        chosen = (self.logits - torch.log(-torch.log(choosing))).argmax(-1)[..., None, None]
        means, log_scales, coefficients = (
            part.take_along_dim(chosen, dim=-1)[..., 0] for part in (self.means, self.log_scales, self.coefficients)
        )
        x = means + log_scales.exp() * (torch.log(drawing) - torch.log(1 - drawing))
        red = x[..., 0].clamp(-1, 1)
        green = (x[..., 1] + coefficients[..., 0] * red).clamp(-1, 1)
        blue = (x[..., 2] + coefficients[..., 1] * red + coefficients[..., 2] * green).clamp(-1, 1)
        return torch.stack([red, green, blue], dim=-1)

    def log_likelihood(self, pixels: Tensor) -> Tensor:
        """Natural logarithm of the probability of pictures (n, h, w, 3) in -1..1, in steps of 2 / 255: (n, h, w)."""
        x = pixels[..., None]
        red, green = x[..., 0, :], x[..., 1, :]
        shift = torch.stack(
            [
                torch.zeros_like(self.coefficients[..., 0, :] * red),
                self.coefficients[..., 0, :] * red,
                self.coefficients[..., 1, :] * red + self.coefficients[..., 2, :] * green,
            ],
            dim=-2,
        )
        centred, sharpness = x - (self.means + shift), torch.exp(-self.log_scales)
        above, below = sharpness * (centred + 1 / 255), sharpness * (centred - 1 / 255)
        middle = sharpness * centred
        inside = torch.sigmoid(above) - torch.sigmoid(below)
        density = middle - self.log_scales - 2 * F.softplus(middle) - math.log(127.5)
        log_probability = torch.where(inside > 1e-5, inside.clamp(min=1e-12).log(), density)
        log_probability = torch.where(x > 0.999, -F.softplus(below), log_probability)
        log_probability = torch.where(x < -0.999, above - F.softplus(above), log_probability)
        return torch.logsumexp(log_probability.sum(-2) + self.logits.log_softmax(-1), dim=-1)


class Vdvae(nn.Module):
    """The network. Latents are lists of tensors (n, zdim, side, side), one per level, coarsest first."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.encoder, self.decoder = Encoder(layout), Decoder(layout)

    def infer(
        self, pixels: Tensor, noise: Sequence[Tensor | None], levels: int | None = None
    ) -> tuple[dict[int, Tensor], list[Tensor], list[Tensor]]:
        """States by side, latents, and their divergence from the prior, of the first `levels` levels (or all).

        pixels: normalised (n, 3, side, side). noise: standard normal numbers of each level's shape, with which latents
        are drawn from the posterior, or None for its mean. The divergence (Kullback-Leibler, in nats) is given for each
        value of the latents.
        """
        activations = self.encoder(pixels)
        states, latents, divergences = self.decoder.states(len(pixels)), [], []
        for block, numbers in zip(self.decoder.dec_blocks[:levels], noise, strict=False):

            def drawn(x, mean, log_deviation, block=block, numbers=numbers):
                found, log_found = block.posterior(x, activations[block.side])
                z = found if numbers is None else found + log_found.exp() * numbers
                latents.append(z)
                squared = log_found.exp() ** 2 + (found - mean) ** 2
                divergences.append(log_deviation - log_found - 0.5 + 0.5 * squared / log_deviation.exp() ** 2)
                return z

            states[block.side] = block(block.entered(states), drawn)
        return states, latents, divergences

    def features(self, latents: Sequence[Tensor], noise: Sequence[Tensor], temperature: float | None = None) -> Tensor:
        """What the picture is drawn from, (n, width, side, side), given the latents of the first levels.

        noise: standard normal numbers for each of the other levels, which are drawn from the prior; its deviation is
        multiplied by `temperature` if one is given.
        """
        states = self.decoder.states(len(latents[0] if latents else noise[0]))
        given = [*latents, *[None] * len(noise)]
        numbers = [*[None] * len(latents), *noise]
        for block, known, drawn in zip(self.decoder.dec_blocks, given, numbers, strict=True):

            def chosen(x, mean, log_deviation, known=known, drawn=drawn):
                if known is not None:
                    return known
                if temperature is not None:
                    log_deviation = log_deviation + math.log(temperature)
                return mean + log_deviation.exp() * drawn

            states[block.side] = block(block.entered(states), chosen)
        return self.decoder.finished(states)

    def mixture(self, features: Tensor) -> Mixture:
        return Mixture.of(self.decoder.out_net(features))


class LatentHierarchy:
    """A frozen Vdvae whose first `levels` levels are the latents of a picture, flattened and joined.

    posterior: "sampled" for latents drawn from the posterior, as Brain-Diffuser's targets, or "mean" for its mean.
    image_size: side of the pictures that are drawn; those of the network are enlarged to it (bicubic).
    """

    def __init__(
        self, network: Vdvae, preprocessing: Preprocessing, levels: int, posterior: str, image_size: int, device="cpu"
    ) -> None:
        self.network = network.to(device).eval().requires_grad_(False)
        self.preprocessing, self.levels, self.posterior = preprocessing, levels, posterior
        self.image_size, self.device = image_size, torch.device(device)

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Of the levels that are the latents."""
        return self.network.layout.latent_shapes()[: self.levels]

    @property
    def size(self) -> int:
        """Number of values of a picture's latents."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def noise_shapes(self) -> list[tuple[int, ...]]:
        """Of the standard normal numbers that one picture is drawn with: the other levels, component, channels."""
        layout = self.network.layout
        side = layout.image_size
        return [*layout.latent_shapes()[self.levels :], (side, side, layout.num_mixtures), (side, side, CHANNELS)]

    @property
    def facts(self) -> dict:
        """For the metadata of latents."""
        return {"levels": self.levels, "posterior": self.posterior}

    def axes(self, size: int) -> Axes:
        """One row of values, in runs of a level. Raises UserError for pictures of another size."""
        own = self.preprocessing.image_size
        if size != own:
            raise UserError(f"latents: the network takes pictures of {own} pixels, not {size}; correct `size`")
        return Axes.flat({"level": [math.prod(shape) for shape in self.shapes]}, "latents, coarsest level first")

    def encode_stimuli(self, images: np.ndarray, size: int, noise: Callable[..., list[Tensor]]) -> np.ndarray:
        """Latents float32 (n, 1, values) of images (n, h, w, 3); as backbones/targets.py describes."""
        return self.encode(images, noise(*self.shapes))[:, None]

    @torch.inference_mode()
    def encode(self, images: np.ndarray, noise: Sequence[Tensor] | None = None) -> np.ndarray:
        """Latents float32 (n, size) of images (n, h, w, 3), uint8 or float in 0..1.

        noise: standard normal numbers (n, *shape) of each of `shapes`; needed where the posterior is sampled.
        """
        numbers = [None] * self.levels
        if self.posterior == "sampled":
            numbers = [part.to(self.device) for part in noise]
        _, latents, _ = self.network.infer(self.preprocessing(images, self.device), numbers, self.levels)
        return torch.cat([z.flatten(1) for z in latents], dim=1).float().cpu().numpy()

    @torch.inference_mode()
    def decode(self, latents: np.ndarray, noise: Sequence[Tensor], temperature: float | None = None) -> np.ndarray:
        """Pictures uint8 (n, side, side, 3), at the network's own size, of latents (n, size) of any float type.

        noise: standard normal numbers (n, *shape) of each of `noise_shapes`. Raises UserError when the number of values
        is not that of the network's levels.
        """
        if latents.shape[1:] != (self.size,):
            raise UserError(
                f"latents: {latents.shape[1:]} values per picture, but the first {self.levels} levels have "
                f"{self.size}; decode and draw with the same network"
            )
        flat = torch.from_numpy(np.asarray(latents, np.float32)).to(self.device)
        parts = flat.split([math.prod(shape) for shape in self.shapes], dim=1)
        known = [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]
        *levels, choosing, drawing = (part.to(self.device) for part in noise)
        mixture = self.network.mixture(self.network.features(known, levels, temperature))
        pixels = mixture.sample(uniform(choosing), uniform(drawing))
        # As the release does, rounded down.
        return ((pixels + 1) * 127.5).clamp(0, 255).to(torch.uint8).cpu().numpy()


def uniform(noise: Tensor) -> Tensor:
    """Uniform numbers in EDGE..1 - EDGE from standard normal ones."""
    return EDGE + (1 - 2 * EDGE) * torch.special.ndtr(noise)


def load_vdvae(backbone: Backbone, device=None) -> LatentHierarchy:
    """Load a network of the registered layout (`vdvae`) from a checkpoint of tensors, safetensors or torch's.

    Raises UserError for a missing or altered file, for one that holds other objects than tensors, and for a tensor that
    is missing, unexpected or of another shape.
    """
    expect_kind(backbone, "vdvae")
    record = backbone.record
    device, dtype = placement(backbone, device)
    with torch.device("meta"):
        network = Vdvae(Layout(**record["vdvae"]))
    tensors = read_checkpoint(backbone.file(record["checkpoint"]), "fetch it again")
    tensors = {name.removeprefix(DISTRIBUTED_PREFIX): tensor for name, tensor in tensors.items()}
    try:
        network.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        problem = str(error).splitlines()[1].strip()
        raise UserError(
            f"backbone {backbone.name}: {problem} Correct `vdvae` in config/backbones.yaml, or fetch the file again"
        ) from None
    return LatentHierarchy(
        network.to(dtype),
        Preprocessing.of(backbone),
        record["levels"],
        record["posterior"],
        record["image_size"],
        device,
    )
