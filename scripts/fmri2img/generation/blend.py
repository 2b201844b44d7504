"""The blend of refined pictures with a share of the blurry ones, which MindEye2 is scored by."""

import numpy as np
import torch

from fmri2img.artifacts.arrays import Rows
from fmri2img.backbones.pixels import resize, to_uint8, to_unit
from fmri2img.errors import UserError
from fmri2img.generation.drawing import Drawing, Drawn, identity_of
from fmri2img.integrity import again

BLOCK = 16  # pictures blended at a time


def blend(refined: np.ndarray, blurry: np.ndarray, refined_weight: float) -> np.ndarray:
    """Weighted mean of two sets of uint8 pictures (n, side, side, 3); the blurry one is resized to the refined one.

    MindEye2's refined pictures have weight 0.75 when they are scored, in every release of its code. The paper's text
    says 4:1: branches of January 2024 mixed 0.8 and 0.2, and did so before refinement.
    """
    blended = np.empty(refined.shape, np.uint8)
    large, small = (Rows(pictures, np.arange(len(pictures))) for pictures in (refined, blurry))
    for start in range(0, len(refined), BLOCK):
        rows = slice(start, start + BLOCK)
        enlarged = resize(to_unit(small[rows]), refined.shape[1])
        blended[rows] = to_uint8(torch.lerp(enlarged, to_unit(large[rows]), refined_weight))
    return blended


def draw(drawing: Drawing) -> Drawn:
    """The pipeline: refined_weight * refined + (1 - refined_weight) * blurry, all else from refined.

    Raises UserError when the two are not of the same images, subject, budget and seed.
    """
    refined, blurry = drawing.taken("refined"), drawing.taken("blurry")
    same = ("subject", "sessions", "seed", "split_sha256", "test_set")
    if not np.array_equal(refined.ids, blurry.ids) or any(refined.metadata[k] != blurry.metadata[k] for k in same):
        raise UserError(
            f"{blurry.path}: differs in images, subject, budget or seed from {refined.path}; {again(blurry.path)}"
        )
    first, second = refined.disclosure, blurry.disclosure
    return Drawn(
        first.but(
            generator=f"{first.generator}, blended with {second.generator}",
            generator_data="; ".join(dict.fromkeys((first.generator_data, second.generator_data))),
        ),
        images=blend(refined.images, blurry.images, drawing.settings["refined_weight"]),
        captions=refined.captions["caption"].tolist(),
        retrieval=refined.retrieval,
        ids=refined.ids,
        identity=identity_of(refined),
    )
