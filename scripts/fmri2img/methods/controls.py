"""Code shared by several controls."""

import numpy as np

from fmri2img.artifacts.arrays import Rows
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.interfaces import Given, Made


def drawn_training_images(test_ids: np.ndarray, training_ids: np.ndarray, seed: int) -> np.ndarray:
    """For each test image a training image at random: image_id int64 (test images,).

    The draw depends only on the seed and the test image, not on the other test images. training_ids: unique, ascending.
    """
    draws = [np.random.default_rng([seed, int(i)]).integers(len(training_ids)) for i in test_ids]
    return training_ids[draws]


def training_images(given: Given, shown: np.ndarray, disclosure: Disclosure, facts: dict) -> Made:
    """The prediction that shows training image `shown` (image_id) for each test image, its tokens for retrieval."""
    images = Rows(given.stimuli.images, given.stimuli.rows(shown))
    retrieval = Rows(given.embeddings.tokens, given.embeddings.rows(shown), flat=True)
    print(f"{len(np.unique(shown))} of {len(given.training_ids)} training images serve {len(shown)} test images")
    return Made(given.test_ids, {"images": images, "retrieval": retrieval}, disclosure, facts)
