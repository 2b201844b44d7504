from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fmri2img.reporting.design import GAP, Design
from fmri2img.reporting.similarity import similarity_curves, similarity_effects, similarity_table, with_similarity
from fmri2img.reporting.style import save_figure
from fmri2img.stats import rank_correlation

N_IMAGES = 60


@pytest.fixture
def design():
    return Design(
        study="small", simulated=True, split="shared1000", subjects=["subj01", "subj02"],
        methods={
            "recalls": {"title": "Recalls", "kind": "decoder"},
            "knows": {"title": "Knows", "kind": "decoder"},
            "missing": {"title": "Missing", "kind": "control"},
        },
        metrics={"id": {"title": "Identification", "range": [0, 1], "higher_is_better": True, "chance": 0.5}},
        budgets={"1": {"subj01": 1, "subj02": 1}, "all": {"subj01": 8, "subj02": 6}},
        seeds=[0, 1], resamples=300, confidence=0.95,
    )  # fmt: skip


@pytest.fixture
def planted(design):
    """One method's score rises with similarity, the other's has nothing to do with it."""
    rng, known, scores = np.random.default_rng(0), [], []
    for subject, budget in product(design.subjects, design.budgets.values()):
        key = {"subject": subject, "sessions": budget[subject], "nsd_id": np.arange(N_IMAGES)}
        cosine = rng.random(N_IMAGES)
        known.append(pd.DataFrame(key | {"nearest": 7, "cosine": cosine}))
        for method, seed in product(("recalls", "knows"), design.seeds):
            value = 0.3 + 0.5 * cosine + 0.01 * seed if method == "recalls" else rng.random(N_IMAGES)
            scores.append(pd.DataFrame(key | {"method": method, "seed": seed, "metric": "id", "value": value}))
    return pd.concat(scores, ignore_index=True), pd.concat(known, ignore_index=True)


def test_recall_is_told_from_knowing(design, planted):
    effects = similarity_effects(with_similarity(*planted, design), design).set_index(["method", "budget"])
    recalls, knows = effects.loc[("recalls", "all")], effects.loc[("knows", "all")]
    assert recalls["correlation"] == pytest.approx(1) and recalls["low"] > 0.95
    assert knows["low"] < 0 < knows["high"]
    assert recalls["most_similar"] - recalls["least_similar"] > 0.3
    assert effects["n_images"].eq(N_IMAGES).all() and len(effects) == 4
    page = similarity_table(effects.reset_index(), design, "all")
    assert [row.cells[0].mean for row in page.rows][::2] == ["1.00", GAP]


def test_quarters_hold_equally_many_images_of_each_subject(design, planted):
    labelled = with_similarity(*planted, design)
    one = labelled[(labelled["method"] == "knows") & (labelled["seed"] == 0)]
    assert one.groupby(["budget", "subject", "quarter"]).size().eq(N_IMAGES / 4).all()
    ends = one.groupby(["budget", "subject", "quarter"])["similarity"].agg(["min", "max"]).unstack("quarter")
    assert (ends["max"][0] < ends["min"][1]).all()


def test_correlation_is_spearmans_and_its_interval_covers(design):
    rng = np.random.default_rng(1)
    x, y = rng.random((2, 40, 3))
    y[3, 1] = np.nan
    x, y = (pd.DataFrame(a, columns=["s1", "s2", "s3"]) for a in (x, y))
    expected = np.mean([stats.spearmanr(x[s], y[s], nan_policy="omit").statistic for s in x])
    mean, low, high = rank_correlation(x, y, 500, 0.95, 0)
    assert mean == pytest.approx(expected) and low < mean < high
    covered = 0
    for i in range(150):
        a, b = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 80).T
        _, low, high = rank_correlation(pd.DataFrame({"s": a}), pd.DataFrame({"s": b}), 200, 0.95, i)
        covered += low <= 6 / np.pi * np.arcsin(0.25) <= high  # Spearman's of a correlation of 0.5
    assert 132 <= covered <= 149


def test_what_does_not_vary_has_no_correlation():
    constant = pd.DataFrame({"s": np.ones(9)})
    rising = pd.DataFrame({"s": np.arange(9.0)})
    assert np.isnan(rank_correlation(rising, constant, 50, 0.95, 0)).all()
    one_hit = pd.DataFrame({"s": np.eye(9)[2]})  # a third of the resamples hold no hit
    assert np.isnan(rank_correlation(rising, one_hit, 200, 0.95, 0)).all()


def test_figure_is_drawn_for_any_number_of_metrics(design, planted, tmp_path):
    metrics = {f"id{n}": design.metrics["id"] for n in range(4)}
    scores, known = planted
    scores = pd.concat([scores.assign(metric=name) for name in metrics])
    design = replace(design, metrics=metrics)
    save_figure(similarity_curves(with_similarity(scores, known, design), design, "all"), tmp_path / "figure")
    assert (tmp_path / "figure.svg").stat().st_size > 10_000
