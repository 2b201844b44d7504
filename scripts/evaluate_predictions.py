"""Score all predictions of one method and subject: every budget, seed, metric and image."""

from fmri2img import job
from fmri2img.artifacts.embeddings import Embeddings
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
    networks, brain, betas = RegisteredNetworks(params.networks), None, {}
    predictions = [Prediction.open(path) for path in given.predictions]
    drawing = [p for p in predictions if p.images is not None]
    # Maps show the longest budget, and there the first seed.
    mapped = max(drawing, key=lambda p: (p.metadata["sessions"], -p.metadata["seed"]), default=None)
    if given.get("encoding"):
        encode = open_encoding(given.encoding, networks)

        def predict(images):
            predicted = encode(images)
            if images is mapped.images:
                betas[mapped.path] = predicted
            return predicted

        brain = MeasuredBrain.of(Recording.open(given.recording), predict)
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
    )
    means = table.groupby(["sessions", "seed", "metric"])["value"].mean().unstack("metric")
    print(means.to_string(float_format=lambda value: f"{value:.4f}"))
    save_scores(snakemake.output.scores, table)
    if brain is not None:
        save_brain_tables(snakemake.output.brain, brain.on(predictions[0].ids), betas.get(mapped and mapped.path))


main(snakemake)
