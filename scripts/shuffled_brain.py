"""Control: the predictions of another method, each handed to another test image."""

from fmri2img import job
from fmri2img.artifacts.prediction import Prediction, save_prediction
from fmri2img.methods.controls.functions import shuffle_brains


def main(snakemake) -> None:
    job.start(snakemake)
    prediction = Prediction.open(snakemake.input.prediction)
    disclosure = prediction.metadata["disclosure"] | {"origin": snakemake.params.origin}
    metadata = prediction.metadata | {
        "method": snakemake.wildcards.method,
        "of": prediction.metadata["method"],
        "disclosure": disclosure,
    }
    arrays = shuffle_brains(prediction, int(snakemake.wildcards.seed))
    save_prediction(snakemake.output[0], prediction.ids, metadata, **arrays)


main(snakemake)
