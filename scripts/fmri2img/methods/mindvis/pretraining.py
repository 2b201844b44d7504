"""Stage A for the training engine: masked brain modelling on the single trials of several subjects.

Samples are drawn from the trials of all subjects, of the dataset and of pools, such as the resting state. Patterns are
repeated from their first voxel up to whole patches of the longest, as in the released code, so that one network takes
all of them. Images play no role.

settings (JSON): `Run`, besides those that stage B alone uses.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fmri2img.methods.mindvis.masked import MaskedAutoencoder, padded, whole_patches
from fmri2img.methods.mindvis.network import save_weights
from fmri2img.methods.mindvis.settings import Augmentation, ModelConfig
from fmri2img.settings import base
from fmri2img.training.configuration import TrainingConfig
from fmri2img.training.sampler import Streams, generator, share
from fmri2img.training.trials import SubjectTrials, open_trials

# Distinct streams of random numbers of one seed.
MASKING, VALIDATION, ZEROED = range(1201, 1204)
VALIDATION_TRIALS = 256  # at most, of each subject


class Run(base.Settings):
    """Settings of a run of either stage."""

    recordings: dict[str, str] = Field(description="Subject -> Recording.")
    sessions: dict[str, int | float] = Field(description="Subject -> first sessions to train on.")
    initial: str | None = Field(description="The trained masked autoencoder to start from, or null.")
    stimuli: str = Field(description="Stimuli of the dataset.")
    model: ModelConfig = Field(description=ModelConfig.__doc__)
    augmentation: Augmentation = Field(description=Augmentation.__doc__)
    validation_share: base.Chance = Field(description="Share of the training images that are held out.")


class Objective(nn.Module):
    """The masked autoencoder with its loss, {"masked": mean squared error of the removed patches}."""

    def __init__(self, model: MaskedAutoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """inputs: betas (samples, 1, voxels) and noise (samples, patches)."""
        return {"masked": self.model(inputs["betas"], inputs["noise"]).loss}


class MaskedTask:
    """Settings: see the module's docstring; methods: see training.task.Task."""

    def __init__(self, settings: dict[str, Any], training: TrainingConfig) -> None:
        fields = {key: value for key, value in settings.items() if key in Run.model_fields}
        self._settings, self._training = Run.read(fields, "training configuration", "settings"), training
        run = self._settings
        self._trials = open_all(run, training.seed)
        lengths = [subject.recording.betas.shape[1] for subject in self._trials]
        model = MaskedAutoencoder(run.model, whole_patches(max(lengths), run.model.patch))
        model.checkpointing = training.activation_checkpointing
        self.module = Objective(model)
        self._ends = np.cumsum([len(subject.rows) for subject in self._trials])
        self._streams = Streams([int(self._ends[-1])], training.seed)

    @property
    def _length(self) -> int:
        """Voxels of a padded pattern."""
        return self.module.model.patches * self._settings.model.patch

    def sources(self) -> dict[str, str]:
        """Fingerprints of recordings and the choice of their trials."""
        return {f"recordings.{trials.subject}": trials.fingerprint for trials in self._trials}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Biases and norms are not decayed; AdamW's second momentum is .95, as published."""
        return decay_groups(self.module, weight_decay, betas=(0.9, 0.95))

    def steps_per_epoch(self, batch: int) -> int:
        """Steps in which each trial of the pool is seen once, rounded down; at least 1."""
        return max(1, int(self._ends[-1]) // batch)

    def inputs(self, step: int, epoch: int, batch: int, rank: int, world: int, device: torch.device) -> dict[str, Any]:
        """This process's share of global batch `step`, as Objective takes it."""
        places = np.arange(batch)[share(batch, rank, world)]
        rows = self._streams.rows(0, step * batch, batch)[places]
        betas = np.concatenate([self._pattern(row) for row in rows])
        zeroed(betas, places, self._settings.augmentation.zeroed_voxels, self._training.seed, step)
        noise = torch.rand(
            batch, self.module.model.patches, generator=generator("cpu", self._training.seed, MASKING, step)
        )
        return {"betas": torch.from_numpy(betas)[:, None].to(device), "noise": noise[places].to(device)}

    def _pattern(self, row: int) -> np.ndarray:
        """Padded betas float32 (1, voxels) of row number `row` of the pool."""
        number = int(np.searchsorted(self._ends, row, side="right"))
        trials = self._trials[number]
        own = trials.rows[row - self._ends[number] + len(trials.rows)]
        return padded(trials.betas(np.array([own])), self._length)

    def validate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """masked_loss, and pattern_correlation of predicted and measured voxels, removed or not, of held-out trials.

        Means over subjects; empty without held-out trials.
        """
        found = [self._of_subject(module.model, trials, device) for trials in self._trials if len(trials.held_out)]
        names = ("masked_loss", "pattern_correlation")
        return dict(zip(names, np.mean(found, axis=0).tolist(), strict=True)) if found else {}

    def _of_subject(self, model: MaskedAutoencoder, trials: SubjectTrials, device) -> tuple[float, float]:
        rows = trials.held_out[:VALIDATION_TRIALS]
        betas = torch.from_numpy(padded(trials.betas(rows), self._length)).to(device)
        noise = torch.rand(len(rows), model.patches, generator=generator("cpu", self._training.seed, VALIDATION))
        found = model(betas[:, None], noise.to(device))
        pairs = torch.stack([found.prediction.float().flatten(1), betas])
        pairs = nn.functional.normalize(pairs - pairs.mean(dim=2, keepdim=True), dim=2)
        return found.loss.item(), (pairs[0] * pairs[1]).sum(dim=1).mean().item()

    def save(self, directory: Path, metadata: dict[str, Any]) -> None:
        """Write the masked autoencoder; its metadata say what it was trained on."""
        model = self.module.model
        record = {
            "model": model.config.to_dict(),
            "patches": model.patches,
            "voxels": {subject.subject: subject.recording.betas.shape[1] for subject in self._trials},
            "metadata": trained_on(self._trials, None) | {"training": metadata},
        }
        save_weights(directory, model.state_dict(), record)


def open_all(run: Run, seed: int) -> list[SubjectTrials]:
    """Trials of the dataset's subjects, then those of pools, whose recordings have a split of their own."""
    groups: dict[str, dict[str, str]] = {}
    for subject, path in run.recordings.items():
        groups.setdefault(subject.rpartition("/")[0], {})[subject] = path
    opened = [open_trials(paths, run.sessions, run.validation_share, seed) for paths in groups.values()]
    return [trials for group in opened for trials in group]


def decay_groups(module: nn.Module, weight_decay: float, **options: Any) -> list[dict[str, Any]]:
    """Trained parameters for the optimiser; vectors (biases and norms) are not decayed, as timm divides them."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if parameter.ndim > 1]
    spared = [parameter for parameter in trained if parameter.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay} | options,
        {"params": spared, "weight_decay": 0.0} | options,
    ]


def zeroed(betas: np.ndarray, places: np.ndarray, rate: float, seed: int, step: int) -> None:
    """Set a share `rate` of the voxels of each pattern (samples, voxels) to 0, in place; drawn for each sample.

    places: int64 (samples,), positions in the global batch number `step`.
    """
    count = int(betas.shape[1] * rate)
    for pattern, place in zip(betas, places if count else [], strict=False):
        rng = np.random.default_rng([seed, ZEROED, step, int(place)])
        pattern[rng.choice(len(pattern), count, replace=False)] = 0


def trained_on(trials: list[SubjectTrials], initial: dict[str, Any] | None) -> dict[str, Any]:
    """What a network was trained on, for its metadata. initial: the metadata of the network it began as."""
    recordings = [subject.recording.metadata for subject in trials]
    ids = np.concatenate([subject.ids(subject.rows) for subject in trials])
    subjects = [subject.subject for subject in trials]
    return {
        "subjects": subjects,
        "training_subjects": sorted({*subjects, *(initial or {}).get("training_subjects", [])}),
        "sessions": {subject.subject: subject.sessions for subject in trials},
        "trials": len(ids),
        "images": len(np.unique(ids[ids >= 0])),  # a pool's trials have none
        "held_out_images": sum(len(np.unique(s.ids(s.held_out))) for s in trials),
        "split": recordings[0]["split"],
        "split_sha256": recordings[0]["split_sha256"],
        "initial": initial,
    }
