"""Settings of the parts of brain decoders that several methods share. Torch is not needed here."""

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from fmri2img.settings import base
from fmri2img.settings.base import Chance, Depth, LatentGrid, Share, Temperature, Width

GROUPS = 32  # of the upsampler's normalisation
REDUCTIONS = (4, 8)  # pixels per latent, along one side, of autoencoders


class SeedGrid(base.Settings):
    """A grid of features that the upsampler enlarges to autoencoder latents."""

    seed_channels: Width = Field(64, description="Channels of the seed grid.")
    channels: base.Fixed[Width] = Field(
        description="Channels of the enlarging blocks, the last block's first. Each block but one doubles the grid.",
    )
    layers: Depth = Field(1, description="Residual units of a block, less one.")

    @model_validator(mode="after")
    def _groups_are_whole(self) -> "SeedGrid":
        for channels in self.channels:
            if channels % GROUPS:
                raise base.WrongKey(
                    "channels", f"{channels} is not a multiple of {GROUPS} (groups of its normalisation); change it"
                )
        return self


class SeedGridSizes(SeedGrid):
    """A seed grid with the sizes that follow from its targets."""

    latent_channels: Width = Field(4, description="Channels of the autoencoder's latents.")
    latent_side: LatentGrid = Field(28, description="Side of the autoencoder's latents.")
    maps_width: Width = Field(512, description="Width of the local features, one for each place of the seed grid.")

    @property
    def seed_side(self) -> int:
        return self.latent_side // 2 ** (len(self.channels) - 1)

    @property
    def positions(self) -> int:
        """Number of local features."""
        return self.seed_side**2

    @model_validator(mode="after")
    def _grid_is_whole(self) -> "SeedGridSizes":
        enlargement = 2 ** (len(self.channels) - 1)
        if self.latent_side % enlargement:
            raise base.WrongKey(
                "latent_side",
                f"{self.latent_side} is not a multiple of {enlargement}, by which the {len(self.channels)} blocks of "
                "`channels` enlarge; change one of them",
            )
        return self


def check_low_level(study: Any, key: str, low_level: Any, grid: SeedGrid) -> None:
    """Pictures, teacher and blocks of a low-level network fit: the seed grid has a place for each of the teacher's
    features, and its blocks enlarge it to the autoencoder's latents. Raises UserError.

    low_level: the section under `key`, with `image_size` and `teacher`.
    """
    teacher = study.registries["backbones"][low_level.teacher]
    side = math.isqrt(teacher["tokens"]) * 2 ** (len(grid.channels) - 1)
    if low_level.image_size not in [reduction * side for reduction in REDUCTIONS]:
        raise base.problem(
            f"{key}.image_size",
            f"{low_level.image_size}: the {teacher['tokens']} features of {low_level.teacher}, enlarged by "
            f"{len(grid.channels)} blocks, give latents of side {side}, which are those of pictures of "
            f"{' or '.join(str(reduction * side) for reduction in REDUCTIONS)} pixels; change one of them",
        )


class PriorConfig(base.Settings):
    """The diffusion prior."""

    depth: Depth = Field(6, description="Transformer layers.")
    heads: Depth = Field(32, description="Attention heads of the queries.")
    head_width: Width = Field(52, description="Width of a head.")
    feedforward: int = Field(4, ge=1, le=64, description="Hidden width of the feed-forward layer, in token widths.")
    timesteps: int = Field(100, ge=2, le=10_000, description="Steps of the diffusion.")
    condition_drop: Chance = Field(0.2, description="Chance in training that a learned null replaces the brain tokens.")
    image_drop: Chance = Field(
        0.2, description="Chance in training that a learned null takes the place of the noised image tokens."
    )
    rotary_width: Width = Field(32, description="Entries of a head that are rotated, at most head_width.")

    @property
    def rotated(self) -> int:
        """Entries of a head that are rotated."""
        return min(self.rotary_width, self.head_width)

    @model_validator(mode="after")
    def _pairs_are_whole(self) -> "PriorConfig":
        if self.rotated % 2:
            key = "rotary_width" if self.rotary_width <= self.head_width else "head_width"
            raise base.WrongKey(key, f"{self.rotated} entries of a head cannot be rotated in pairs; make it even")
        return self


class ContrastSettings(base.Settings):
    """MixCo and the contrastive losses: BiMixCo for the first share of the epochs, SoftCLIP afterwards."""

    mixup_share: Share = Field(0.33, description="Share of the epochs, from the first, with MixCo.")
    mixup_concentration: float = Field(0.15, ge=0.01, le=100, description="Concentration of MixCo's Beta distribution.")
    mixup_chance: Share = Field(0.5, description="Chance that a trial is mixed.")
    mixco_temperature: Temperature = Field(0.006, description="Temperature of MixCo's loss.")
    soft_temperature_start: Temperature = Field(0.004, description="First temperature of SoftCLIP.")
    soft_temperature_end: Temperature = Field(0.0075, description="Last temperature of SoftCLIP.")
    fixed_points: Literal["summed", "overwritten"] = Field(
        "summed", description='See mixco.mixture_labels; "overwritten" in the released code (a known defect).'
    )

    def mixup_epochs(self, epochs: int) -> int:
        """Number of epochs, from the first, with MixCo: 49 of 150."""
        return int(self.mixup_share * epochs)

    def temperature(self, epoch: int, epochs: int) -> float:
        """Temperature of the contrastive loss in an epoch (0-based): constant for MixCo, then a half cosine."""
        mixup = self.mixup_epochs(epochs)
        if epoch < mixup:
            return self.mixco_temperature
        return soft_temperature(epoch - mixup, epochs - mixup, self.soft_temperature_start, self.soft_temperature_end)


def soft_temperature(epoch: int, epochs: int, start: float, end: float) -> float:
    """Temperature of SoftCLIP's epoch number `epoch` (0-based) of `epochs`: half a cosine from `start` to `end`."""
    if epochs < 2:
        return start
    return end + (start - end) / 2 * (1 + math.cos(math.pi * epoch / (epochs - 1)))
