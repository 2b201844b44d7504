"""Metrics with one value for all images (FID, voxel correlation): shown without interval, and kept out of everything
that resamples, compares or picks images."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from designs import DISCLOSURE, small_design

from fmri2img.artifacts.prediction import save_prediction
from fmri2img.artifacts.scores import WHOLE_SET
from fmri2img.metrics.registry import read_metrics
from fmri2img.reporting import claims, paper_tables, similarity, tables
from fmri2img.reporting.estimates import estimates
from fmri2img.reporting.figures import session_curves, similarity_curves, subject_bars
from fmri2img.reporting.leaderboard import leaderboard_table, rank_methods
from fmri2img.reporting.published import read_published
from fmri2img.reporting.ranking import ranking
from fmri2img.reporting.style import save_figure
from fmri2img.stats.bootstrap import image_values, summarise

CONFIG = Path(__file__).parents[2] / "config"
REGISTRY = read_metrics(CONFIG / "metrics.yaml")
N_IMAGES = 25
FID = {"good": 3.0, "bad": 9.0, "floor": 12.0, "ceiling": 1.0}
FIRST = {"rows": ["method"], "methods": ["*"], "metrics": ["*"], "title": "At {budget}"}


@pytest.fixture
def design():
    return small_design(
        simulated=False,
        methods={
            "bad": {"title": "Bad", "kind": "decoder", "outputs": ["images"]},
            "good": {"title": "Good", "kind": "decoder", "outputs": ["images"]},
            "floor": {"title": "Floor", "kind": "control", "outputs": ["images"], "scale": {"floor": ["images"]}},
            "ceiling": {"title": "Ceiling", "kind": "control", "outputs": ["images"], "scale": {"ceiling": ["images"]}},
        },
        metrics={
            "identification": REGISTRY["identification_clip"],
            "fid_inception": REGISTRY["fid_inception"],
        },
        budgets={"1": {"subj01": 1, "subj02": 1}, "all": {"subj01": 40, "subj02": 40}},
        resamples=200,
    )


@pytest.fixture
def scores(design):
    """FID of subject 2 is 2 above that of subject 1, and of seed 1 it is 1 above that of seed 0."""
    rng, parts = np.random.default_rng(0), []
    for method, sessions, (s, subject), seed in product(
        design.methods, design.budgets.values(), enumerate(design.subjects), design.seeds
    ):
        key = {"method": method, "subject": subject, "sessions": sessions[subject], "seed": seed, "split": "shared1000"}
        values = 0.8 - FID[method] / 40 + rng.normal(0, 0.02, N_IMAGES)
        parts.append(
            pd.DataFrame(key | {"metric": "identification", "image_id": np.arange(N_IMAGES) * 7, "value": values})
        )
        value = FID[method] + 2 * s + seed
        parts.append(pd.DataFrame(key | {"metric": "fid_inception", "image_id": [WHOLE_SET], "value": [value]}))
    return pd.concat(parts, ignore_index=True)


def of(table, metric):
    return table[(table["metric"] == metric) & (table["budget"] == "all")].set_index("method")


def test_mean_over_seeds_and_subjects_without_interval(scores, design):
    cells = of(estimates(scores, design), "fid_inception")
    expected = {method: level + 1.5 for method, level in FID.items()}
    assert cells["mean"].to_dict() == pytest.approx(expected)
    assert cells[["low", "high"]].isna().all(axis=None) and (cells["n_images"] == 0).all()
    by_subject = of(estimates(scores, design, by_subject=True), "fid_inception")
    assert by_subject.loc["good", "mean"].tolist() == [3.5, 5.5]


def test_seeds_are_averaged_before_subjects(scores):
    """A subject with one seed weighs as much as one with two."""
    fid = scores[(scores["metric"] == "fid_inception") & (scores["sessions"] == 1) & (scores["method"] == "good")]
    fewer = fid[~((fid["subject"] == "subj02") & (fid["seed"] == 1))]
    assert summarise(fewer, ["method", "metric"])["mean"].item() == pytest.approx((3.5 + 5.0) / 2)


def test_an_interval_of_images_is_the_same_with_and_without_whole_set_rows(scores, design):
    images = scores[scores["metric"] == "identification"]
    both = [summarise(rows, ["method", "sessions", "metric"], 300) for rows in (scores, images)]
    found = both[0][both[0]["metric"] == "identification"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, both[1], check_dtype=False)
    assert WHOLE_SET not in image_values(scores, ["metric", "method", "sessions"]).index


def test_two_values_for_one_prediction_are_refused(scores):
    with pytest.raises(ValueError, match="two values"):
        summarise(scores, ["method", "metric"])


def test_a_missing_prediction_is_a_gap(scores, design):
    hole = (scores["method"] == "bad") & (scores["subject"] == "subj02") & (scores["image_id"] == WHOLE_SET)
    cells = of(estimates(scores[~(hole & (scores["seed"] == 1))], design), "fid_inception")
    assert np.isnan(cells.loc["bad", "mean"]) and cells["mean"].notna().sum() == 3


def test_listed_from_best_to_worst_but_neither_ranked_nor_compared(scores, design):
    board, compared = rank_methods(scores, estimates(scores, design), design)
    fid = of(board, "fid_inception")
    assert list(fid.index) == ["good", "bad", "ceiling", "floor"]
    empty = ["rank", "group", "p_first", "normalised", "normalised_low", "normalised_high"]
    assert fid[empty].isna().all(axis=None)
    assert fid["seed_sd"].to_numpy() == pytest.approx(np.sqrt(0.5))
    assert set(compared["metric"]) == {"identification"}
    assert of(board, "identification")["rank"].dropna().tolist() == [1, 2]
    page = leaderboard_table(board, design, "all")
    row = next(row for row in page.rows if row.heads[0] == "FID (Inception)")
    assert [str(cell) for cell in row.cells[:4]] == ["4.500", "", "", "—"]


def test_tables_show_the_value_the_warning_and_the_true_number_of_images(scores, design):
    page = tables.lay_out(FIRST, estimates(scores, design), design, "all")
    good = next(row for row in page.rows if row.heads == ["Good"])
    assert str(good.cells[1]) == "4.500" and "[" in str(good.cells[0])
    assert f"{N_IMAGES} test images" in page.note
    assert "without interval: FID (Inception)." in page.note
    assert "FID (Inception): biased at this sample size" in page.note
    without = tables.lay_out(FIRST | {"metrics": ["identification"]}, estimates(scores, design), design, "all")
    assert "biased" not in without.note and "without interval" not in without.note


def test_every_distance_between_sets_carries_a_warning():
    assert all("warning" in entry for entry in REGISTRY.values() if entry["function"] in ("fid", "kid"))


def test_claims_are_not_judged_without_an_interval(scores, design):
    asked = {
        "kind": "check",
        "claim": "Good beats bad",
        "test": "beats",
        "methods": "good",
        "than": "bad",
        "metrics": ["*"],
    }
    judged = claims.judge_claims([asked], scores, estimates(scores, design), design)
    assert set(judged["metric"]) == {"identification"} and judged["met"].all()


def test_never_beside_single_images(scores, design, tmp_path):
    ranked = ranking(scores, design, "subj01", ["identification"], {})
    assert WHOLE_SET not in ranked.ids and len(ranked.ids) == N_IMAGES
    shares = replace(design, metrics={"set": design.metrics["fid_inception"] | {"range": [0, 1]}})
    ids = np.array([4, 9, 30])
    cell = {"method": "good", "subject": "subj01", "sessions": 40, "seed": 0, "test_set": "shared1000"}
    metadata = cell | {"split": "shared1000", "split_sha256": "0", "disclosure": DISCLOSURE}
    save_prediction(tmp_path / "p", ids, metadata, images=np.zeros((3, 8, 8, 3), np.uint8))
    listed = ranking(scores.assign(metric="set"), shares, "subj01", ["*"], {("good", "subj01", 40, 0): tmp_path / "p"})
    assert listed.ids.tolist() == [4, 9, 30] and listed.at([0, 1]) == {0: 4, 1: 30} and listed.score(4) == ""

    key = scores.loc[scores["image_id"] != WHOLE_SET, ["subject", "sessions", "image_id"]].drop_duplicates()
    near = key.assign(nearest=1, cosine=np.random.default_rng(0).random(len(key)))
    of_images = design.of_images()
    effects = similarity.similarity_effects(similarity.with_similarity(scores, near, of_images), of_images)
    assert set(effects["metric"]) == {"identification"} and effects["n_images"].eq(N_IMAGES).all()
    alone = replace(design, metrics={"fid_inception": design.metrics["fid_inception"]}).of_images()
    labelled = similarity.with_similarity(scores, near, alone)
    assert similarity.similarity_effects(labelled, alone).empty
    save_figure(similarity_curves(labelled, alone, "all"), tmp_path / "similarity")
    assert "No metric of the study" in (tmp_path / "similarity.svg").read_text()


def test_pseudo_values_say_nothing_of_an_image(design):
    """KID's values have a mean and an interval, and no part in what looks at single images."""
    with_kid = replace(design, metrics=design.metrics | {"kid_inception": REGISTRY["kid_inception"]})
    assert set(with_kid.of_images().metrics) == {"identification"}


def test_figures_draw_points_without_bands(scores, design, tmp_path):
    cells, by_subject = estimates(scores, design), estimates(scores, design, by_subject=True)
    save_figure(session_curves(cells, design), tmp_path / "sessions")
    save_figure(subject_bars(scores, by_subject, design, "all"), tmp_path / "subjects")
    assert (tmp_path / "subjects.svg").stat().st_size > 0


def test_beside_a_published_number_there_is_no_verdict(scores, design):
    rows = read_published(CONFIG / "published")
    row = rows[(rows["file"] == "mindeye2_table01") & (rows["method"] == "mindeye2") & (rows["metric"] == "pixcorr")]
    row = row[row["sessions"] == 40].assign(entry=0, our_method="good", subject="subj01+subj02", metric="fid_inception")
    found = paper_tables.compare(row, scores, design).iloc[0]
    assert found["ours"] == pytest.approx(4.5) and found["verdict"] == paper_tables.NO_INTERVAL
