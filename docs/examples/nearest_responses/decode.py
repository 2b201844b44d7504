"""Decoding by the training trials with the most similar responses."""

import numpy as np

from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.interfaces import Given, Made


def nearest_responses(given: Given) -> Made:
    """tokens float16 (images, tokens, width): the mean over the training trials whose betas correlate most."""
    recording, embeddings = given.recording, given.embeddings
    rows = recording.training_rows(given.sessions)
    shown = recording.trials["image_id"].to_numpy()[rows]
    test_ids, test = recording.averaged(recording.test_rows(given.cell.test_set))
    similarity = unit(test) @ unit(recording.betas[rows]).T
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : given.settings["neighbours"]]
    tokens = [embeddings.tokens[embeddings.rows(shown[trials])].mean(axis=0, dtype=np.float32) for trials in nearest]
    disclosure = Disclosure(
        training_trials=len(rows),
        training_subjects=[given.cell.subject],
        trial_averaging="single",
        test_averaging="mean of repeats",
        encoder=embeddings.label,
    )
    return Made(test_ids, {"tokens": np.stack(tokens)}, disclosure)


def unit(betas: np.ndarray) -> np.ndarray:
    """Rows of betas (trials, voxels), centred and of length 1."""
    centred = betas - betas.mean(axis=1, keepdims=True)
    return centred / np.linalg.norm(centred, axis=1, keepdims=True)
