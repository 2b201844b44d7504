from itertools import product

import numpy as np
import pandas as pd
import pytest
from designs import small_design

from fmri2img.reporting.design import GAP
from fmri2img.reporting.estimates import estimates
from fmri2img.reporting.leaderboard import flips_needed, leaderboard_table, rank_methods, scale_end, scale_note
from fmri2img.stats.multiplicity import holm

N_IMAGES = 30
# Planted: two methods that differ only by chance, one clearly worse, chance level, ceiling.
LEVELS = {"first": 0.7, "twin": 0.7, "worse": 0.6, "shuffled": 0.5, "true": 0.9}


@pytest.fixture
def design():
    return small_design(
        methods={
            "first": {"title": "First", "kind": "decoder"},
            "twin": {"title": "Twin", "kind": "decoder"},
            "worse": {"title": "Worse", "kind": "stage", "of": "first"},
            "shuffled": {"title": "Shuffled", "kind": "control", "of": "first", "scale": {"floor": ["images"]}},
            "true": {"title": "True tokens", "kind": "control", "scale": {"ceiling": ["images"]}},
        },
        metrics={
            "identification": {
                "title": "Identification",
                "range": [0, 1],
                "higher_is_better": True,
                "chance": 0.5,
                "needs": "images",
            },
            "distance": {
                "title": "Distance",
                "range": [0, 2],
                "higher_is_better": False,
                "chance": None,
                "needs": "images",
            },
        },
    )


@pytest.fixture
def scores(design):
    rng, parts = np.random.default_rng(0), []
    for method, sessions, subject, seed in product(
        design.methods, design.budgets.values(), design.subjects, design.seeds
    ):
        noise = rng.normal(0, 0.05, N_IMAGES)
        value = LEVELS[method] + 0.02 * seed + noise - noise.mean()
        for metric, values in {"identification": value, "distance": 1.5 - value}.items():
            key = {"method": method, "subject": subject, "sessions": sessions[subject], "seed": seed}
            key |= {"split": "shared1000", "metric": metric, "image_id": np.arange(N_IMAGES) * 10, "value": values}
            parts.append(pd.DataFrame(key))
    return pd.concat(parts, ignore_index=True)


def of(board, metric, budget="all"):
    return board[(board["metric"] == metric) & (board["budget"] == budget)].set_index("method")


@pytest.mark.parametrize("metric", ["identification", "distance"])
def test_ranks_and_letters_of_planted_methods(scores, design, metric):
    """The same order in either direction of the metric: twins tie, the worse one follows, controls have no rank."""
    board, _ = rank_methods(scores, estimates(scores, design), design)
    found = of(board, metric)
    assert set(found.index[:2]) == {"first", "twin"} and list(found.index[2:]) == ["worse", "true", "shuffled"]
    assert found.loc[["first", "twin", "worse"], "rank"].tolist() == [1, 1, 3]
    assert found.loc[["shuffled", "true"], "rank"].isna().all()
    assert found["group"].to_dict() == {"true": "a", "first": "b", "twin": "b", "worse": "c", "shuffled": "d"}
    assert np.isnan(found["p_first"].iloc[0])
    assert found["p_first"].iloc[1] > 0.05 > found.loc["worse", "p_first"]


@pytest.mark.parametrize("metric", ["identification", "distance"])
def test_normalised_scores_and_seed_spread_of_planted_levels(scores, design, metric):
    found = of(rank_methods(scores, estimates(scores, design), design)[0], metric)
    assert found["normalised"].to_dict() == pytest.approx(
        {"true": 1, "first": 0.5, "twin": 0.5, "worse": 0.25, "shuffled": 0}
    )
    assert (found.loc["first", "normalised_low"], found.loc["shuffled", "normalised_high"]) == pytest.approx(
        (0.5, 0), abs=0.06
    )
    assert found["floor"].eq("shuffled").all() and found["ceiling"].eq("true").all()
    np.testing.assert_allclose(found["seed_sd"], np.std([0, 0.02], ddof=1))


def test_comparisons_are_corrected_within_budget_and_metric(scores, design):
    _, compared = rank_methods(scores, estimates(scores, design), design)
    assert len(compared) == 2 * 2 * 10
    for _, pairs in compared.groupby(["budget", "metric"]):
        np.testing.assert_allclose(pairs["p_holm"], holm(pairs["p"].to_numpy()))
    pair = compared[(compared["budget"] == "1") & (compared["metric"] == "identification")]
    pair = pair[(pair["method"] == "first") & (pair["other"] == "true")]
    assert pair["difference"].item() == pytest.approx(-0.2)


def test_incomplete_cells_are_neither_ranked_nor_compared(scores, design):
    lacking = (scores["method"] == "twin") & (scores["image_id"] == 0) & (scores["seed"] == 1)
    scores = scores[~lacking]
    board, compared = rank_methods(scores, estimates(scores, design), design)
    found = of(board, "identification")
    assert found.index[-1] == "twin" and pd.isna(found.loc["twin", "rank"]) and pd.isna(found.loc["twin", "group"])
    assert found.loc["worse", "rank"] == 2
    assert "twin" not in set(compared["method"]) | set(compared["other"])
    page = leaderboard_table(board, design, "all")
    row = next(row for row in page.rows if row.heads[2] == "Twin")
    assert {cell.mean for cell in row.cells} == {GAP}


def test_no_scores_at_all_give_a_page_of_gaps(scores, design):
    board, compared = rank_methods(scores[:0], estimates(scores[:0], design), design)
    assert len(board) == 20 and board["mean"].isna().all() and compared.empty
    assert GAP in leaderboard_table(board, design, "1").markdown()


def test_page_says_what_was_done(scores, design):
    board, _ = rank_methods(scores, estimates(scores, design), design)
    page = leaderboard_table(board, design, "all")
    assert [row.rule_above for row in page.rows] == [False] * 5 + [True] + [False] * 4
    assert page.rows[0].heads[:2] == ["Identification", "1"] and page.rows[1].heads[0] == ""
    for text in ("Holm", "0 at “Shuffled”, 1 at “True tokens”", "Simulated data", "2 seeds"):
        assert text in page.note
    for text in (page.markdown(), page.latex(), page.html()):
        assert "71.0" in text and "0.50" in text and "0.001" in text


def test_scale_ends_nearest_to_the_method(design):
    methods = design.methods | {
        "own": {"title": "Own", "kind": "control", "of": "twin", "scale": {"floor": ["images"]}}
    }
    object.__setattr__(design, "methods", methods)
    assert scale_end(design, "twin", "floor", "distance") == "own"
    assert (
        scale_end(design, "worse", "floor", "distance") == scale_end(design, "first", "floor", "distance") == "shuffled"
    )
    del methods["true"]
    assert scale_end(design, "first", "ceiling", "distance") == ""


def test_each_metric_has_the_scale_of_what_it_needs(design):
    """A true image's words end the scale of captions, not the one drawn from its true tokens."""
    words = {"title": "Words", "range": [0, 1], "higher_is_better": True, "chance": None, "needs": "captions"}
    object.__setattr__(design, "metrics", design.metrics | {"words": words})
    captioner = {"title": "Captioner", "kind": "control", "scale": {"ceiling": ["captions"]}}
    object.__setattr__(design, "methods", {"captioner": captioner} | design.methods)
    assert scale_end(design, "first", "ceiling", "distance") == "true"
    assert scale_end(design, "first", "ceiling", "words") == "captioner"
    assert scale_end(design, "first", "floor", "words") == ""


def test_the_note_tells_scales_of_different_metrics_apart(design):
    board = pd.DataFrame({"metric": ["identification", "distance"], "normalised": [0.5, 0.4], "floor": "shuffled"})
    one = scale_note(board.assign(ceiling="true"), design)
    assert one == "Normalised: 0 at “Shuffled”, 1 at “True tokens”."
    two = scale_note(board.assign(ceiling=["true", "first"]), design)
    assert "1 at “True tokens” (Identification); or 0 at" in two and "1 at “First” (Distance)" in two


def test_enough_flips_for_the_least_p_to_survive_the_correction():
    assert flips_needed(5, 0.05) == 10_000
    n = flips_needed(30, 0.05)
    assert holm(np.array([1 / (n + 1), *np.ones(434)]))[0] < 0.05
