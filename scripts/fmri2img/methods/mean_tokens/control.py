"""Control: the mean of the training images' tokens for every test image, which uses no brain response."""

import numpy as np

from fmri2img.artifacts import embeddings
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.interfaces import Given, Made


def mean_tokens(given: Given) -> Made:
    mean = embeddings.mean_tokens(given.embeddings, given.training_ids).astype(np.float16)
    tokens = np.broadcast_to(mean, (len(given.test_ids), *mean.shape))
    return Made(given.test_ids, {"tokens": tokens}, Disclosure(**given.embeddings.disclosed))
