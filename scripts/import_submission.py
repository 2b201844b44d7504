"""Import one submitted prediction as a Prediction, or report what is wrong with it."""

from collections.abc import Sequence

import numpy as np
import torch

from fmri2img import job
from fmri2img.artifacts.prediction import save_prediction
from fmri2img.artifacts.test_images import TestImages
from fmri2img.backbones.pixels import resize, to_uint8, to_unit
from fmri2img.errors import UserError
from fmri2img.submissions.checks import CheckedSubmission, check_submission
from fmri2img.submissions.record import SubmittedPrediction


def import_submission(
    prediction: SubmittedPrediction,
    test: TestImages,
    tokens: tuple[int, int] | None,
    output: str,
    aliases: Sequence[str] = (),
    antialias: bool = True,
    other_splits: Sequence[str] = (),
) -> None:
    """Check and write the Prediction.

    tokens, aliases, other_splits: as in `check_submission`; antialias: as `evaluation.antialias`.

    Raises UserError listing every fault of the submission.
    """
    test = test.only(prediction.test_set)
    checked, problems = check_submission(prediction, test, tokens, aliases, other_splits)
    if problems:
        raise UserError("\n       ".join(problems))
    metadata = {
        "method": prediction.method,
        "subject": prediction.subject,
        "sessions": prediction.sessions,
        "seed": prediction.seed,
        "split": test.split,
        "split_sha256": test.split_sha256,
        "test_set": prediction.test_set,
        "encoder": prediction.disclosure["encoder"],
        "disclosure": prediction.disclosure,
        "files": {key: str(path) for key, path in prediction.files.items()},
        "blend": prediction.blend and {**prediction.blend, "images": str(prediction.blend["images"])},
    }
    pictures = None if checked.images is None else stored_pictures(checked, prediction.blend, antialias)
    save_prediction(output, checked.ids, metadata, pictures, checked.captions, checked.retrieval)


def stored_pictures(checked: CheckedSubmission, blend: dict | None, antialias: bool = True) -> np.ndarray:
    """uint8 (n, h, w, 3): the submitted pictures, or their weighted mean with the blurry ones, both first resized.

    MindEye2's refined pictures are scored with a quarter of the blurry picture, both at 256 pixels.
    """
    size = (blend["size"],) * 2 if blend else checked.images.size
    stored, start = np.empty((len(checked.ids), *size, 3), np.uint8), 0
    blurry = checked.blurry.checked() if blend else None
    for block in checked.images.checked():
        if blend:
            both = (resize(to_unit(one), blend["size"], antialias=antialias) for one in (block, next(blurry)))
            block = to_uint8(torch.lerp(*both, blend["share"]))
        elif block.dtype != np.uint8:
            block = to_uint8(to_unit(block))
        stored[start : start + len(block)] = block
        start += len(block)
    return stored


def main(snakemake) -> None:
    import_submission(
        SubmittedPrediction.of(snakemake.params.record),
        TestImages.open(snakemake.input.test_images),
        snakemake.params.tokens,
        snakemake.output[0],
        snakemake.params.aliases,
        snakemake.params.antialias,
        snakemake.params.other_splits,
    )


if __name__ == "__main__":
    job.run(main)
