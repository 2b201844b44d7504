"""Control: for every test image, the mean of the training images."""

import numpy as np

from fmri2img.artifacts.arrays import Rows
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.embeddings import mean_tokens
from fmri2img.artifacts.interfaces import Given, Made

BLOCK = 64  # images held in memory at a time


def mean_image(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean of some rows of images uint8 (images, h, w, 3), rounded: uint8 (h, w, 3)."""
    shown, total = Rows(images, rows), np.zeros(images.shape[1:])
    for first in range(0, len(rows), BLOCK):
        total += shown[first : first + BLOCK].sum(axis=0, dtype=np.float64)
    return np.rint(total / len(rows)).astype(np.uint8)


def mean_training_image(given: Given) -> Made:
    n = len(given.test_ids)
    image = mean_image(given.stimuli.images, given.stimuli.rows(given.training_ids))
    tokens = mean_tokens(given.embeddings, given.training_ids).ravel()
    print(f"mean of {len(given.training_ids)} training images for {n} test images")
    arrays = {
        "images": np.broadcast_to(image, (n, *image.shape)),
        "retrieval": np.broadcast_to(tokens, (n, len(tokens))),
    }
    return Made(given.test_ids, arrays, Disclosure(**given.embeddings.disclosed))
