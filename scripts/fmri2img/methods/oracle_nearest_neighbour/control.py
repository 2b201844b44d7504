"""Ceiling of recall: for each test image, the training image whose true tokens are nearest to its own true tokens."""

from fmri2img.artifacts.arrays import Rows
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.interfaces import Given, Made
from fmri2img.methods.controls import training_images
from fmri2img.metrics.similarity import nearest_with_cosine


def oracle_nearest_neighbour(given: Given) -> Made:
    tokens = Rows(given.embeddings.tokens, given.embeddings.rows(given.test_ids))
    nearest, _ = nearest_with_cosine(tokens, given.embeddings, given.training_ids)
    disclosure = Disclosure(test_averaging="none: the true image's tokens", **given.embeddings.disclosed)
    return training_images(given, nearest, disclosure, {"nearest": nearest.tolist()})
