"""Floor: the predictions of another method, each given to another test image.

A reconstruction belongs to the brain response it was decoded from. So giving test image i the outputs from response j
is the same as running the decoder on permuted test responses. The generator's noise moves with response j instead of
staying with image i; it is independent of both, so the distribution is the same and nothing is generated twice.
"""

import numpy as np

from fmri2img.artifacts.arrays import Rows
from fmri2img.artifacts.interfaces import Given, Made
from fmri2img.errors import UserError


def derangement(n: int, seed: int) -> np.ndarray:
    """A uniformly random permutation int (n,) of n >= 2 elements without fixed points."""
    rng = np.random.default_rng(seed)
    while True:  # a random permutation has no fixed point with probability 1/e
        order = rng.permutation(n)
        if (order != np.arange(n)).all():
            return order


def shuffled_brain(given: Given) -> Made:
    """Images, captions and retrieval vectors of a prediction, each row moved to another image."""
    prediction = given.source
    if len(prediction.ids) < 2:
        raise UserError(f"{prediction.path}: holds one image, and shuffled_brain needs two; use a split with more")
    order = derangement(len(prediction.ids), given.cell.noise_seed)
    captions = None if prediction.captions is None else prediction.captions["caption"].to_numpy()[order].tolist()
    arrays = {
        "images": None if prediction.images is None else Rows(prediction.images, order),
        "captions": captions,
        "retrieval": None if prediction.retrieval is None else Rows(prediction.retrieval, order),
        "samples": None if prediction.samples is None else Rows(prediction.samples, order),
    }
    return Made(prediction.ids, arrays, prediction.disclosure)
