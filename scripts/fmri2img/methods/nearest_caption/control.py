"""Control: for each test image, a caption of the training image whose true tokens are nearest to the decoded ones."""

from fmri2img.artifacts.interfaces import Given, Made
from fmri2img.metrics.similarity import nearest_with_cosine


def nearest_caption(given: Given) -> Made:
    decoded = given.source
    nearest, _ = nearest_with_cosine(decoded.array("tokens"), given.embeddings, given.training_ids)
    disclosure = decoded.disclosure.but(generator="none")
    return Made(given.test_ids, {"captions": given.first_captions(nearest)}, disclosure, {"nearest": nearest.tolist()})
