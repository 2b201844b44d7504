"""Score all predictions of one method and subject: every budget, seed, metric and image."""

from fmri2img import job
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.scores import save_scores
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.loading import RegisteredNetworks
from fmri2img.decoders.encoding.features import BandFeatures
from fmri2img.decoders.encoding.model import EncodingModel
from fmri2img.metrics.brain import MeasuredBrain
from fmri2img.metrics.scoring import score


def measured_brain(given, networks: RegisteredNetworks) -> MeasuredBrain:
    """The subject's betas of the test images, and its encoding model."""
    model = EncodingModel.open(given.encoding)
    known = model.metadata
    features = BandFeatures(networks, known["bands"], known["grid"], known["size"])
    return MeasuredBrain.of(Recording.open(given.recording), lambda images: model.predict(features(images)))


def main(snakemake) -> None:
    job.start(snakemake)
    given, params = snakemake.input, snakemake.params
    networks = RegisteredNetworks(params.networks)
    table = score(
        [Prediction.open(path) for path in given.predictions],
        Stimuli.open(given.stimuli),
        Embeddings.open(given.embeddings) if given.get("embeddings") else None,
        params.metrics,
        networks,
        params.evaluation,
        params.retrieval,
        measured_brain(given, networks) if given.get("encoding") else None,
    )
    means = table.groupby(["sessions", "seed", "metric"])["value"].mean().unstack("metric")
    print(means.to_string(float_format=lambda value: f"{value:.4f}"))
    save_scores(snakemake.output[0], table)


main(snakemake)
