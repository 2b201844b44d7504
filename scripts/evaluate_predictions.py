"""Score all predictions of one method: every subject, budget, seed, metric and image."""

from pathlib import Path

import pandas as pd

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.features import Features
from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.scores import save_scores
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.artifacts.tables import read_table
from fmri2img.backbones.loading import RegisteredNetworks
from fmri2img.encoding.opening import open_encoding
from fmri2img.metrics.brain import MeasuredBrain, save_brain_tables
from fmri2img.metrics.scoring import score
from fmri2img.reporting.suspicions import suspicions


def on_a_map(predictions: list[Prediction]) -> Prediction | None:
    """The prediction that a subject's maps show: of the longest budget with pictures, and there of the first seed."""
    drawing = [prediction for prediction in predictions if prediction.images is not None]
    return max(drawing, key=lambda p: (p.metadata["sessions"], -p.metadata["seed"]), default=None)


def scores(predictions: list[Prediction], given, params, brain_tables: Path | None) -> pd.DataFrame:
    """The table of scores. brain_tables: folder that the tables behind each subject's maps are written to."""
    networks, parts = RegisteredNetworks(params.networks), []
    stimuli = Stimuli.open(given.stimuli)
    embeddings = Embeddings.open(given.embeddings) if given.get("embeddings") else None
    captioned = read_table(given.captioned, {"image_id": "iu", "caption": "OUT"}) if given.get("captioned") else None
    true_features = {features.metadata["network"]: features for features in map(Features.open, given.features)}
    encodings = {Path(path).name: path for path in given.get("encodings", [])}
    recordings = {Path(path).name: path for path in given.get("recordings", [])}
    by_subject: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        by_subject.setdefault(prediction.metadata["subject"], []).append(prediction)

    for subject, made in by_subject.items():
        brain, mapped = None, on_a_map(made)
        if subject in encodings:
            predict = open_encoding(encodings[subject], networks)
            brain = MeasuredBrain.of(Recording.open(recordings[subject]), predict)

        def see(prediction, measured, betas, subject=subject, mapped=mapped) -> None:
            if prediction is mapped:
                save_brain_tables(brain_tables / subject, measured, betas)

        evaluation = params.metrics, networks, params.evaluation, params.retrieval
        parts.append(score(made, stimuli, embeddings, *evaluation, brain, captioned, true_features, see))
        print(f"{subject}: {len(made)} predictions", flush=True)
    return pd.concat(parts, ignore_index=True)


def main(snakemake) -> None:
    job.start(snakemake)
    given, params = snakemake.input, snakemake.params
    predictions = [Prediction.open(path) for path in given.predictions]
    if snakemake.output.get("brain"):
        with atomic_directory(snakemake.output.brain) as directory:
            table = scores(predictions, given, params, directory)
    else:
        table = scores(predictions, given, params, None)
    means = table.groupby(["subject", "sessions", "seed", "metric"])["value"].mean().unstack("metric")
    print(means.to_string(float_format=lambda value: f"{value:.4f}"))
    submitted = {p.metadata["method"] for p in predictions if p.metadata["disclosure"]["origin"] == "submission"}
    for method, text in suspicions(table, params.metrics, params.retrieval["pool"], submitted):
        print(f"Warning: {method}, {text}")
    save_scores(snakemake.output.scores, table)


main(snakemake)
