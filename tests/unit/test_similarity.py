from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from designs import small_design
from recordings import small_recording
from scipy import stats

from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.reporting.design import GAP
from fmri2img.reporting.figures import similarity_curves
from fmri2img.reporting.similarity import similarity_effects, similarity_table, with_similarity
from fmri2img.reporting.style import save_figure
from fmri2img.stats.correlation import rank_correlation
from measure_similarity import measure_similarity

N_IMAGES = 60


@pytest.fixture
def design():
    return small_design(
        methods={
            "recalls": {"title": "Recalls", "kind": "decoder"},
            "knows": {"title": "Knows", "kind": "decoder"},
            "missing": {"title": "Missing", "kind": "control"},
        },
        metrics={"id": {"title": "Identification", "range": [0, 1], "higher_is_better": True, "chance": 0.5}},
    )  # fmt: skip


@pytest.fixture
def planted(design):
    """One method's score rises with similarity, the other's has nothing to do with it."""
    rng, known, scores = np.random.default_rng(0), [], []
    for subject, budget in product(design.subjects, design.budgets.values()):
        key = {"subject": subject, "sessions": budget[subject], "image_id": np.arange(N_IMAGES)}
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


def test_a_copy_of_a_test_image_under_another_id_is_named_where_it_is_measured(tmp_path, capsys):
    recording = Recording.open(small_recording(tmp_path / "recording", "subj01", 2))
    ids = np.array([0, 1, 2, 3, 4, 90, 91, 92])  # the last three are tested on
    tokens = np.random.default_rng(0).standard_normal((8, 4, 6)) + 20

    def measured(sessions):
        save_embeddings(tmp_path / "embeddings", ids, tokens, {})
        measure_similarity(recording, Embeddings.open(tmp_path / "embeddings"), sessions, tmp_path / "table.parquet")
        return capsys.readouterr().out

    assert "Warning" not in measured(3)
    tokens[2] = tokens[5] + 1e-3  # image 90 is shown as image 2 too, from the second session on
    assert "Warning" not in measured(1)
    assert "Warning: 1 of 3 test images have a copy" in (said := measured(3)) and "90 (as 2)" in said
    assert pd.read_parquet(tmp_path / "table.parquet")["nearest"].tolist()[0] == 2


def test_copies_are_counted_in_the_table_and_its_note(design, planted):
    scores, known = planted
    effects = similarity_effects(with_similarity(scores, known, design), design)
    assert "No test image has a copy" in similarity_table(effects, design, "all").note
    known.loc[known["image_id"].isin([4, 5]) & (known["subject"] == "subj02") & (known["sessions"] == 6), "cosine"] = (
        1.0
    )
    known.loc[known["image_id"].isin([5, 6]) & (known["subject"] == "subj01") & (known["sessions"] == 8), "cosine"] = (
        0.999
    )
    effects = similarity_effects(with_similarity(scores, known, design), design)
    assert effects.groupby("budget")["n_copies"].unique().map(list).to_dict() == {"1": [0], "all": [3]}
    assert "Caution: 3 test images have a copy" in similarity_table(effects, design, "all").note
    assert "No test image has a copy" in similarity_table(effects, design, "1").note
    assert "copy" not in similarity_table(effects.iloc[:0], design, "1").note


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
