"""docs/adding-a-dataset.md, followed word by word in a folder outside the repository, ends in a leaderboard."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.permutations import read_permutations
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.scores import read_scores
from fmri2img.artifacts.stimuli import Stimuli

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "adding-a-dataset.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```\w+\n# file: (\S+)\n(.*?)```", PAGE, re.S))
ADDED = dict(re.findall(r"```\w+\n# add to: (\S+)\n(.*?)```", PAGE, re.S))
METHODS = ["ridge", "ridge_shuffled_brain", "ridge_nearest_neighbour", "mean_training_image"]


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    """The working directory, with every file of the page and the raw data."""
    folder = tmp_path_factory.mktemp("outside")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    subprocess.run([sys.executable, "make_raw_data.py"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def results(toy) -> Path:
    run = snakemake(toy, "--cores", "2", "--configfile", "study.yaml", "--show-failed-logs")
    assert run.returncode == 0, run.stdout + run.stderr
    return toy / "results" / "toy"


def test_every_method_has_a_row_on_the_leaderboard(results):
    board = pd.read_csv(results / "tables" / "leaderboard.csv")
    assert set(board["method"]) == set(METHODS)
    assert board.loc[board["metric"] == "pixcorr", "mean"].notna().all()
    assert (results / "page.html").is_file()


def test_both_test_sets_are_scored(results):
    scores = read_scores([results / "scores" / f"{method}.parquet" for method in METHODS])
    images = scores[scores["metric"] == "pixcorr"].groupby("test_set")["image_id"].agg(set)
    assert images.to_dict() == {"scenes": set(range(48, 56)), "gratings": set(range(56, 60))}
    assert set(scores["subject"]) == {"sub-03", "sub-07"}


def test_test_sets_stand_next_to_each_other_and_claims_span_them(results):
    assert (results / "figures" / "test_sets.svg").is_file()
    cells = pd.read_csv(results / "tables" / "test_sets.csv")
    assert dict(zip(cells["test_set"], cells["test_kind"], strict=True)) == {"scenes": "seen", "gratings": "synthetic"}
    alike = cells[cells["metric"] == "identification_demo_clip"].groupby("test_set")["alike"].first()
    assert 0 < alike["scenes"] < alike["gratings"] < 1
    claims = pd.read_csv(results / "tables" / "claims.csv")
    falls = claims[claims["reference"] == "scenes → gratings"]
    assert set(falls["metric"]) == {"identification_demo_clip"} and set(falls["method"]) == {"ridge"}
    assert 'id="test-sets"' in (page := (results / "page.html").read_text()) and 'id="permutations"' in page


def test_each_subject_has_a_permutation_test_whose_mean_is_that_of_its_scores(results):
    scores = read_scores([results / "scores" / f"{method}.parquet" for method in METHODS])
    tested = read_permutations(sorted((results / "permutations").glob("*.parquet")))
    keys = ["method", "subject", "sessions", "test_set", "metric"]
    means = scores.groupby(keys)["value"].mean()
    assert len(tested) == len(means) and set(tested["permutations"]) == {199} and (tested["why"] == "").all()
    found = tested.set_index(keys)
    pd.testing.assert_series_equal(found["observed"].sort_index(), means, check_names=False, atol=1e-5)
    best = found.loc["ridge", :, 2, "scenes", "retrieval_image"]
    assert (best["p"] < 0.05).all() and (found.loc["mean_training_image"]["p"] > 0.9).all()
    table = pd.read_csv(results / "tables" / "permutations.csv")
    assert table.loc[table["mean"].notna(), "p"].notna().all() and table["p"].min() >= 1 / 200


def test_the_dataset_keeps_its_own_names(results):
    assert Stimuli.open(results / "stimuli").table["name"].iloc[[0, 59]].tolist() == ["train_00", "gratings_59"]
    recording = Recording.open(results / "recordings" / "sub-07")
    assert recording.test_sets == ["scenes", "gratings"] and {"early", "late"} < set(recording.voxels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("metrics=[caption_rougeL]", "key 'metrics': caption_rougeL needs captions, which dataset toy does not have; "),
        ("methods=[ridge,caption_only]", "key 'methods': caption_only needs captions, which dataset toy does not have"),
        ("metrics=[brain_correlation_v1]", "brain_correlation_v1 needs region V1, which dataset toy does not have"),
        ("subjects=[subj01]", "key 'subjects': no data for subj01; available: sub-03, sub-07"),
        ("split=shared1000", "key 'split': 'shared1000' is not one of standard, cluster<k>"),
    ],
)
def test_what_the_dataset_does_not_have_is_refused_in_one_line(toy, change, message):
    run = snakemake(toy, "-n", "--configfile", "study.yaml", "--config", change)
    assert run.returncode != 0
    lines = [line for line in (run.stdout + run.stderr).splitlines() if message in line]
    assert len(lines) == 1 and lines[0].startswith("configuration: "), run.stdout + run.stderr


@pytest.fixture(scope="module")
def without_pictures(toy, tmp_path_factory) -> Path:
    """The same with the additions of the page, after the pictures were deleted."""
    folder = tmp_path_factory.mktemp("vectors") / "outside"
    shutil.copytree(toy, folder, ignore=shutil.ignore_patterns("results", ".snakemake", "pictures", "logs"))
    for name, content in ADDED.items():
        with open(folder / name, "a", encoding="utf-8") as file:
            file.write(f"\n\n{content}")
    script = folder / "toy" / "read_stimuli.py"
    text, n = re.subn(r"images = np\.stack\(.*\)\n", "images = None\n", script.read_text(encoding="utf-8"))
    assert n == 1
    script.write_text(text, encoding="utf-8")
    return folder


def test_vectors_that_the_dataset_brings_are_decoded_without_its_pictures(without_pictures):
    """What comes after them is run in test_replication.py, on another dataset."""
    results = without_pictures / "results" / "toy_vectors"
    targets = ("results/toy_vectors/stimuli", "results/toy_vectors/embeddings/toy_vectors")
    # Where jobs share the workflow's own embeddings, those that the dataset brings are still made by its rule alone.
    shared = ("--configfile", "vectors.yaml", "--config", "shards={embed: 3}")
    run = snakemake(without_pictures, *targets, "--cores", "1", *shared, "--show-failed-logs")
    assert run.returncode == 0, run.stdout + run.stderr
    vectors = np.load(without_pictures / "raw" / "vectors.npy")
    np.testing.assert_allclose(Embeddings.open(results / "embeddings" / "toy_vectors").tokens[:, 0], vectors, atol=1e-3)
    assert Stimuli.open(results / "stimuli").pictures is None
