"""Settings of the parts of brain decoders that several methods share. Torch is not needed here."""

import math

from pydantic import Field, model_validator

from fmri2img.settings import base
from fmri2img.settings.base import Chance, Positive, PositiveNumber, Share


class PriorConfig(base.Settings):
    """The diffusion prior."""

    depth: Positive = Field(6, description="Transformer layers.")
    heads: Positive = Field(32, description="Attention heads of the queries.")
    head_width: Positive = Field(52, description="Width of a head.")
    feedforward: Positive = Field(4, description="Hidden width of the feed-forward layer, in token widths.")
    timesteps: Positive = Field(100, description="Steps of the diffusion.")
    condition_drop: Chance = Field(0.2, description="Chance in training that a learned null replaces the brain tokens.")
    image_drop: Chance = Field(
        0.2, description="Chance in training that a learned null takes the place of the noised image tokens."
    )
    rotary_width: Positive = Field(32, description="Entries of a head that are rotated, at most head_width.")

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
    mixup_concentration: PositiveNumber = Field(0.15, description="Concentration of MixCo's Beta distribution.")
    mixup_chance: Share = Field(0.5, description="Chance that a trial is mixed.")
    mixco_temperature: PositiveNumber = Field(0.006, description="Temperature of MixCo's loss.")
    soft_temperature_start: PositiveNumber = Field(0.004, description="First temperature of SoftCLIP.")
    soft_temperature_end: PositiveNumber = Field(0.0075, description="Last temperature of SoftCLIP.")

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
