"""Score all predictions of one method: every subject, budget, seed, metric and image."""

from pathlib import Path

import pandas as pd

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.cells import Cell
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.features import Features
from fmri2img.artifacts.permutations import save_permutations
from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.scores import save_scores
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.artifacts.tables import read_table
from fmri2img.artifacts.test_images import TestImages
from fmri2img.backbones.loading import RegisteredNetworks
from fmri2img.encoding.opening import open_encoding
from fmri2img.metrics.brain import MeasuredBrain, save_brain_tables
from fmri2img.metrics.permutation_tests import PermutationTests
from fmri2img.metrics.scoring import score
from fmri2img.reporting.picture_suspicions import suspicions_of_pictures
from fmri2img.reporting.suspicions import suspicions


def of_cells(cells: list, test_images: dict[str, TestImages]) -> list[Prediction]:
    """The predictions of a method for the study's cells. cells: subject, sessions, seed, test set and path.

    A prediction that does not vary with, say, the budget is used for several cells, each with its own test images.
    """
    opened: dict[str, Prediction] = {}
    found = []
    for *fields, path in cells:
        cell = Cell(*fields)
        if path not in opened:
            opened[path] = Prediction.open(path)
        found.append(opened[path].of_cell(cell, test_images[cell.subject].test_sets[cell.test_set]))
    return found


def on_a_map(predictions: list[Prediction], test_set: str) -> Prediction | None:
    """The prediction that a subject's maps show: that of the longest budget with pictures and of its first seed."""
    drawing = [p for p in predictions if p.images is not None and p.metadata["test_set"] == test_set]
    return max(drawing, key=lambda p: (p.metadata["sessions"], -p.metadata["seed"]), default=None)


def scores(
    predictions: list[Prediction], given, params, brain_tables: Path | None, tests: PermutationTests | None = None
) -> pd.DataFrame:
    """The table of scores. brain_tables: folder for the tables from which each subject's maps are made; tests: takes
    the values of all pairs of images and predictions for permutation tests."""
    networks, parts = RegisteredNetworks(params.networks, params.evaluation["antialias"]), []
    stimuli = Stimuli.open(given.stimuli)
    embeddings = Embeddings.open(given.embeddings) if given.get("embeddings") else None
    captioned = read_table(given.captioned, {"image_id": "iu", "caption": "OUT"}) if given.get("captioned") else None
    true_features = {features.metadata["network"]: features for features in map(Features.open, given.features)}
    encodings = {Path(path).name: path for path in given.get("encodings", [])}
    recordings = {Path(path).name: path for path in given.get("recordings", [])}
    grouped: dict[tuple[str, str], list[Prediction]] = {}
    for prediction in predictions:
        grouped.setdefault((prediction.metadata["subject"], prediction.metadata["test_set"]), []).append(prediction)
    first_test_set = predictions[0].metadata["test_set"]

    for (subject, test_set), made in grouped.items():
        brain, mapped = None, on_a_map(made, first_test_set)
        if subject in encodings:
            predict = open_encoding(encodings[subject], networks)
            brain = MeasuredBrain.of(Recording.open(recordings[subject]), predict, test_set)

        def see(prediction, measured, betas, subject=subject, mapped=mapped) -> None:
            if prediction is mapped:
                save_brain_tables(brain_tables / subject, measured, betas)

        evaluation = params.metrics, networks, params.evaluation, params.retrieval
        distinct, copies = once(made)
        seen = {"see": see} | ({"see_pairs": tests.see} if tests else {})
        table = score(distinct, stimuli, embeddings, *evaluation, brain, captioned, true_features, **seen)
        parts += [table, *repeated(table, copies)]
        print(f"{subject}, {test_set}: {len(made)} predictions, {len(distinct)} of them distinct", flush=True)
    return pd.concat(parts, ignore_index=True)


def once(predictions: list[Prediction]) -> tuple[list[Prediction], list[tuple[Prediction, Prediction]]]:
    """Predictions from different files, and pairs (copy, scored one) of the others."""
    first: dict[Path, Prediction] = {}
    copies = []
    # The last of a file's cells has the longest budget, and a map may show it.
    for prediction in sorted(predictions, key=lambda p: (-p.metadata["sessions"], p.metadata["seed"])):
        if prediction.path in first:
            copies.append((prediction, first[prediction.path]))
        else:
            first[prediction.path] = prediction
    return [p for p in predictions if first[p.path] is p], copies


def repeated(table: pd.DataFrame, copies: list[tuple[Prediction, Prediction]]) -> list[pd.DataFrame]:
    """One table of scores for each prediction that is the same file as a scored one."""
    keys = ["subject", "sessions", "seed", "test_set"]
    tables = []
    for copy, scored in copies:
        same = (table[keys] == [scored.metadata[key] for key in keys]).all(axis=1)
        tables.append(table[same].assign(**{key: copy.metadata[key] for key in keys}))
    return tables


def main(snakemake) -> None:
    given, params = snakemake.input, snakemake.params
    test_images = {images.subject: images for images in map(TestImages.open, given.test_images)}
    for record in params.lacking:
        print(f"Warning: without {record['what']}, because {record['job']} failed: {record['reason']}")
    predictions = of_cells(params.cells, test_images)
    permutations = params.statistics["permutations"]
    tests = PermutationTests(permutations, params.metrics) if permutations else None
    if snakemake.output.get("brain"):
        with atomic_directory(snakemake.output.brain) as directory:
            table = scores(predictions, given, params, directory, tests)
    else:
        table = scores(predictions, given, params, None, tests)
    if tests:
        save_permutations(snakemake.output.permutations, tests.table(predictions))
    means = table.groupby(["test_set", "subject", "sessions", "seed", "metric"])["value"].mean().unstack("metric")
    print(means.to_string(float_format=lambda value: f"{value:.4f}"))
    submitted = {p.metadata["method"] for p in predictions if p.disclosure.origin == "submission"}
    for method, text in suspicions(table, params.metrics, params.retrieval["pool"], submitted):
        print(f"Warning: {method}, {text}")
    stimuli = Stimuli.open(given.stimuli)
    for prediction in predictions:
        for text in suspicions_of_pictures(prediction, stimuli) if prediction.metadata["method"] in submitted else []:
            print(f"Warning: {prediction.metadata['method']}, {text}")
    save_scores(snakemake.output.scores, table)


if __name__ == "__main__":
    job.run(main)
