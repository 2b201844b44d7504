"""Control: for each test image, a training image at random."""

import numpy as np

from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.interfaces import Given, Made
from fmri2img.methods.controls import training_images


def drawn_training_images(test_ids: np.ndarray, training_ids: np.ndarray, seed: int) -> np.ndarray:
    """For each test image a training image at random: image_id int64 (test images,).

    The draw depends only on the seed and the test image, not on the other test images. training_ids: unique, ascending.
    """
    draws = [np.random.default_rng([seed, int(i)]).integers(len(training_ids)) for i in test_ids]
    return training_ids[draws]


def random_training_image(given: Given) -> Made:
    drawn = drawn_training_images(given.test_ids, given.training_ids, given.seed)
    return training_images(given, drawn, Disclosure(**given.embeddings.disclosed), {"drawn": drawn.tolist()})
