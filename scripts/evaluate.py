"""Score all predictions of one method and subject: every budget, seed, metric and image."""

from fmri2img import job
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.scores import save_scores
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.features import load_features
from fmri2img.backbones.registry import Backbone
from fmri2img.metrics.scoring import score


def main(snakemake) -> None:
    job.start(snakemake)
    given, params = snakemake.input, snakemake.params
    table = score(
        [Prediction.open(path) for path in given.predictions],
        Stimuli.open(given.stimuli),
        Embeddings.open(given.embeddings),
        params.metrics,
        lambda name, layers: load_features(Backbone(name, params.networks[name]), layers),
        params.evaluation,
        params.retrieval,
    )
    means = table.groupby(["sessions", "seed", "metric"])["value"].mean().unstack("metric")
    print(means.to_string(float_format=lambda value: f"{value:.4f}"))
    save_scores(snakemake.output[0], table)


main(snakemake)
