"""What MindEye2 is trained to do: the weighted sum of its losses.

    L = 30 L_prior + 1 L_contrast + 0.5 (L1 of latents + 0.1 L_local)

L_prior (diffusion.py): mean squared error of the image tokens that the diffusion prior predicts, given unprojected
backbone tokens. Its target is the image of the trial itself, also where betas are mixed. L_contrast: BiMixCo
(mixco.py) for the first third of the epochs, SoftCLIP (soft_clip.py) afterwards. The paper's eq. 1 divides all weights
by 30 and leaves out the inner 0.1.
"""

import dataclasses
import difflib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fmri2img.decoders.mindeye2 import diffusion
from fmri2img.decoders.mindeye2.low_level_loss import latent_loss, local_contrast_loss
from fmri2img.decoders.mindeye2.mixco import bimixco_loss, flat_unit
from fmri2img.decoders.mindeye2.model import MindEye2
from fmri2img.decoders.mindeye2.soft_clip import soft_clip_loss, soft_temperature
from fmri2img.decoders.training import distributed
from fmri2img.errors import UserError

ALL = slice(None)
MAY_BE_ZERO = ("prior", "contrast", "low_level", "local_contrast", "mixup_share", "mixup_chance")
CHOICES = {"negatives": ("gathered", "local"), "fixed_points": ("summed", "overwritten")}


@dataclass(frozen=True)
class LossConfig:
    """Weights and temperatures; the defaults are the published ones, with known defects of the released code put right.

    prior, contrast, low_level: weights; local_contrast: weight of that loss within the low-level loss.
    mixup_share: share of the epochs with MixCo; mixup_concentration: of its Beta distribution; mixup_chance: that a
        trial is mixed; mixco_temperature: of its loss.
    soft_temperature_start, soft_temperature_end: of SoftCLIP; local_temperature: of the local contrast.
    negatives: gathered: samples are compared, and mixed, with those of all processes; local: within each process's
        share, as in the released code, so that results depend on the number of processes.
    prior_every, low_level_every: these losses are taken on every so-manieth trial of a global batch, to save time; 1,
        all of them, as published.
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
    prior_every: int = 1
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


class Objective(nn.Module):
    """The network with its losses: what the training engine wraps and calls.

    forward(batch) -> weighted loss terms, each 0-d float32. `batch` holds this process's share:

        betas        subject -> float32 (trials, voxels), mixed where this is the MixCo phase; subjects in the order of
                     the other entries, whose first axis is trials of the first subject, then of the second, ...
        tokens       (trials, tokens, token_width) of the trials' own images
        temperature  0-d, of the contrastive loss
        labels       float32 (samples, samples) of the batch that is compared (all processes' samples, or this one's),
                     in the MixCo phase only
        kept         masks of dropout, name -> bool (trials, units) (dropout.masks)
        t, noise, keep_brain, keep_image    random numbers of the diffusion (diffusion.loss), where there is a prior
        latents, maps, augmented_maps       targets of the low-level head, where there is one
        prior_rows, low_level_rows          int64, the trials that these losses, and the entries for them, are of;
                     absent where they are of all
    """

    def __init__(self, model: MindEye2, config: LossConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, batch: dict) -> dict[str, Tensor]:
        encoded = self.model(batch["betas"], batch.get("low_level_rows", ALL), batch["kept"])
        target = batch["tokens"].float()
        terms = {}
        if self.model.prior is not None:
            rows = batch.get("prior_rows", ALL)
            noise = (batch["t"], batch["noise"], batch["keep_brain"], batch["keep_image"])
            loss, _ = diffusion.loss(self.model.prior, target[rows], encoded.tokens[rows], *noise)
            terms["prior"] = self.config.prior * loss
        with torch.autocast(target.device.type, enabled=False):
            terms["contrast"] = self.config.contrast * self._contrast(encoded.projected, target, batch)
            if self.model.low_level is not None:
                weight = self.config.low_level
                terms["latents"] = weight * latent_loss(encoded.latents, batch["latents"])
                local = self._local_contrast(encoded.maps, batch["maps"], batch["augmented_maps"])
                terms["local"] = weight * self.config.local_contrast * local
        return terms

    @property
    def _gathers(self) -> bool:
        return self.config.negatives == "gathered"

    def _contrast(self, projected: Tensor, target: Tensor, batch: dict) -> Tensor:
        brains, images = flat_unit(projected), flat_unit(target)
        # Image vectors need no gradient and are gathered whole; of the brain vectors, only their similarities are.
        everyone = distributed.gather(images) if self._gathers else images
        similarities = brains @ everyone.T
        image_similarities = images @ everyone.T
        if self._gathers:
            similarities, image_similarities = map(distributed.gather, (similarities, image_similarities))
        if "labels" in batch:
            return bimixco_loss(similarities, batch["labels"], batch["temperature"])
        return soft_clip_loss(similarities, image_similarities, batch["temperature"])

    def _local_contrast(self, maps: Tensor, teacher: Tensor, augmented: Tensor) -> Tensor:
        student = maps.float()
        if not self._gathers:
            return local_contrast_loss(student, teacher, augmented, self.config.local_temperature)
        places = student.shape[0] * student.shape[1]
        own = slice(distributed.rank() * places, (distributed.rank() + 1) * places)
        gathered = map(distributed.gather, (student, teacher.float(), augmented.float()))
        return local_contrast_loss(*gathered, self.config.local_temperature, own)
