"""A small study from nothing to its report: one subject, two budgets, the networks and rules of the demo.

What the simulation must show, whatever the networks' quality: responses carry images (retrieval above chance and rising
with sessions), and the shuffled brain is at chance. Then: nothing is left to do, and a table is what Scores say.
"""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from small_study import REPOSITORY, snakemake

from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.scores import read_scores


@pytest.fixture(scope="module")
def study(finished):
    return finished


@pytest.fixture(scope="module")
def scores(study):
    return read_scores(sorted((study / "results/small/scores").rglob("*.parquet")))


def mean(scores, method, metric, sessions):
    rows = scores[(scores.method == method) & (scores.metric == metric) & (scores.sessions == sessions)]
    assert len(rows) == 64
    return rows.value.mean()


def test_decoding_improves_with_sessions_and_the_shuffled_brain_is_at_chance(scores):
    one, all_ = (mean(scores, "ridge", "retrieval_image", sessions) for sessions in (1, 8))
    assert all_ > one > 5 / 64
    for sessions in (1, 8):
        assert abs(mean(scores, "ridge_shuffled_brain", "identification_demo_clip", sessions) - 0.5) < 0.12
        nearest = mean(scores, "ridge_nearest_neighbour", "identification_demo_clip", sessions)
        assert nearest > mean(scores, "ridge_shuffled_brain", "identification_demo_clip", sessions) + 0.1


def test_ridge_pictures_are_identified_after_all_sessions(scores):
    assert mean(scores, "ridge", "identification_demo_clip", 8) > 0.7


def test_shuffled_brain_is_a_derangement_of_ridge(study):
    ridge, shuffled = (
        Prediction.open(study / f"results/small/predictions/{method}/subj02/8sessions/seed0/shared1000")
        for method in ("ridge", "ridge_shuffled_brain")
    )
    assert not (ridge.images == shuffled.images).all(axis=(1, 2, 3)).any()
    assert {image.tobytes() for image in ridge.images} == {image.tobytes() for image in shuffled.images}


def test_mindeye2_ends_in_pictures_captions_and_retrieval_vectors(study, scores):
    prediction = Prediction.open(study / "results/small/predictions/mindeye2_blended/subj02/8sessions/seed0/shared1000")
    assert prediction.images.shape == (64, 64, 64, 3) and prediction.images.std() > 10
    assert len(prediction.captions) == 64 and prediction.retrieval.shape == (64, 64 * 96)
    record = prediction.metadata["disclosure"]
    assert record["training_subjects"] == ["subj02", "subj04"] and not record["transductive"]
    assert mean(scores, "mindeye2_blended", "retrieval_image", 8) > 10 / 64


def test_the_table_holds_the_means_of_the_scores(study, scores):
    table = pd.read_csv(study / "results/small/tables/main_all.csv")
    cells = table[table.method.isin(["ridge", "ridge_nearest_neighbour", "ridge_shuffled_brain"])]
    assert len(cells) == 12
    for cell in cells.itertuples():
        np.testing.assert_allclose(cell.mean, mean(scores, cell.method, cell.metric, 8), atol=1e-9)
        assert cell.low <= cell.mean <= cell.high


def test_brain_correlation_tells_what_was_seen(study, scores):
    metric = "brain_correlation_visual_cortex"
    assert mean(scores, "ridge", metric, 8) > 0.2 > 0.1 > abs(mean(scores, "ridge_shuffled_brain", metric, 8))
    regions = pd.read_csv(study / "results/small/tables/brain.csv")
    whole = regions[regions.region == "visual_cortex"].set_index("method")
    assert whole["pattern"].idxmax() == whole["voxel"].idxmax() == "stimuli"
    np.testing.assert_allclose(whole.loc["ridge", "pattern"], mean(scores, "ridge", metric, 8), atol=1e-6)
    assert (study / "results/small/figures/brain_subj02.png").stat().st_size > 10_000


def test_a_second_run_has_nothing_to_do(study):
    assert "Nothing to be done" in snakemake(study)


def test_a_flipped_bit_is_found_with_its_rule_and_the_repair_ends_in_the_same_scores(study):
    command = [sys.executable, str(REPOSITORY / "scripts/verify_study.py"), "small.yaml"]
    whole = subprocess.run(command, capture_output=True, text=True, cwd=study)
    assert whole.returncode == 0 and "no record" not in whole.stdout, whole.stdout + whole.stderr
    copy = study.with_name("damaged")  # next to it, as its jobs have relative paths to the repository
    shutil.copytree(study, copy, symlinks=True)
    weights = copy / "results/small/decoders/ridge/subj02/1sessions/seed0/tokens/decoder.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    found = subprocess.run(command, capture_output=True, text=True, cwd=copy)
    assert found.returncode == 1
    assert f"{weights.relative_to(copy)}: is damaged" in found.stdout
    assert "made by: fit_linear decoder=ridge subject=subj02 sessions=1 seed=0" in found.stdout

    repaired = re.search(r"--forcerun (\S+)$", found.stdout.strip())[1]
    scores = "results/small/scores/ridge.parquet"
    before = (copy / scores).stat().st_mtime_ns
    snakemake(copy, "--forcerun", repaired, "--", scores)
    assert (copy / scores).stat().st_mtime_ns > before
    for path in (weights, copy / scores):
        assert path.read_bytes() == (study / path.relative_to(copy)).read_bytes()


def test_the_report_opens_as_one_file(study):
    report = study / "results/small/report.html"
    snakemake(study, "--report", str(report))
    assert report.stat().st_size > 100_000
    assert "main_all" in report.read_text(encoding="utf-8")


def test_the_page_and_the_crate_are_of_this_study(study):
    page = (study / "results/small/page.html").read_text(encoding="utf-8")
    for part in ("leaderboard", "sessions", "similarity", "reconstructions", "images", "compute", "provenance"):
        assert f'<section id="{part}"' in page
    crate = json.loads((study / "results/small/ro-crate-metadata.json").read_text(encoding="utf-8"))
    run = next(entity for entity in crate["@graph"] if entity["@id"] == "#run")
    for entity in [*run["result"], run["instrument"]]:
        assert (study / "results/small" / entity["@id"]).exists()
