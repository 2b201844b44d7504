"""Score all predictions of one method and subject: every budget, seed, metric and image."""

import numpy as np

from fmri2img import job
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.features import Features
from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.scores import save_scores
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.artifacts.tables import read_table
from fmri2img.backbones.loading import RegisteredNetworks
from fmri2img.decoders.encoding.opening import open_encoding
from fmri2img.metrics.brain import MeasuredBrain, save_brain_tables
from fmri2img.metrics.scoring import score


def main(snakemake) -> None:
    job.start(snakemake)
    given, params = snakemake.input, snakemake.params
    networks, brain, mapped = RegisteredNetworks(params.networks), None, None
    predictions = [Prediction.open(path) for path in given.predictions]
    if given.get("encoding"):
        predict = open_encoding(given.encoding, networks)
        brain = MeasuredBrain.of(Recording.open(given.recording), predict).on(predictions[0].ids)
        # Maps show the longest budget, and there the first seed.
        drawing = [prediction for prediction in predictions if prediction.images is not None]
        mapped = max(drawing, key=lambda p: (p.metadata["sessions"], -p.metadata["seed"]), default=None)
        if mapped is None:
            save_brain_tables(snakemake.output.brain, brain, None)

    def see(prediction: Prediction, betas: np.ndarray) -> None:
        if prediction is mapped:
            save_brain_tables(snakemake.output.brain, brain, betas)

    table = score(
        predictions,
        Stimuli.open(given.stimuli),
        Embeddings.open(given.embeddings) if given.get("embeddings") else None,
        params.metrics,
        networks,
        params.evaluation,
        params.retrieval,
        brain,
        read_table(given.captioned, {"nsd_id": "iu", "caption": "OUT"}) if given.get("captioned") else None,
        {features.metadata["network"]: features for features in map(Features.open, given.features)},
        see,
    )
    means = table.groupby(["sessions", "seed", "metric"])["value"].mean().unstack("metric")
    print(means.to_string(float_format=lambda value: f"{value:.4f}"))
    save_scores(snakemake.output.scores, table)


main(snakemake)
