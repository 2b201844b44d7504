"""Control: for each test image, a training image at random."""

from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.interfaces import Given, Made
from fmri2img.methods.controls import drawn_training_images, training_images


def random_training_image(given: Given) -> Made:
    drawn = drawn_training_images(given.test_ids, given.training_ids, given.seed)
    return training_images(given, drawn, Disclosure(**given.embeddings.disclosed), {"drawn": drawn.tolist()})
