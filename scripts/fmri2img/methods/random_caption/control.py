"""Floor of captions: for each test image, a caption of a training image at random."""

from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.interfaces import Given, Made
from fmri2img.methods.controls import drawn_training_images


def random_caption(given: Given) -> Made:
    drawn = drawn_training_images(given.test_ids, given.training_ids, given.seed)
    return Made(given.test_ids, {"captions": given.first_captions(drawn)}, Disclosure(), {"drawn": drawn.tolist()})
