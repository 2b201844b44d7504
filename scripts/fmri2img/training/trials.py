"""Single trials that a decoder is trained on, and those of training images that are held out to validate on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri2img.artifacts.recording import Recording
from fmri2img.errors import UserError
from fmri2img.training.sources import fingerprint

HELD_OUT = 1001  # stream of random numbers of a seed


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
        return round(self.sessions * self.recording.session_trials)


def open_trials(
    recordings: dict[str, str | Path], sessions: dict[str, int | float], validation_share: float, seed: int
) -> list[SubjectTrials]:
    """Trials of each subject, in the order of `recordings`, of its first `sessions`.

    validation_share: of the training images, held out with all their trials; the same images whatever the sessions.
    Raises UserError for a recording that is missing, of another split than the first, or without training trials.
    """
    opened = {subject: Recording.open(path) for subject, path in recordings.items()}
    splits = {subject: recording.metadata["split_sha256"] for subject, recording in opened.items()}
    split = next(filter(None, splits.values()), None)  # recordings without pictures are not split
    trials = []
    for subject, recording in opened.items():
        if splits[subject] not in (None, split):
            raise UserError(
                f"{recording.path}: its test images are not those of {next(iter(opened))}, so training on both would "
                "see some of them; use one split that holds out the same images for all subjects"
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
