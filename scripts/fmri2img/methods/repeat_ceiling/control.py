"""Ceiling of a single response: the brain's response to one presentation of each test image, and to its others."""

import numpy as np

from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.interfaces import Given, Made
from fmri2img.artifacts.recording import Recording


def repeat_responses(recording: Recording, test_set: str) -> tuple[np.ndarray, np.ndarray]:
    """The brain's first response to each test image, and the mean of its responses to later presentations.

    Returns ids int64 (images,) ascending and betas float32 (images, 2, voxels), NaN for an image shown once. First is
    by time, among the test trials.
    """
    rows = recording.test_rows(test_set)
    trials = recording.trials.iloc[rows].assign(row=rows).sort_values(["image_id", "trial"])
    first = ~trials["image_id"].duplicated().to_numpy()
    ids, firsts = recording.averaged(trials["row"].to_numpy()[first])
    responses = np.full((len(ids), 2, firsts.shape[1]), np.nan, np.float32)
    if not first.all():
        repeated, others = recording.averaged(trials["row"].to_numpy()[~first])
        again = np.searchsorted(ids, repeated)
        responses[again, 0], responses[again, 1] = firsts[again], others
    return ids, responses


def repeat_ceiling(given: Given) -> Made:
    ids, responses = repeat_responses(given.recording, given.cell.test_set)
    print(f"{len(ids)} test images, {np.isnan(responses).any(axis=(1, 2)).sum()} of them shown once and left out")
    disclosure = Disclosure(test_averaging="one presentation against the mean of the others")
    return Made(ids, {"responses": responses}, disclosure)
