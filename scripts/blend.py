"""Blend refined pictures with a share of the blurry ones; MindEye2's scores are those of the blended pictures."""

import numpy as np

from fmri2img import job
from fmri2img.artifacts.prediction import Prediction, save_prediction
from fmri2img.errors import UserError
from fmri2img.generation.img2img import blend


def blend_pictures(refined_path: str, blurry_path: str, refined_weight: float, method: str, output: str) -> None:
    """Write the Prediction `method`: refined_weight * refined + (1 - refined_weight) * blurry, all else from refined.

    Raises UserError when the two are not of the same images, subject, budget and seed.
    """
    refined, blurry = Prediction.open(refined_path), Prediction.open(blurry_path)
    same = ("subject", "sessions", "seed", "split_sha256", "test_set")
    if not np.array_equal(refined.ids, blurry.ids) or any(refined.metadata[k] != blurry.metadata[k] for k in same):
        raise UserError(f"{blurry_path}: differs in images, subject, budget or seed from {refined_path}; rerun both")
    drawn, blurred = (prediction.disclosure.generator for prediction in (refined, blurry))
    disclosure = refined.disclosure.but(generator=f"{drawn}, blended with {blurred}").record()
    metadata = refined.metadata | {"method": method, "disclosure": disclosure, "refined_weight": refined_weight}
    save_prediction(
        output,
        refined.ids,
        metadata,
        images=blend(refined.images, blurry.images, refined_weight),
        captions=refined.captions["caption"].tolist(),
        retrieval=refined.retrieval,
    )


def main(snakemake) -> None:
    given, weight = snakemake.input, snakemake.params.refined_weight
    blend_pictures(given.refined, given.blurry, weight, snakemake.wildcards.method, snakemake.output[0])


if __name__ == "__main__":
    job.run(main)
