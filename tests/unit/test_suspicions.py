"""Leaked true pictures and permuted rows are told wherever scores are shown."""

import runpy
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from designs import DISCLOSURE, small_design

from fmri2img.artifacts.prediction import save_prediction
from fmri2img.artifacts.stimuli import save_stimuli
from fmri2img.artifacts.test_images import TestImages
from fmri2img.metrics.registry import read_metrics
from fmri2img.paths import REPOSITORY
from fmri2img.reporting.page.board import method_list
from fmri2img.reporting.provenance import disclosure_table
from fmri2img.reporting.suspicions import suspicions

REGISTRY = read_metrics(REPOSITORY / "config" / "metrics.yaml")
METRICS = {
    name: REGISTRY[name] for name in ("pixcorr", "identification_clip", "retrieval_image", "retrieval_image_all")
}
N = 60


class Named(dict):
    """Snakemake's lists of named things."""

    __getattr__ = dict.__getitem__


def scores_of(metrics, permuted=(), method="mine"):
    """Two subjects, two budgets, two seeds: far above chance, but for cells (subject, sessions, seed) in `permuted`."""
    rng, parts = np.random.default_rng(0), []
    for cell in product(("subj01", "subj02"), (1, 8), (0, 1)):
        for metric in metrics:
            chance = {"1/pool": 1 / N, "1/images": 1 / N}.get(METRICS[metric]["chance"], METRICS[metric]["chance"])
            level = 0.1 if chance is None else chance if cell in permuted else chance + 0.4
            value = rng.random(N) < level if metric.startswith("retrieval") else level + rng.normal(0, 0.1, N)
            key = dict(zip(("subject", "sessions", "seed"), cell, strict=True)) | {"method": method, "metric": metric}
            parts.append(pd.DataFrame(key | {"image_id": np.arange(N), "value": np.asarray(value, float)}))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("metrics", [["identification_clip"], ["retrieval_image"], ["retrieval_image_all"], METRICS])
def test_one_permuted_cell_is_found_among_good_ones_by_any_metric_with_chance(metrics):
    assert suspicions(scores_of(metrics), METRICS, 300, ["mine"]) == []
    scores = scores_of(metrics, permuted=[("subj02", 8, 1)])
    scores.loc[scores["image_id"] == 7, "value"] = np.nan  # an image that no pool drew
    ((method, text),) = suspicions(scores, METRICS, 300, ["mine"])
    assert method == "mine" and text.startswith("subj02, 8 sessions, seed 1: no score is clearly above chance")
    assert suspicions(scores, METRICS, 300, []) == []  # a decoder of the study may be as bad as chance


def test_one_metric_above_chance_or_none_with_a_chance_level_is_not_suspected():
    scores = scores_of(METRICS, permuted=[("subj02", 8, 1)])
    cell = scores["subject"].eq("subj02") & scores["sessions"].eq(8) & scores["seed"].eq(1)
    scores.loc[cell & scores["metric"].eq("identification_clip"), "value"] += 0.3
    assert suspicions(scores, METRICS, 300, ["mine"]) == []
    assert suspicions(scores_of(["pixcorr"]), METRICS, 300, ["mine"]) == []


def test_pictures_that_equal_their_stimulus_are_named_of_any_method():
    scores = scores_of(METRICS, method="ridge")
    cell = scores["subject"].eq("subj01") & scores["sessions"].eq(1) & scores["seed"].eq(0)
    here = cell & scores["metric"].eq("pixcorr")
    scores.loc[here & scores["image_id"].eq(5), "value"] = 1 - 1e-5
    scores.loc[cell & scores["metric"].eq("identification_clip"), "value"] = 1.0  # a perfect score is no leak
    assert suspicions(scores, METRICS, 300, []) == []
    scores.loc[here & scores["image_id"].isin([3, 9]), "value"] = [1.0, 1 - 1e-7]
    ((method, text),) = suspicions(scores, METRICS, 300, [])
    assert method == "ridge" and text.startswith("subj01, 1 sessions, seed 0: 2 reconstructions equal their stimulus")
    assert text.endswith("image_id 3, 9")
    scores.loc[here, "value"] = 1.0
    assert suspicions(scores, METRICS, 300, [])[0][1].endswith("image_id 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...")


def test_suspicions_stand_beside_what_a_method_discloses():
    methods = {name: {"title": name.title(), "kind": "submission"} for name in ("mine", "other")}
    design = small_design( subjects=["subj01"], methods=methods,
        budgets={"1": {"subj01": 1}}, seeds=[0], resamples=10,
    )  # fmt: skip
    disclosed = pd.DataFrame({"method": ["mine", "other"], "generator": ["a pencil", "a pen"]})
    assert "Caution" not in disclosure_table(disclosed, design).note
    design = design.with_suspicions([("mine", "subj01: bad"), ("mine", "subj02: worse")])
    assert "Caution: Mine (subj01: bad). Caution: Mine (subj02: worse)." in disclosure_table(disclosed, design).note
    facts = {method["name"]: dict(method["facts"]) for method in method_list(design, disclosed)}
    assert facts["mine"]["Caution"] == "subj01: bad; subj02: worse" and "Caution" not in facts["other"]


@pytest.mark.parametrize(("origin", "suspected"), [("submission", True), ("port", False)])
def test_the_evaluation_log_tells_of_leaked_pictures_and_of_permuted_submissions(origin, suspected, tmp_path, capsys):
    rng, ids = np.random.default_rng(0), np.arange(N)
    truth = rng.integers(0, 256, (N, 16, 16, 3), np.uint8)
    table = pd.DataFrame({"image_id": ids, "name": "x", "source": "x", "cluster": None})
    table["captions"], table["categories"] = [["a"]] * N, [["b"]] * N
    save_stimuli(tmp_path / "stimuli", truth, table, {})
    metadata = {"method": "mine", "subject": "subj01", "sessions": 1, "seed": 0, "split": "s", "split_sha256": "0"}
    metadata |= {"test_set": "test"}
    TestImages("subj01", "s", "0", {"test": ids}).save(tmp_path / "test_images.json")
    images = rng.integers(0, 256, truth.shape, np.uint8)
    images[4] = truth[4]
    disclosure = {"disclosure": DISCLOSURE | {"origin": origin}}
    save_prediction(tmp_path / "prediction", ids, metadata | disclosure, images=images)
    # What a submission with its rows permuted scores: chance at a metric that has one, here of the pictures themselves.
    metrics = {"pixcorr": REGISTRY["pixcorr"], "ssim": REGISTRY["ssim"] | {"chance": 0.5}}
    given = Named(stimuli=tmp_path / "stimuli", test_images=[tmp_path / "test_images.json"], features=[])
    params = Named(
        networks={},
        metrics=metrics,
        evaluation={"size": 16, "pixel_size": 16, "antialias": True},
        retrieval={"pool": 300},
        statistics={"permutations": 0},
    )
    params |= {"cells": [["subj01", 1, 0, "test", tmp_path / "prediction"]], "lacking": []}
    job = SimpleNamespace(input=given, params=params, output=Named(scores=tmp_path / "scores.parquet"))
    runpy.run_path(str(REPOSITORY / "scripts/evaluate_predictions.py"))["main"](job)
    said = capsys.readouterr().out
    assert (
        "Warning: mine, subj01, 1 sessions, seed 0: 1 reconstructions equal their stimulus" in said
        and "image_id 4" in said
    )
    assert ("no score is clearly above chance" in said) == suspected
