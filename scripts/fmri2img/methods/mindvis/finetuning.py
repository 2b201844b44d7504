"""Stage B for the training engine: encoder, conditions and the generator's cross-attention are trained together.

A sample is a single trial with its image, of which a random crop may be taken; the frozen autoencoder encodes it. Two
practices of the released code, both of which use test data, are switches: `tune_on_test` continues masked modelling on
the test trials before the training, `select_on_test` keeps the weights that draw the test images best.

settings (JSON): `FinetuningRun`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.autoencoders import Autoencoder, load_autoencoder
from fmri2img.backbones.features import load_features
from fmri2img.backbones.generators import load_generator
from fmri2img.backbones.pixels import resize, to_uint8, to_unit
from fmri2img.backbones.registry import Backbone
from fmri2img.errors import UserError
from fmri2img.methods.mindvis.masked import MaskedAutoencoder, padded, whole_patches
from fmri2img.methods.mindvis.network import (
    DoublyConditioned,
    load_masked,
    save_weights,
    spread_context,
    start_from,
)
from fmri2img.methods.mindvis.pretraining import Run, decay_groups, trained_on, zeroed
from fmri2img.methods.mindvis.sampling import draw_latents
from fmri2img.methods.mindvis.settings import TransductiveSelection, TransductiveTuning
from fmri2img.training.configuration import TrainingConfig
from fmri2img.training.sampler import Streams, generator, share
from fmri2img.training.sources import fingerprint
from fmri2img.training.trials import open_trials

# Distinct streams of random numbers of one seed.
CROPS, TIMES, NOISE, VALIDATION, TUNING = range(1301, 1306)
VALIDATION_TRIALS = 64  # whose loss is logged, at most
ENCODED = 32  # images that are encoded at a time
SPREAD_TRIALS = 512  # over which the context's spread is measured, at most


class FinetuningRun(Run):
    """Settings of a run of stage B."""

    generator: list[Any] = Field(description="Name and registry entry of the generator.")
    autoencoder: list[Any] = Field(description="Name and registry entry of its autoencoder.")
    network_files: list[str] = Field([], description="Their files, which the rules wait for.")
    time_condition: bool = Field(description="Whether the brain conditions the time embedding too.")
    position_resizing: str = Field(description="See masked.resized_positions.")
    context_spread: float | None = Field(description="See network.spread_context; null leaves the context as it is.")
    tune_on_test: TransductiveTuning | None = Field(description="See the module's docstring; null for none.")
    select_on_test: TransductiveSelection | None = Field(description="See the module's docstring; null for none.")
    classifier: list[Any] | None = Field(None, description="Name and registry entry of select_on_test's classifier.")
    steps: int = Field(description="Steps of the pictures that select_on_test draws.")


class DoublyConditionedTask:
    """Settings: see the module's docstring; methods: see training.task.Task."""

    def __init__(self, settings: dict[str, Any], training: TrainingConfig) -> None:
        self._settings, self._training = FinetuningRun.read(settings, "training configuration", "settings"), training
        run = self._settings
        (self._trials,) = open_trials(run.recordings, run.sessions, run.validation_share, training.seed)
        self._stimuli = Stimuli.open(run.stimuli)
        self._image_ids = np.unique(self._trials.ids(np.concatenate([self._trials.rows, self._trials.held_out])))
        self._stimuli.rows(self._image_ids)  # all there
        self._loaded: Autoencoder | None = None
        self._latents_of_whole: Tensor | None = None
        recording = self._trials.recording
        patches = whole_patches(recording.betas.shape[1], run.model.patch)
        self._length = patches * run.model.patch
        model = DoublyConditioned(
            run.model.encoder, patches, load_generator(Backbone(*run.generator), "cpu"), run.time_condition
        )
        self._initial = self._start(model)
        if run.context_spread is not None:
            betas = padded(self._trials.betas(self._trials.rows[:SPREAD_TRIALS]), self._length)
            spread_context(model.cond_stage_model, torch.from_numpy(betas)[:, None], run.context_spread)
        if training.activation_checkpointing:
            model.unet.enable_gradient_checkpointing()
            model.cond_stage_model.mae.checkpointing = True
        self.module: nn.Module = Selected(model) if run.select_on_test else model
        self._streams = Streams([len(self._trials.rows)], training.seed)

    @property
    def _model(self) -> DoublyConditioned:
        return self.module.model if isinstance(self.module, Selected) else self.module

    def _start(self, model: DoublyConditioned) -> dict[str, Any] | None:
        """Give the encoder its initial weights; returns the metadata of the masked autoencoder they come from."""
        run = self._settings
        if run.initial is None and run.tune_on_test is None:
            return None
        if run.initial is None:
            masked, metadata = MaskedAutoencoder(run.model, model.patches), None
        else:
            masked, metadata = load_masked(run.initial)
            if masked.config != run.model:
                raise UserError(f"{run.initial}: its model differs from settings.model; make them equal")
        if run.tune_on_test:
            recording = self._trials.recording
            rows = [recording.test_rows(test_set) for test_set in recording.test_sets]
            betas = np.concatenate([recording.averaged(np.concatenate(rows))[1], recording.betas[np.concatenate(rows)]])
            tune(masked, betas, run.tune_on_test, self._training.seed)
        start_from(model.cond_stage_model.mae, masked.state_dict(), run.position_resizing)
        return metadata

    def sources(self) -> dict[str, str]:
        """Fingerprints of the recording (and its trials), the images and the initial model's metadata."""
        initial = {} if self._initial is None else {"initial": fingerprint(self._initial)}
        images = fingerprint(self._stimuli.metadata, self._stimuli.ids[None], self._stimuli.images)
        return {f"recordings.{self._trials.subject}": self._trials.fingerprint, "stimuli": images} | initial

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """All trained parameters, decayed alike as published."""
        return [{"params": [p for p in self.module.parameters() if p.requires_grad], "weight_decay": weight_decay}]

    def steps_per_epoch(self, batch: int) -> int:
        """Steps in which each trial is seen once, rounded down; at least 1."""
        return max(1, len(self._trials.rows) // batch)

    def inputs(self, step: int, epoch: int, batch: int, rank: int, world: int, device: torch.device) -> dict[str, Any]:
        """This process's share of global batch `step`, as DoublyConditioned takes it."""
        places = np.arange(batch)[share(batch, rank, world)]
        rows = self._trials.rows[self._streams.rows(0, step * batch, batch)[places]]
        betas = padded(self._trials.betas(rows), self._length)
        zeroed(betas, places, self._settings.augmentation.zeroed_voxels, self._training.seed, step)
        crops = np.random.default_rng([self._training.seed, CROPS, step]).random((batch, 3))[places]
        found = {"betas": torch.from_numpy(betas)[:, None].to(device)}
        found["latents"] = self._latents(self._trials.ids(rows), crops, device)
        return found | self._diffusion(step, batch, places, TIMES, device)

    def _diffusion(self, step: int, batch: int, places: np.ndarray, stream: int, device) -> dict[str, Tensor]:
        """Times and noise of `places` of a global batch."""
        seed, source = self._training.seed, self._model.generator
        times = np.random.default_rng([seed, stream, step]).integers(
            source.scheduler.config.num_train_timesteps, size=batch
        )
        noise = torch.empty(len(places), *source.latent_shape)
        for row, place in enumerate(places.tolist()):
            noise[row].normal_(generator=generator("cpu", seed, NOISE, stream, step, place))
        return {"times": torch.from_numpy(times[places]).to(device), "noise": noise.to(device)}

    def _latents(self, ids: np.ndarray, crops: np.ndarray, device: torch.device) -> Tensor:
        """Scaled latents float32 of images. crops: (images, 3) uniform in 0..1: whether cropped, and from where."""
        latents = self._whole(device)[np.searchsorted(self._image_ids, ids)]
        chosen = np.flatnonzero(crops[:, 0] < self._settings.augmentation.crop_chance)
        if len(chosen):
            pixels = self._pixels(ids[chosen], device)
            side = pixels.shape[-1]
            cropped = round(side * self._settings.augmentation.crop)
            for number, (top, left) in enumerate((crops[chosen, 1:] * (side - cropped + 1)).astype(int)):
                part = pixels[number : number + 1, :, top : top + cropped, left : left + cropped]
                pixels[number] = resize(part, side)[0]
            latents[chosen] = self._encoded(pixels, device)
        return latents.to(device)

    def _whole(self, device: torch.device) -> Tensor:
        """Latents of the training images without a crop, in the order of `_image_ids`, on the CPU; computed once."""
        if self._latents_of_whole is None:
            blocks = np.split(self._image_ids, range(ENCODED, len(self._image_ids), ENCODED))
            self._latents_of_whole = torch.cat([self._encoded(self._pixels(ids, device), device) for ids in blocks])
        return self._latents_of_whole

    def _pixels(self, ids: np.ndarray, device: torch.device) -> Tensor:
        """Images as the autoencoder takes them, float (images, 3, side, side) in 0..1, on the CPU."""
        side = self._model.generator.latent_shape[-1] * self._autoencoder(device).reduction
        return resize(to_unit(self._stimuli.images[self._stimuli.rows(ids)]), side)

    def _encoded(self, pixels: Tensor, device: torch.device) -> Tensor:
        return self._autoencoder(device).encode(pixels.permute(0, 2, 3, 1).numpy()).cpu()

    def _autoencoder(self, device: torch.device) -> Autoencoder:
        if self._loaded is None:
            self._loaded = load_autoencoder(Backbone(*self._settings.autoencoder), device)
        return self._loaded

    def validate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """noise_loss of held-out training images; with select_on_test also test_accuracy, which chooses the weights."""
        found = {}
        rows = self._trials.held_out[:VALIDATION_TRIALS]
        if len(rows):
            places = np.arange(len(rows))
            inputs = {"betas": torch.from_numpy(padded(self._trials.betas(rows), self._length))[:, None].to(device)}
            inputs["latents"] = self._latents(self._trials.ids(rows), np.ones((len(rows), 3)), device)
            inputs |= self._diffusion(0, len(rows), places, VALIDATION, device)
            found["noise_loss"] = self._model(inputs)["noise"].item()
        if isinstance(module, Selected):
            found["test_accuracy"] = accuracy = self._test_accuracy(device)
            module.consider(accuracy)
        return found

    def _test_accuracy(self, device: torch.device) -> float:
        """50-way accuracy of pictures drawn of test images."""
        from fmri2img.metrics.features import n_way_top_k

        run, recording = self._settings, self._trials.recording
        ids, betas = recording.averaged(recording.test_rows(recording.test_sets[0]))
        ids, betas = ids[: run.select_on_test.images], padded(betas[: run.select_on_test.images], self._length)
        latents = draw_latents(self._model, betas, ids, self._training.seed, run.steps, self._training.batch)
        autoencoder = self._autoencoder(device)
        drawn = [
            to_uint8(autoencoder.decode(latents[i : i + 1], *self._model.generator.decode)) for i in range(len(ids))
        ]
        layer = run.select_on_test.layer
        classifier = load_features(Backbone(*run.classifier), [layer], device)
        true = classifier.features(self._stimuli.images[self._stimuli.rows(ids)])[layer]
        return float(n_way_top_k(true, classifier.features(np.concatenate(drawn))[layer], 50, 1).mean())

    def save(self, directory: Path, metadata: dict[str, Any]) -> None:
        """Write the trained weights, and what the generator's frozen ones are; metadata say what it was trained on."""
        run, model = self._settings, self._model
        if isinstance(self.module, Selected):
            self.module.restore()
        record = {
            "model": run.model.to_dict(),
            "patches": model.patches,
            "voxels": {self._trials.subject: self._trials.recording.betas.shape[1]},
            "time_condition": run.time_condition,
            "generator": run.generator,
            "autoencoder": run.autoencoder,
            "metadata": trained_on([self._trials], self._initial)
            | {
                "tuned_on_test": run.tune_on_test is not None,
                "selected_on_test": run.select_on_test is not None,
                "training": metadata,
            },
        }
        save_weights(directory, model.trained(), record)


class Selected(nn.Module):
    """A model with the best weights so far, which checkpoints keep."""

    def __init__(self, model: DoublyConditioned) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("score", torch.tensor(-1.0))
        self._names = list(model.trained())
        for number, tensor in enumerate(model.trained().values()):
            self.register_buffer(f"best_{number}", tensor.detach().clone())

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.model(inputs)

    def consider(self, score: float) -> None:
        """Keep the present weights if they score better than the best so far."""
        if score > self.score:
            self.score.fill_(score)
            for number, tensor in enumerate(self.model.trained().values()):
                getattr(self, f"best_{number}").copy_(tensor)

    def restore(self) -> None:
        """Give the model the best weights."""
        best = {name: getattr(self, f"best_{number}") for number, name in enumerate(self._names)}
        self.model.load_state_dict(best, strict=False)


def tune(model: MaskedAutoencoder, betas: np.ndarray, settings: TransductiveTuning, seed: int) -> None:
    """Masked modelling on patterns (samples, voxels) without their images, in place; on a GPU where there is one.

    Stage A2 of the released code; its warm-up and decay of the learning rate are left out.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    length = model.patches * model.patch
    patterns = torch.from_numpy(padded(betas[:, :length], length))[:, None]
    optimiser = torch.optim.AdamW(
        decay_groups(model, settings.weight_decay, betas=(0.9, 0.95)), lr=settings.learning_rate
    )
    model.to(device).train()
    for epoch in range(settings.epochs):
        random = generator("cpu", seed, TUNING, epoch)
        for rows in torch.randperm(len(patterns), generator=random).split(settings.batch):
            noise = torch.rand(len(rows), model.patches, generator=random)
            model(patterns[rows].to(device), noise.to(device)).loss.backward()
            optimiser.step()
            optimiser.zero_grad()
    model.to("cpu").eval()
