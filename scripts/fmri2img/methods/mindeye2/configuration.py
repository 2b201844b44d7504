"""The sizes of a MindEye2 model and the settings of its losses, checked when they are read. Torch is not needed for it.

Defaults are those of the published models. The configurations are plain frozen dataclasses; `from_dict` and
`to_dict` translate from and to the YAML and JSON records that studies and saved models hold.
"""

import dataclasses
import difflib
import math
import types
import typing
from dataclasses import dataclass

from fmri2img.errors import UserError

BACKBONES = ("as_released", "residual_mlp")
MAY_BE_ZERO = ("prior", "contrast", "low_level", "local_contrast", "mixup_share", "mixup_chance")
CHOICES = {"negatives": ("gathered", "local"), "fixed_points": ("summed", "overwritten")}


@dataclass(frozen=True)
class LowLevelConfig:
    """The low-level head: a seed grid, enlarged to autoencoder latents.

    latent_channels, latent_side: of the autoencoder's latents; channels: of the enlarging blocks, the last block's
    first, each but one doubling the grid; layers: residual units of a block, less one; seed_channels: of the seed grid;
    maps_width: width of the local features, one per position of the seed grid; dropout: on the seed grid.
    """

    latent_channels: int = 4
    latent_side: int = 28
    seed_channels: int = 64
    channels: tuple[int, ...] = (32, 64, 128)
    layers: int = 1
    maps_width: int = 512
    dropout: float = 0.3

    @classmethod
    def from_dict(cls, record: dict, where: str) -> "LowLevelConfig":
        """Read a record; raises UserError naming the key (below `where`) that is unknown or wrong."""
        return _read(cls, record, where)

    @property
    def seed_side(self) -> int:
        return self.latent_side // 2 ** (len(self.channels) - 1)

    @property
    def positions(self) -> int:
        """Number of local features."""
        return self.seed_side**2

    def check(self, where: str) -> None:
        enlargement = 2 ** (len(self.channels) - 1)
        if self.latent_side % enlargement:
            raise UserError(
                f"{where}.latent_side: {self.latent_side} is not a multiple of {enlargement}, by which "
                f"{len(self.channels)} blocks of {where}.channels enlarge; change one of them"
            )
        for channels in self.channels:
            if channels % 32:
                raise UserError(f"{where}.channels: {channels} is not a multiple of 32 (groups of its normalisation)")


@dataclass(frozen=True)
class PriorConfig:
    """The diffusion prior.

    depth: transformer layers; heads, head_width: of the queries; feedforward: hidden width of the feed-forward as a
    multiple of the token width; timesteps: of the diffusion; condition_drop, image_drop: chances in training that the
    brain tokens, and independently the noised image tokens, give way to a learned null; rotary_width: entries of a head
    that are rotated, at most head_width.
    """

    depth: int = 6
    heads: int = 32
    head_width: int = 52
    feedforward: int = 4
    timesteps: int = 100
    condition_drop: float = 0.2
    image_drop: float = 0.2
    rotary_width: int = 32

    @property
    def rotated(self) -> int:
        """Entries of a head that are rotated."""
        return min(self.rotary_width, self.head_width)

    def check(self, where: str) -> None:
        if self.rotated % 2:
            raise UserError(f"{where}: {self.rotated} entries of a head cannot be rotated in pairs; make it even")


@dataclass(frozen=True)
class ModelConfig:
    """A whole model.

    hidden: width of the latent that all subjects share; backbone: "as_released" or "residual_mlp" (see backbone.py);
    tokens, token_width: of the image encoder; blocks, dropout: of the backbone; low_level, prior: None leaves the part
    out.
    """

    hidden: int
    backbone: str
    tokens: int
    token_width: int
    blocks: int = 4
    dropout: float = 0.15
    low_level: LowLevelConfig | None = None
    prior: PriorConfig | None = None

    @classmethod
    def from_dict(cls, record: dict, where: str = "model") -> "ModelConfig":
        """Read a record; raises UserError naming the key (below `where`) that is unknown, missing or wrong."""
        return _read(cls, record, where)

    def to_dict(self) -> dict:
        """The record that `from_dict` reads; lists instead of tuples, as JSON has them."""
        record = dataclasses.asdict(self)
        if self.low_level:
            record["low_level"]["channels"] = list(self.low_level.channels)
        return record

    def check(self, where: str) -> None:
        if self.backbone not in BACKBONES:
            raise UserError(f"{where}.backbone: {self.backbone!r} is not one of {', '.join(BACKBONES)}")
        if self.prior and self.token_width % 2:
            raise UserError(f"{where}.token_width: {self.token_width} must be even for the prior's time embedding")


@dataclass(frozen=True)
class LossConfig:
    """Weights and temperatures; the defaults are the published ones, with known defects of the released code put right.

    prior, contrast, low_level: weights; local_contrast: weight of that loss within the low-level loss.
    mixup_share: share of the epochs with MixCo; mixup_concentration: of its Beta distribution; mixup_chance: that a
        trial is mixed; mixco_temperature: of its loss.
    soft_temperature_start, soft_temperature_end: of SoftCLIP; local_temperature: of the local contrast.
    negatives: gathered: samples are compared, and mixed, with those of all processes; local: within each process's
        share, as in the released code, so that results depend on the number of processes.
    low_level_every: the low-level losses are taken on every so-manieth trial of a global batch, to save time; 1, all
        of them, as published.
    permutation_offsets, fixed_points: see mixco.mixture_labels; the released code has false and "overwritten".
    """

    prior: float = 30.0
    contrast: float = 1.0
    low_level: float = 0.5
    local_contrast: float = 0.1
    mixup_share: float = 0.33
    mixup_concentration: float = 0.15
    mixup_chance: float = 0.5
    mixco_temperature: float = 0.006
    soft_temperature_start: float = 0.004
    soft_temperature_end: float = 0.0075
    local_temperature: float = 0.2
    low_level_every: int = 1
    negatives: str = "gathered"
    permutation_offsets: bool = True
    fixed_points: str = "summed"

    @classmethod
    def from_dict(cls, record: dict, where: str = "losses") -> "LossConfig":
        """Read a record; raises UserError naming the key (below `where`) that is unknown or has a bad value."""
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        for key, value in record.items():
            if key not in defaults:
                near = difflib.get_close_matches(key, defaults, 1)
                hint = f"did you mean '{near[0]}'?" if near else f"the keys are {', '.join(defaults)}"
                raise UserError(f"{where}.{key}: unknown key; {hint}")
            if key in CHOICES and value not in CHOICES[key]:
                raise UserError(f"{where}.{key}: {value!r} is not one of {', '.join(CHOICES[key])}")
            if isinstance(defaults[key], bool) != isinstance(value, bool):
                raise UserError(f"{where}.{key}: {value!r} is not of the same kind as its default {defaults[key]!r}")
            if type(defaults[key]) is int and (type(value) is not int or value < 1):
                raise UserError(f"{where}.{key}: {value!r} is not a positive whole number")
            if isinstance(defaults[key], float):
                if not isinstance(value, int | float) or value < 0 or (value == 0 and key not in MAY_BE_ZERO):
                    raise UserError(f"{where}.{key}: {value!r} is not a positive number")
                if key in ("mixup_share", "mixup_chance") and value > 1:
                    raise UserError(f"{where}.{key}: {value!r} is a share; it must be at most 1")
        return cls(**record)

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

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


def _read(cls: type, record: dict, where: str):
    if not isinstance(record, dict):
        raise UserError(f"{where}: expected keys and values, found {record!r}")
    kinds = typing.get_type_hints(cls)
    for key in record:
        if key not in kinds:
            raise UserError(f"{where}.{key}: unknown key; the keys are {', '.join(kinds)}")
    values = {}
    for field in dataclasses.fields(cls):
        if field.name in record:
            values[field.name] = _value(kinds[field.name], record[field.name], f"{where}.{field.name}")
        elif field.default is dataclasses.MISSING:
            raise UserError(f"{where}.{field.name}: the key is missing; add it")
    config = cls(**values)
    config.check(where)
    return config


def _value(kind, value, where: str):
    if isinstance(kind, types.UnionType):  # a part that may be left out
        return None if value is None else _read(typing.get_args(kind)[0], value, where)
    if kind is str:
        if not isinstance(value, str):
            raise UserError(f"{where}: expected a word, found {value!r}")
        return value
    if kind is float:  # the only fractions are chances of dropping something
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise UserError(f"{where}: expected a number from 0 to below 1, found {value!r}")
        return float(value)
    if kind is int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{where}: expected a positive whole number, found {value!r}")
        return value
    if not isinstance(value, list | tuple) or not value:
        raise UserError(f"{where}: expected a list of whole numbers, found {value!r}")
    return tuple(_value(int, item, where) for item in value)
