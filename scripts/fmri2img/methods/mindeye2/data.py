"""The training data: trials of each subject, targets of each image, and the batches that a step trains on.

A batch is a function of the seed, the step and a sample's place in the GLOBAL batch, so that any number of processes
together see the same samples, mixed and noised in the same way. The global batch is made of equally many samples of
each subject, one subject after the other; each process takes an equal part of every subject's, so that every adapter
has a gradient in every process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.errors import UserError
from fmri2img.methods.mindeye2.settings import LossConfig, PriorConfig
from fmri2img.training.sampler import Streams, generator, share
from fmri2img.training.sources import fingerprint

# Distinct streams of random numbers of one seed.
HELD_OUT, MIXTURE, DIFFUSION, NOISE, VIEWS, DROPOUT, LOW_LEVEL_DROPOUT = range(1001, 1008)


@dataclass(frozen=True)
class SubjectTrials:
    """One subject's single trials of the first sessions, none of them of a test image.

    rows, held_out: rows of the recording, ascending in time: to train on, and of training images that are held out to
    validate on; sessions: the budget.
    """

    subject: str
    recording: Recording
    sessions: int | float
    rows: np.ndarray
    held_out: np.ndarray

    def ids(self, rows: np.ndarray) -> np.ndarray:
        """image_id int64 of recording rows."""
        return self.recording.trials["image_id"].to_numpy(np.int64)[rows]

    def betas(self, rows: np.ndarray) -> np.ndarray:
        """Betas float32 (trials, voxels) of recording rows, in any order and with repeats."""
        return self.recording.betas[rows]

    @property
    def fingerprint(self) -> str:
        """Identifies the recording and the choice of trials (training.sources)."""
        chosen = np.concatenate([self.rows, self.held_out])
        whole = np.stack([chosen, self.ids(chosen)])  # 2 rows, so that all of it counts
        return fingerprint(self.recording.metadata, self.recording.betas, whole)

    @property
    def epoch_trials(self) -> int:
        """Trials of the budget, test images counted: 750 per session in NSD. MindEye2 calls this an epoch."""
        return round(self.sessions * int(self.recording.trials["session"].value_counts().max()))


def open_trials(
    recordings: dict[str, str | Path], sessions: dict[str, int | float], validation_share: float, seed: int
) -> list[SubjectTrials]:
    """Trials of each subject, in the order of `recordings`, of its first `sessions`.

    validation_share: of the training images, held out with all their trials; the same images whatever the sessions.
    Raises UserError for a recording that is missing, of another split than the first, or without training trials.
    """
    opened = {subject: Recording.open(path) for subject, path in recordings.items()}
    split = next(iter(opened.values())).metadata["split_sha256"]
    trials = []
    for subject, recording in opened.items():
        if recording.metadata["split_sha256"] != split:
            raise UserError(
                f"{recording.path}: its split is not that of the other recordings; prepare all of them with one split"
            )
        if subject not in sessions:
            raise UserError(f"training configuration: key 'settings.sessions.{subject}' is missing")
        rows = recording.training_rows(sessions[subject])
        ids = recording.trials["image_id"].to_numpy(np.int64)
        held = np.isin(ids[rows], held_out_images(ids[rows], validation_share, seed))
        if held.all():
            raise UserError(
                f"{recording.path}: no training trials are left in {sessions[subject]} sessions; train on more "
                "sessions or lower settings.validation_share"
            )
        trials.append(SubjectTrials(subject, recording, sessions[subject], rows[~held], rows[held]))
    return trials


def held_out_images(ids: np.ndarray, share: float, seed: int) -> np.ndarray:
    """About `share` of the images `ids`, at least two unless the share is 0, chosen by image_id and seed alone."""
    ids = np.unique(ids)
    if share == 0 or len(ids) < 2:
        return ids[:0]
    place = np.random.default_rng([seed, HELD_OUT]).random(ids.max() + 1)[ids]
    return ids[place <= max(share, np.partition(place, 1)[1])]


class Targets:
    """Training targets, computed once for every image and read from memory maps by image_id.

    All are Embeddings artifacts: image tokens; and for the low-level head autoencoder latents (one token per position)
    and a teacher's local features of the image (view 0) and of augmented copies (views 1 to K). Raises UserError when a
    file is missing, or when latents are not square or come without local features.
    """

    def __init__(
        self, embeddings: str | Path, latents: str | Path | None = None, views: Sequence[str | Path] = ()
    ) -> None:
        if (latents is None) != (not views):
            raise UserError("training configuration: 'settings.latents' and 'settings.local_features' go together")
        if latents is not None and len(views) < 2:
            raise UserError(
                "training configuration: 'settings.local_features' lists the plain view and at least one augmented view"
            )
        self._tokens = Embeddings.open(embeddings)
        self._latents = Embeddings.open(latents) if latents is not None else None
        self._views = [Embeddings.open(path) for path in views]
        if self._latents is not None and self.latent_shape[1] ** 2 != self._latents.tokens.shape[1]:
            raise UserError(
                f"{latents}: {self._latents.tokens.shape[1]} positions are not a square; rerun encode_latents"
            )

    @property
    def fingerprints(self) -> dict[str, str]:
        """Setting that names each artifact -> its fingerprint (training.sources)."""
        named = {"embeddings": self._tokens}
        if self._latents is not None:
            named |= {"latents": self._latents} | {f"local_features.{i}": view for i, view in enumerate(self._views)}
        return {name: fingerprint(made.metadata, made.ids[None], made.tokens) for name, made in named.items()}

    @property
    def encoder(self) -> str:
        """Registry name and revision of the encoder whose tokens these are."""
        return f"{self._tokens.metadata['encoder']} ({self._tokens.metadata['revision']})"

    @property
    def token_shape(self) -> tuple[int, int]:
        """(tokens, width)."""
        return self._tokens.tokens.shape[1:]

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(channels, side)."""
        positions, channels = self._latents.tokens.shape[1:]
        return channels, round(positions**0.5)

    @property
    def map_shape(self) -> tuple[int, int]:
        """(positions, width)."""
        return self._views[0].tokens.shape[1:]

    @property
    def augmentations(self) -> int:
        """Number of augmented views."""
        return max(0, len(self._views) - 1)

    def check(self, ids: np.ndarray) -> None:
        """Raises UserError naming the artifact that lacks one of the images `ids`."""
        for artifact in (self._tokens, *([self._latents] if self._latents else []), *self._views):
            artifact.rows(ids)

    def tokens(self, ids: np.ndarray) -> Tensor:
        """Image tokens float16 (images, tokens, width) of `ids`, which may repeat and be in any order."""
        return _read(self._tokens, ids)

    def latents(self, ids: np.ndarray) -> Tensor:
        """Scaled autoencoder latents float16 (images, channels, side, side)."""
        latents = _read(self._latents, ids)
        channels, side = self.latent_shape
        return latents.transpose(1, 2).reshape(len(ids), channels, side, side)

    def maps(self, ids: np.ndarray, views: np.ndarray) -> Tensor:
        """Local features float16 (images, positions, width) of view number `views` (images,) of each image."""
        maps = torch.empty(len(ids), *self.map_shape, dtype=torch.float16)
        for view in np.unique(views):
            chosen = np.flatnonzero(views == view)
            maps[chosen] = _read(self._views[view], ids[chosen])
        return maps


def _read(artifact: Embeddings, ids: np.ndarray) -> Tensor:
    return torch.from_numpy(artifact.tokens[artifact.rows(ids)])


class Mixture(NamedTuple):
    """How the samples of one subject are mixed by MixCo: sample i keeps `share[i]`, the rest comes from `partner[i]`.

        betas'_i = share_i betas_i + (1 - share_i) betas_partner(i),   share_i ~ Beta(0.15, 0.15), or 1 for half of them

    partner: int64 (samples,), a permutation; share: float32 (samples,), 1 where a sample is left as it is. Kim et al.,
    MixCo (2020); Scotti et al., MindEye (2023). MindEye2 mixes in the first third of training.
    """

    partner: np.ndarray
    share: np.ndarray


def draw_mixture(samples: int, rng: np.random.Generator, concentration: float, chance: float) -> Mixture:
    """Partners and shares of `samples` trials; a trial is mixed with probability `chance`, share ~ Beta(c, c)."""
    partner = rng.permutation(samples)
    share = rng.beta(concentration, concentration, samples)
    mixed = rng.random(samples) <= chance
    return Mixture(partner, np.where(mixed, share, 1.0).astype(np.float32))


def mixed_betas(betas: np.ndarray, partner_betas: np.ndarray, share: np.ndarray) -> np.ndarray:
    """share_i betas_i + (1 - share_i) partner_betas_i; betas float32 (trials, voxels), share float32 (trials,)."""
    share = share[:, None]
    return share * betas + (1 - share) * partner_betas


def mixture_labels(
    mixtures: list[Mixture], permutation_offsets: bool = True, fixed_points: str = "summed"
) -> np.ndarray:
    """Labels of a batch that is made of one sub-batch per subject, one after the other, float32 (samples, samples).

        labels_ij = share_i [j = i] + (1 - share_i) [j = partner(i)]

    permutation_offsets: whether a partner's column counts from the start of its own sub-batch. The released code
        (False) counts from the start of the batch, so that partners of all but the first subject are wrong images.
    fixed_points: where a permutation maps a sample to itself, both parts are its own image: "summed" gives it 1;
        "overwritten", the released code, leaves 1 - share, which is 0 for a sample that is not mixed.
    """
    share = np.concatenate([mixture.share for mixture in mixtures])
    starts = np.cumsum([0] + [len(mixture.share) for mixture in mixtures[:-1]])
    partner = np.concatenate(
        [m.partner + (start if permutation_offsets else 0) for m, start in zip(mixtures, starts, strict=True)]
    )
    own = np.arange(len(share))
    labels = np.diag(share)
    if fixed_points == "overwritten":
        labels[own, partner] = 1 - share
    else:
        labels[own, partner] += 1 - share
    return labels.astype(np.float32)


class Share(NamedTuple):
    """One process's part of a global batch.

    betas: subject -> float32 (trials, voxels), mixed or not; ids: int64 (trials,) image_id of the trials themselves,
    of all subjects; places: int64 (trials,) in the global batch; labels: see losses.Objective; None without mixing.
    """

    betas: dict[str, np.ndarray]
    ids: np.ndarray
    places: np.ndarray
    labels: np.ndarray | None


def chosen(places: np.ndarray, every: int) -> np.ndarray:
    """Indices int64 of those of `places` in a global batch whose trials take part in a loss on every n-th trial."""
    return np.flatnonzero(places % every == 0)


class Batches:
    """Shares of global batches of `trials`."""

    def __init__(self, trials: list[SubjectTrials], losses: LossConfig, seed: int) -> None:
        self._trials, self._losses, self._seed = trials, losses, seed
        self._streams = Streams([len(subject.rows) for subject in trials], seed)

    def of_each(self, batch: int, world: int) -> int:
        """Samples of each subject in a global batch of `batch`, rounded down: 64 of seven subjects are 9 of each.

        Raises UserError when that is 0 or cannot be divided over `world` processes.
        """
        subjects = len(self._trials)
        each = batch // subjects
        if each == 0 or each % world:
            raise UserError(
                f"training.batch: {batch} samples (per accumulated batch) are {each} of each of {subjects} subjects, "
                f"not a positive multiple of {world} processes; use a multiple of {subjects * world}"
            )
        return each

    def share(self, step: int, batch: int, rank: int, world: int, mixing: bool) -> Share:
        """Process `rank`'s part of batch number `step`; mixing: whether it is in the MixCo phase."""
        each = self.of_each(batch, world)
        own = share(each, rank, world)
        gathered = self._losses.negatives == "gathered"
        betas, ids, mixtures = {}, [], []
        for number, trials in enumerate(self._trials):
            rows = trials.rows[self._streams.rows(number, step * each, each)]
            values = trials.betas(rows[own])
            if mixing:
                mixture = self._mixture(step, number, 0 if gathered else rank, each if gathered else each // world)
                mixtures.append(mixture)
                among, mine = (rows, own) if gathered else (rows[own], slice(None))
                partner, kept = mixture.partner[mine], mixture.share[mine]
                values = mixed_betas(values, trials.betas(among[partner]), kept)
            betas[trials.subject] = values
            ids.append(trials.ids(rows[own]))
        labels = self._labels(mixtures, world if gathered else 1) if mixing else None
        return Share(betas, np.concatenate(ids), self._places(each, rank, world), labels)

    def _places(self, each: int, rank: int, world: int) -> np.ndarray:
        """Places int64 of process `rank`'s trials in a global batch of `each` trials of each subject."""
        return np.arange(each * len(self._trials)).reshape(-1, each)[:, share(each, rank, world)].ravel()

    def check_low_level_every(self, batch: int, world: int) -> None:
        """Raise UserError if processes compute low-level losses for different numbers of trials of a batch.

        Their means would then not average to the mean of all.
        """
        each, every = self.of_each(batch, world), self._losses.low_level_every
        counts = [len(chosen(self._places(each, rank, world), every)) for rank in range(world)]
        if len(set(counts)) > 1:
            raise UserError(
                f"settings.losses.low_level_every = {every} chooses {min(counts)} to {max(counts)} trials of a "
                f"batch in each of {world} processes; choose a divisor of {each // world}, so that the number is equal "
                "in every process"
            )

    def _mixture(self, step: int, subject: int, group: int, samples: int) -> Mixture:
        rng = np.random.default_rng([self._seed, MIXTURE, step, subject, group])
        return draw_mixture(samples, rng, self._losses.mixup_concentration, self._losses.mixup_chance)

    def _labels(self, mixtures: list[Mixture], world: int) -> np.ndarray:
        """Labels in the order in which samples of `world` processes are gathered: by process, then by subject."""
        labels = mixture_labels(mixtures, self._losses.permutation_offsets, self._losses.fixed_points)
        each = len(mixtures[0].share)
        order = np.concatenate([self._places(each, rank, world) for rank in range(world)])
        return labels[np.ix_(order, order)]

    def views(self, step: int, batch: int, places: np.ndarray, augmentations: int) -> np.ndarray:
        """Number (1 to `augmentations`) of the augmented view that each place of a global batch is compared with."""
        rng = np.random.default_rng([self._seed, VIEWS, step])
        return rng.integers(1, augmentations + 1, batch)[places]

    def diffusion(
        self, step: int, batch: int, places: np.ndarray, prior: PriorConfig, shape: tuple[int, int], device
    ) -> dict[str, Tensor]:
        """Random numbers of the diffusion's loss for `places` of a global batch; shape: (tokens, width)."""
        rng = np.random.default_rng([self._seed, DIFFUSION, step])
        t = rng.integers(prior.timesteps, size=batch)[places]
        keep_brain = (rng.random(batch) >= prior.condition_drop)[places]
        keep_image = (rng.random(batch) >= prior.image_drop)[places]
        noise = torch.empty(len(places), *shape, device=device)
        for row, place in enumerate(places.tolist()):
            noise[row].normal_(generator=generator(device, self._seed, NOISE, step, place))
        numbers = {"t": t, "keep_brain": keep_brain, "keep_image": keep_image}
        return {name: torch.from_numpy(values).to(device) for name, values in numbers.items()} | {"noise": noise}
