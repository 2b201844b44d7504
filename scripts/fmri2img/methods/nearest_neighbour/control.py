"""Control: for each test image, the training image whose true tokens are nearest to the decoded ones.

No generator could do better by recall alone, so a decoder that does not beat it has shown no reconstruction.
"""

from fmri2img.artifacts.interfaces import Given, Made
from fmri2img.methods.controls import training_images
from fmri2img.metrics.similarity import nearest_with_cosine


def nearest_neighbour(given: Given) -> Made:
    decoded = given.source
    nearest, _ = nearest_with_cosine(decoded.array("tokens"), given.embeddings, given.training_ids)
    return training_images(given, nearest, decoded.disclosure.but(generator="none"), {"nearest": nearest.tolist()})
