"""Ceiling of brain captioning: the true tokens of the test images, from which its captioner writes."""

import numpy as np

from fmri2img.artifacts.arrays import Rows
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.interfaces import Given, Made


def true_tokens(given: Given) -> Made:
    ids = np.intersect1d(given.embeddings.ids, given.test_ids)
    tokens = Rows(given.embeddings.tokens, given.embeddings.rows(ids))
    disclosure = Disclosure(test_averaging="none: the true image's tokens", **given.embeddings.disclosed)
    return Made(ids, {"tokens": tokens}, disclosure)
