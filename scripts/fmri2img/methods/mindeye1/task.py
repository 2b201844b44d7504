"""MindEye1 for the training engine: the networks of one subject, from scratch.

settings (JSON):

    recordings            subject -> Recording; one subject
    sessions              subject -> first sessions to train on; a share of one in decimals
    embeddings            Embeddings of the target encoder; image_views: those of augmented views of the images, or none
    latents, local_features    Embeddings of autoencoder latents; of the teacher's views: plain, augmented 1, 2, ...;
                          null without low-level network
    model                 HighLevelSettings; tokens and token_width follow from the targets
    low_level             LowLevel (settings), null without; sizes of the latents and maps follow from the targets
    losses                LossConfig
    validation_share      of the training images, held out to log retrieval on; may be 0
    initial               null: nothing is pretrained

No test image takes part: the released code monitored the test images and kept the weights that did best on them next
to the last ones; here the last are kept, which the released code decodes with as well.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.errors import UserError
from fmri2img.methods.mindeye1.data import (
    DROPOUT,
    IMAGE_VIEWS,
    LOW_LEVEL_DROPOUT,
    VIEWS,
    Batches,
)
from fmri2img.methods.mindeye1.losses import Objective
from fmri2img.methods.mindeye1.network import MindEye1, save_model
from fmri2img.methods.mindeye1.settings import HighLevelConfig, LossConfig, LowLevel, LowLevelConfig
from fmri2img.networks.prior import diffusion_numbers
from fmri2img.networks.retrieval import retrieval_of
from fmri2img.training import distributed
from fmri2img.training.configuration import TrainingConfig
from fmri2img.training.dropout import masks
from fmri2img.training.sources import fingerprint
from fmri2img.training.targets import Targets
from fmri2img.training.trials import open_trials

WHERE = "training configuration"
REQUIRED = (
    "recordings", "sessions", "embeddings", "model", "losses", "validation_share",
)  # fmt: skip
OPTIONAL = {"image_views": [], "latents": None, "local_features": [], "low_level": None, "initial": None}


class MindEye1Task:
    """Settings: see the module's docstring; methods: see training.task.Task."""

    def __init__(self, settings: dict[str, Any], training: TrainingConfig) -> None:
        settings = _checked(settings)
        self._settings, self._training = settings, training
        self._losses = LossConfig.read(settings["losses"], WHERE, "settings.losses")
        self._targets = Targets(settings["embeddings"], settings["latents"], settings["local_features"] or ())
        self._views = [Embeddings.open(path) for path in settings["image_views"]]
        (self._trials,) = open_trials(
            settings["recordings"], settings["sessions"], settings["validation_share"], training.seed
        )
        shown = self._trials.ids(np.concatenate([self._trials.rows, self._trials.held_out]))
        self._targets.check(shown)
        for view in self._views:
            view.rows(shown)
        self._batches = Batches(self._trials, self._losses, training.seed)

        tokens, width = self._targets.token_shape
        sizes = {"tokens": tokens, "token_width": width}
        high_level = HighLevelConfig.read(settings["model"] | sizes, WHERE, "settings.model")
        self._low_level = None
        if settings["low_level"] is not None:
            self._low_level = LowLevel.read(settings["low_level"], WHERE, "settings.low_level")
            _check_share(self._low_level.batch, training)
        low_level = self._low_level and completed(self._low_level, self._targets)
        model = MindEye1(high_level, low_level, self._trials.recording.betas.shape[1])
        model.prior.checkpointing = training.activation_checkpointing
        local = (self._low_level.local_contrast, self._low_level.local_temperature) if self._low_level else (0.0, 1.0)
        self.module = Objective(model, self._losses, local, self._targets.latent_scale if self._low_level else 1.0)

    def sources(self) -> dict[str, str]:
        """Fingerprints of the recording (and its trials) and of the targets."""
        views = {
            f"image_views.{number}": fingerprint(view.metadata, view.ids[None], view.tokens)
            for number, view in enumerate(self._views)
        }
        return {"recordings": self._trials.fingerprint} | self._targets.fingerprints | views

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Weight decay acts on all with no "bias" in its name, norms included; as in the released training."""
        groups: dict[tuple[float, float], list] = {}  # of the high-level network first
        for name, parameter in self.module.model.named_parameters():
            if parameter.requires_grad:
                rate = self._low_level.rate if self._low_level and name.startswith("voxel2sd.") else 1.0
                groups.setdefault((rate, 0.0 if "bias" in name else weight_decay), []).append(parameter)
        return [
            {"params": parameters, "weight_decay": decay, "rate": rate} for (rate, decay), parameters in groups.items()
        ]

    def steps_per_epoch(self, batch: int) -> int:
        """Steps in which as many samples are seen as there are training images; at least 1."""
        return max(1, len(self._batches.images) // batch)

    def inputs(self, step: int, epoch: int, batch: int, rank: int, world: int, device: torch.device) -> dict[str, Any]:
        """This process's share of global batch `step`, as losses.Objective takes it."""
        training, seed = self._training, self._training.seed
        mixing = epoch < self._losses.mixup_epochs(training.epochs)
        whole = self.steps_per_epoch(training.batch)
        in_epoch = step - epoch * min(whole, training.epoch_steps or whole) * training.accumulation
        share = self._batches.high_level(step, in_epoch, batch, rank, world, mixing)
        model = self.module.model
        inputs: dict[str, Any] = {
            "betas": torch.from_numpy(share.betas).to(device),
            "tokens": self._tokens(step, batch, share.places, share.ids).to(device),
            "temperature": torch.tensor(self._losses.temperature(epoch, training.epochs), device=device),
            "kept": masks(model.voxel2clip, batch, share.places, device, seed, DROPOUT, step),
        }
        if mixing:
            inputs["labels"] = torch.from_numpy(share.labels).to(device)
        prior, shape = model.high_level_config.prior, self._targets.token_shape
        inputs |= diffusion_numbers(prior, shape, batch, share.places, device, seed, step)
        if self._low_level is not None:
            inputs["low_level"] = self._low_level_inputs(step, rank, world, device)
        return inputs

    def _tokens(self, step: int, batch: int, places: np.ndarray, ids: np.ndarray) -> torch.Tensor:
        """Tokens float16 of the images as they are, or of one of their augmented views."""
        if not self._views:
            return self._targets.tokens(ids)
        views = self._batches.views(IMAGE_VIEWS, step, batch, places, len(self._views)) - 1
        found = [self._views[view].tokens[self._views[view].rows(ids[i : i + 1])] for i, view in enumerate(views)]
        return torch.from_numpy(np.concatenate(found))

    def _low_level_inputs(self, step: int, rank: int, world: int, device: torch.device) -> dict[str, Any]:
        batch = self._low_level.batch // self._training.accumulation
        share = self._batches.low_level(step, batch, rank, world)
        seed, network = self._training.seed, self.module.model.voxel2sd
        views = self._batches.views(VIEWS, step, batch, share.places, self._targets.augmentations)
        return {
            "betas": torch.from_numpy(share.betas).to(device),
            "latents": self._targets.latents(share.ids).to(device),
            "maps": self._targets.maps(share.ids, np.zeros_like(views)).to(device),
            "augmented_maps": self._targets.maps(share.ids, views).to(device),
            "kept": masks(network, batch, share.places, device, seed, LOW_LEVEL_DROPOUT, step),
        }

    def validate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Retrieval among held-out training images; see networks.retrieval. Empty without held-out images."""
        if not len(self._trials.held_out):
            return {}

        def projected(betas: torch.Tensor) -> torch.Tensor:
            return module.model.voxel2clip(betas)[1]

        return retrieval_of(projected, self._trials, self._targets, device)

    def save(self, directory: Path, metadata: dict[str, Any]) -> None:
        """Write the model (network.save_model); its metadata say what it was trained on."""
        trials, recording = self._trials, self._trials.recording.metadata
        low_level = self._settings["low_level"]
        low_level = low_level and {key: value for key, value in low_level.items() if key != "network"}
        record = {
            "subjects": [trials.subject],
            "training_subjects": [trials.subject],
            "sessions": {trials.subject: trials.sessions},
            "trials": len(trials.rows),
            "images": len(self._batches.images),
            "held_out_images": len(np.unique(trials.ids(trials.held_out))),
            "split": recording["split"],
            "split_sha256": recording["split_sha256"],
            "encoder": self._targets.encoder,
            "losses": self._losses.to_dict(),
            "low_level": low_level,
            "initial": None,
            "training": metadata,
        }
        save_model(directory, self.module.model, trials.subject, record)


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    known = (*REQUIRED, *OPTIONAL)
    for key in settings:
        if key not in known:
            raise UserError(f"{WHERE}: unknown key 'settings.{key}'; the keys are {', '.join(known)}")
    for key in REQUIRED:
        if key not in settings:
            raise UserError(f"{WHERE}: key 'settings.{key}' is missing")
    if len(settings["recordings"]) != 1:
        raise UserError(f"{WHERE}: settings.recordings: MindEye1 is trained on one subject; name one")
    return OPTIONAL | settings


def _check_share(batch: int, training: TrainingConfig) -> None:
    parts = training.accumulation * distributed.world()
    if batch % parts:
        raise UserError(
            f"settings.low_level.batch: {batch} is not a multiple of accumulation x processes ({training.accumulation} "
            f"x {distributed.world()}); change it"
        )


def completed(settings: LowLevel, targets: Targets) -> LowLevelConfig:
    """The low-level network with the sizes that its targets fix. Raises UserError where they do not fit."""
    channels, side = targets.latent_shape
    sizes = {"latent_channels": channels, "latent_side": side, "maps_width": targets.map_shape[1]}
    config = LowLevelConfig.read(settings.network.to_dict() | sizes, WHERE, "settings.low_level.network")
    if config.positions != targets.map_shape[0]:
        raise UserError(
            f"settings.low_level.network: its grid has {config.positions} places, the teacher's map has "
            f"{targets.map_shape[0]}; choose another teacher or number of channels"
        )
    return config
