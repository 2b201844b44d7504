"""Decoding that does not look at the brain."""

import numpy as np

from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.embeddings import disclosed
from fmri2img.artifacts.interfaces import Decoding, Made


def decode(decoding: Decoding) -> Made:
    """tokens float16 (images, tokens, width) and retrieval float32 (images, tokens * width): zeros."""
    ids, _ = decoding.recording.averaged(decoding.test_rows)
    (embeddings,) = decoding.targets.values()
    tokens = np.zeros((len(ids), *embeddings.tokens.shape[1:]), np.float16)
    disclosure = Disclosure(
        training_trials=1,
        training_subjects=[decoding.cell.subject],
        trial_averaging="single",
        test_averaging="mean of repeats",
        **disclosed(decoding.targets.values()),
    )
    return Made(ids, {"tokens": tokens, "retrieval": tokens.reshape(len(ids), -1).astype(np.float32)}, disclosure)
