"""Code shared by several controls."""

import numpy as np

from fmri2img.artifacts.arrays import Rows
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.interfaces import Given, Made


def training_images(given: Given, shown: np.ndarray, disclosure: Disclosure, facts: dict) -> Made:
    """The prediction that shows training image `shown` (image_id) for each test image, its tokens for retrieval."""
    images = Rows(given.stimuli.images, given.stimuli.rows(shown))
    retrieval = Rows(given.embeddings.tokens, given.embeddings.rows(shown), flat=True)
    print(f"{len(np.unique(shown))} of {len(given.training_ids)} training images serve {len(shown)} test images")
    return Made(given.test_ids, {"images": images, "retrieval": retrieval}, disclosure, facts)
