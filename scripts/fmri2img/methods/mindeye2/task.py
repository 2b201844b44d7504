"""MindEye2 for the training engine: pretraining on several subjects, fine-tuning on one, or training from scratch.

settings (JSON):

    recordings            subject -> Recording; the order of subjects is kept
    sessions              subject -> first sessions to train on; a share of one in decimals
    embeddings            Embeddings of the target encoder
    latents, local_features    Embeddings of autoencoder latents; of the teacher's views: plain, augmented 1, 2, ...;
                          null without low-level head
    model                 ModelConfig; sizes that the targets fix (tokens, token_width, low_level.latent_channels,
                          low_level.latent_side, low_level.maps_width) may be left out
    losses                LossConfig
    initial               trained model to fine-tune, or null: everything but the adapters starts from it
    inherit_adapter_bias  true: the new subject's adapter starts from the bias of the initial model's first subject, as
                          in the released code; false: it is initialised at random, as its weight
    adapter_start         random; or zeros: weights and biases of the adapters start at 0 (but see inherit_adapter_bias)
    validation_share      of the training images, held out to log retrieval on; may be 0
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fmri2img.errors import UserError
from fmri2img.methods.mindeye2.data import DROPOUT, LOW_LEVEL_DROPOUT, Batches, chosen
from fmri2img.methods.mindeye2.losses import Objective
from fmri2img.methods.mindeye2.network import MindEye2, load_model, save_model
from fmri2img.methods.mindeye2.settings import LossConfig, ModelConfig
from fmri2img.networks.prior import diffusion_numbers
from fmri2img.networks.retrieval import retrieval_of
from fmri2img.training import distributed
from fmri2img.training.configuration import TrainingConfig
from fmri2img.training.dropout import masks
from fmri2img.training.sources import fingerprint
from fmri2img.training.targets import Targets
from fmri2img.training.trials import SubjectTrials, open_trials

DEFAULTS = {
    "latents": None, "local_features": None, "losses": {}, "initial": None, "inherit_adapter_bias": False,
    "adapter_start": "random", "validation_share": 0.05,
}  # fmt: skip
REQUIRED = ("recordings", "sessions", "embeddings", "model")


class MindEye2Task:
    """Settings: see the module's docstring; methods: see training.task.Task."""

    def __init__(self, settings: dict[str, Any], training: TrainingConfig) -> None:
        settings = _checked(settings)
        self._settings, self._training = settings, training
        self._losses = LossConfig.read(settings["losses"], "training configuration", "settings.losses")
        self._targets = Targets(settings["embeddings"], settings["latents"], settings["local_features"] or ())
        self._trials = open_trials(
            settings["recordings"], settings["sessions"], settings["validation_share"], training.seed
        )
        for subject in self._trials:
            self._targets.check(subject.ids(np.concatenate([subject.rows, subject.held_out])))
        self._batches = Batches(self._trials, self._losses, training.seed)
        batch = training.batch // training.accumulation
        used = self._batches.of_each(batch, distributed.world()) * len(self._trials)
        if used < batch and distributed.rank() == 0:
            print(f"batch: {used} of {batch} samples, so that each of {len(self._trials)} subjects has as many")

        config = completed(settings["model"], self._targets)
        model = MindEye2(config, {s.subject: s.recording.betas.shape[1] for s in self._trials})
        if settings["adapter_start"] == "zeros":
            for parameter in model.adapters.parameters():
                nn.init.zeros_(parameter)
        self._initial = _start_from(model, settings["initial"], settings["inherit_adapter_bias"])
        self._check_unseen()
        if model.prior is not None:
            model.prior.checkpointing = training.activation_checkpointing
        self.module = Objective(model, self._losses)
        if model.low_level is not None:
            self._batches.check_low_level_every(batch, distributed.world())

    def _check_unseen(self) -> None:
        """Raise UserError for a subject that the initial model was already trained on."""
        for trials in self._trials if self._initial else []:
            if trials.subject in self._initial["training_subjects"]:
                raise UserError(
                    f"{self._settings['initial']}: was already trained on {trials.subject}; start from a network that "
                    "was pretrained on other subjects"
                )

    def sources(self) -> dict[str, str]:
        """Fingerprints of recordings (and their trials), targets and the initial model's metadata."""
        found = {f"recordings.{trials.subject}": trials.fingerprint for trials in self._trials}
        initial = {} if self._initial is None else {"initial": fingerprint(self._initial)}
        return found | self._targets.fingerprints | initial

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Weight decay acts on all of the adapters, biases included, and on all else with no "bias" in its name, norms
        included; as in the released training.
        """
        trained = [(name, p) for name, p in self.module.model.named_parameters() if p.requires_grad]
        spared = [p for name, p in trained if "bias" in name and not name.startswith("adapters.")]
        kept = {id(p) for p in spared}
        decayed = [p for _, p in trained if id(p) not in kept]
        return [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]

    def steps_per_epoch(self, batch: int) -> int:
        """Steps in which as many samples are seen as the longest budget has trials, test images counted; at least 1."""
        accumulation = self._training.accumulation
        samples = self._batches.of_each(batch // accumulation, distributed.world()) * len(self._trials) * accumulation
        return max(1, max(subject.epoch_trials for subject in self._trials) // samples)

    def inputs(self, step: int, epoch: int, batch: int, rank: int, world: int, device: torch.device) -> dict[str, Any]:
        """This process's share of global batch `step`, as losses.Objective takes it."""
        mixing = epoch < self._losses.mixup_epochs(self._training.epochs)
        share = self._batches.share(step, batch, rank, world, mixing)
        model, seed = self.module.model, self._training.seed
        inputs: dict[str, Any] = {
            "betas": {subject: torch.from_numpy(values).to(device) for subject, values in share.betas.items()},
            "tokens": self._targets.tokens(share.ids).to(device),
            "temperature": torch.tensor(self._losses.temperature(epoch, self._training.epochs), device=device),
            "kept": masks(model.backbone, batch, share.places, device, seed, DROPOUT, step),
        }
        if mixing:
            inputs["labels"] = torch.from_numpy(share.labels).to(device)
        if model.prior is not None:
            shape = self._targets.token_shape
            inputs |= diffusion_numbers(model.config.prior, shape, batch, share.places, device, seed, step)
        if model.low_level is not None:
            rows = chosen(share.places, self._losses.low_level_every)
            if self._losses.low_level_every > 1:
                inputs["low_level_rows"] = torch.from_numpy(rows).to(device)
            places, ids = share.places[rows], share.ids[rows]
            inputs["kept"] |= masks(model.low_level, batch, places, device, seed, LOW_LEVEL_DROPOUT, step)
            views = self._batches.views(step, batch, places, self._targets.augmentations)
            inputs["latents"] = self._targets.latents(ids).to(device)
            inputs["maps"] = self._targets.maps(ids, np.zeros_like(views)).to(device)
            inputs["augmented_maps"] = self._targets.maps(ids, views).to(device)
        return inputs

    def validate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Retrieval among held-out training images (networks.retrieval), mean over subjects; empty without them."""
        found = [self._retrieval(module.model, subject, device) for subject in self._trials if len(subject.held_out)]
        return {name: float(np.mean([one[name] for one in found])) for name in found[0]} if found else {}

    def _retrieval(self, model: MindEye2, subject: SubjectTrials, device: torch.device) -> dict[str, float]:
        return retrieval_of(lambda betas: model({subject.subject: betas}).projected, subject, self._targets, device)

    def save(self, directory: Path, metadata: dict[str, Any]) -> None:
        """Write the model (network.save_model); its metadata say what it was trained on."""
        recordings = [subject.recording.metadata for subject in self._trials]
        ids = np.concatenate([subject.ids(subject.rows) for subject in self._trials])
        earlier = self._initial or {}
        subjects = [subject.subject for subject in self._trials]
        record = {
            "subjects": subjects,
            "training_subjects": sorted({*subjects, *earlier.get("training_subjects", [])}),
            "sessions": {subject.subject: subject.sessions for subject in self._trials},
            "trials": len(ids),
            "images": len(np.unique(ids)),
            "held_out_images": sum(len(np.unique(s.ids(s.held_out))) for s in self._trials),
            "split": recordings[0]["split"],
            "split_sha256": recordings[0]["split_sha256"],
            "encoder": self._targets.encoder,
            "losses": self._losses.to_dict(),
            "inherit_adapter_bias": self._settings["inherit_adapter_bias"],
            "adapter_start": self._settings["adapter_start"],
            "initial": self._initial,
            "training": metadata,
        }
        save_model(directory, self.module.model, record)


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    known = (*REQUIRED, *DEFAULTS)
    for key in settings:
        if key not in known:
            raise UserError(f"training configuration: unknown key 'settings.{key}'; the keys are {', '.join(known)}")
    for key in REQUIRED:
        if not settings.get(key):
            raise UserError(f"training configuration: key 'settings.{key}' is missing or empty")
    settings = DEFAULTS | settings
    if not 0 <= settings["validation_share"] < 1:
        raise UserError(f"settings.validation_share: {settings['validation_share']} is not a share from 0 to below 1")
    if settings["adapter_start"] not in ("random", "zeros"):
        raise UserError(f"settings.adapter_start: '{settings['adapter_start']}'; use random or zeros")
    return settings


def completed(record: dict[str, Any], targets: Targets) -> ModelConfig:
    """ModelConfig of `record` with the sizes that the targets fix. Raises UserError where it names others."""
    tokens, width = targets.token_shape
    record = _with_sizes(record, {"tokens": tokens, "token_width": width}, "settings.model")
    if record.get("low_level") is not None:
        if not targets.augmentations:
            raise UserError("settings.model.low_level needs settings.latents and settings.local_features")
        channels, side = targets.latent_shape
        sizes = {"latent_channels": channels, "latent_side": side, "maps_width": targets.map_shape[1]}
        record["low_level"] = _with_sizes(record["low_level"], sizes, "settings.model.low_level")
    config = ModelConfig.read(record, "training configuration", "settings.model")
    if config.low_level and config.low_level.positions != targets.map_shape[0]:
        raise UserError(
            f"settings.model.low_level: its grid has {config.low_level.positions} places, the teacher's map has "
            f"{targets.map_shape[0]}; choose another teacher or number of channels"
        )
    return config


def _with_sizes(record: dict[str, Any], sizes: dict[str, int], where: str) -> dict[str, Any]:
    for key, size in sizes.items():
        if record.get(key, size) != size:
            raise UserError(f"{where}.{key}: {record[key]} does not fit the targets, which have {size}; leave it out")
    return record | sizes


def _start_from(model: MindEye2, initial: str | None, inherit_adapter_bias: bool) -> dict[str, Any] | None:
    """Give `model` all weights of the trained model at `initial` but its adapters; returns that model's metadata."""
    if initial is None:
        if inherit_adapter_bias:
            raise UserError("settings.inherit_adapter_bias: true needs settings.initial")
        return None
    trained, metadata = load_model(initial)
    wanted, found = model.config.to_dict(), trained.config.to_dict()
    for key, value in wanted.items():
        if found[key] != value:
            raise UserError(
                f"{initial}: its {key} is {found[key]}, but settings.model.{key} is {value}; make them equal"
            )
    weights = {name: tensor for name, tensor in trained.state_dict().items() if not name.startswith("adapters.")}
    model.load_state_dict(weights, strict=False)
    if inherit_adapter_bias:
        first = trained.adapters[min(trained.voxels)]
        with torch.no_grad():
            for adapter in model.adapters.values():
                adapter.bias.copy_(first.bias)
    return metadata
