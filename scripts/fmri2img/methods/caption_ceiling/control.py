"""Ceiling of captions: the study's captioner applied to the true test images."""

import numpy as np

from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.interfaces import Given, Made
from fmri2img.artifacts.stimuli import rows_of


def caption_ceiling(given: Given) -> Made:
    known = given.captioned["image_id"].to_numpy()
    ids = np.intersect1d(known, given.test_ids)
    captions = given.captioned["caption"].iloc[rows_of(ids, known, given.paths["captioned"])].tolist()
    disclosure = Disclosure(test_averaging="none: the true image", encoder=given.paths["captioner"])
    return Made(ids, {"captions": captions}, disclosure)
