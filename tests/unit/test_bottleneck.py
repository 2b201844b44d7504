"""The bottleneck between brain and embedding: its directions, the recordings behind it, and the curve of scores."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from configurations import DEMO
from designs import small_design
from recordings import small_recording

from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.errors import UserError
from fmri2img.linear.bottleneck import bottleneck_directions, restrict
from fmri2img.linear.decoder import fit
from fmri2img.reporting.bottleneck import ALL, bottleneck_effects, bottleneck_table, with_dimensions
from fmri2img.reporting.design import Design
from fmri2img.reporting.figures import bottleneck_curves
from fmri2img.reporting.style import save_figure
from fmri2img.study import Study

REPOSITORY = Path(__file__).parents[2]
ALPHA, SIGNAL, VOXELS = 20.0, 3, 50


@pytest.fixture
def brain(tmp_path):
    """Tokens are made of three latents, which the brain carries weakly; its loudest dimensions say nothing of them."""
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(1000, 200, replace=False))
    latents = rng.standard_normal((200, SIGNAL))
    tokens = (latents * [3, 2, 1]) @ rng.standard_normal((SIGNAL, 30))
    save_embeddings(tmp_path / "e", ids, tokens.reshape(200, 3, 10) + 5, {})
    image = rng.permutation(np.repeat(np.arange(200), 2))
    loud = rng.standard_normal((len(image), 6)) @ rng.standard_normal((6, VOXELS))
    quiet = rng.standard_normal((len(image), VOXELS))
    betas = 0.8 * latents[image] @ rng.standard_normal((SIGNAL, VOXELS)) + 3 * loud + 0.5 * quiet
    return betas.astype(np.float32), ids[image], Embeddings.open(tmp_path / "e")


def directions(betas, image_ids, embeddings, dimensions):
    decoder = fit(betas, image_ids, embeddings, [ALPHA], folds=3, seed=0)
    return bottleneck_directions(decoder, betas, image_ids, embeddings, dimensions)


@pytest.mark.parametrize("trials", [400, 40])  # more trials than voxels, and fewer
def test_directions_are_those_of_reduced_rank_ridge_regression(brain, trials):
    """By brute force: weights of all targets, and the singular vectors of what they predict of the augmented data."""
    betas, image_ids, embeddings = brain[0][:trials], brain[1][:trials], brain[2]
    x = (betas - betas.mean(axis=0)).astype(np.float64)
    y = np.asarray(embeddings.tokens, np.float64).reshape(200, -1)[embeddings.rows(image_ids)]
    weights = np.linalg.solve(x.T @ x + ALPHA * np.eye(VOXELS), x.T @ (y - y.mean(axis=0)))
    predicted = np.concatenate([x, np.sqrt(ALPHA) * np.eye(VOXELS)]) @ weights
    right = np.linalg.svd(predicted, full_matrices=False)[2]
    found = directions(betas, image_ids, embeddings, 3)
    for k in (1, 2, 3):
        expected = np.linalg.qr(weights @ right[:k].T)[0]
        angles = np.linalg.svd(expected.T @ found[:, :k], compute_uv=False)
        np.testing.assert_allclose(angles, 1, atol=1e-4)
    np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-5)


def test_fewer_dimensions_are_the_first_of_more(brain):
    few, many = directions(*brain, 1), directions(*brain, 3)
    np.testing.assert_allclose(np.abs((few * many[:, :1]).sum(axis=0)), 1, atol=1e-5)


def held_out_error(betas, image_ids, embeddings, basis):
    """Relative squared error on the last hundred trials of least squares from what `basis` lets through."""
    y = np.asarray(embeddings.tokens, np.float64).reshape(200, -1)[embeddings.rows(image_ids)]
    y = y - y.mean(axis=0)
    x = betas @ basis
    weights = np.linalg.lstsq(x[:-100], y[:-100], rcond=None)[0]
    return ((x[-100:] @ weights - y[-100:]) ** 2).sum() / (y[-100:] ** 2).sum()


def test_three_latents_pass_through_three_dimensions_and_not_through_the_loudest(brain):
    betas = brain[0] - brain[0].mean(axis=0)
    found = directions(*brain, 3)
    loudest = np.linalg.svd(betas, full_matrices=False)[2][:3].T
    errors = [held_out_error(betas, *brain[1:], found[:, :k]) for k in (1, 2, 3)]
    everything = held_out_error(betas, *brain[1:], np.eye(VOXELS))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1.3 * everything
    assert held_out_error(betas, *brain[1:], loudest) > 0.8


def test_more_dimensions_than_the_targets_have_are_refused(brain):
    with pytest.raises(UserError, match=r"dimensions: 4 requested, but 400 training trials of 200 images span 3"):
        directions(*brain, 4)


def test_a_restricted_recording_has_that_rank_and_is_otherwise_the_same(tmp_path):
    recording = Recording.open(small_recording(tmp_path / "full", "subj01", 7))
    rng = np.random.default_rng(0)
    full = Recording(recording.path, rng.standard_normal((9, 7)).astype(np.float32), *[
        getattr(recording, part) for part in ("trials", "voxels", "metadata")
    ])  # fmt: skip
    basis, centre = np.linalg.qr(rng.standard_normal((7, 2)))[0].astype(np.float32), np.arange(7, dtype=np.float32)
    restrict(full, basis, centre, tmp_path / "restricted")
    found = Recording.open(tmp_path / "restricted")
    deviations = found.betas - centre
    np.testing.assert_allclose(deviations @ basis, (full.betas - centre) @ basis, atol=1e-5)
    assert np.linalg.matrix_rank(deviations, tol=1e-4) == 2
    pd.testing.assert_frame_equal(found.trials, full.trials)
    pd.testing.assert_frame_equal(found.voxels, full.voxels)
    assert found.metadata == full.metadata | {"bottleneck": 2}


N_IMAGES = 40
LEVELS = {1: 0.55, 8: 0.70, ALL: 0.80}


@pytest.fixture
def design():
    metrics = {
        "id": {"title": "Identification", "range": [0, 1], "higher_is_better": True, "chance": 0.5, "needs": "images"}
    }
    metrics["distance"] = {
        "title": "Distance",
        "range": [0, 2],
        "higher_is_better": False,
        "chance": None,
        "needs": "images",
    }
    return small_design(
        methods={
            "ridge": {"title": "Ridge", "kind": "decoder"},
            "shuffled": {"title": "Shuffled", "kind": "control", "of": "ridge", "scale": {"floor": ["images"]}},
        },
        metrics=metrics,
    )  # fmt: skip


def scores(design, method, level):
    rng, parts = np.random.default_rng(1), []
    for sessions, subject, seed in product(design.budgets.values(), design.subjects, design.seeds):
        noise = rng.normal(0, 0.03, N_IMAGES)
        value = level + noise - noise.mean() - 0.2 * (sessions[subject] == 1)
        key = {"method": method, "subject": subject, "sessions": sessions[subject], "seed": seed}
        for metric, values in {"id": value, "distance": 1.5 - value}.items():
            parts.append(pd.DataFrame(key | {"metric": metric, "image_id": np.arange(N_IMAGES), "value": values}))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def effects(design):
    full = pd.concat([scores(design, "ridge", LEVELS[ALL]), scores(design, "shuffled", 0.5)])
    restricted = pd.concat([scores(design, "ridge", LEVELS[k]).assign(dimensions=k) for k in (1, 8)])
    return bottleneck_effects(with_dimensions(full, restricted, design), ["ridge"], design)


def test_shares_of_the_way_from_the_floor_to_all_voxels(effects):
    """At the longest budget: (0.70 - 0.5) / (0.80 - 0.5), whichever direction is better."""
    found = effects.set_index(["metric", "dimensions"])
    for k, level in LEVELS.items():
        assert found.loc[("id", k), "mean"] == pytest.approx(level)
        for metric in ("id", "distance"):
            assert found.loc[(metric, k), "share"] == pytest.approx((level - 0.5) / 0.3)
            assert found.loc[(metric, k), "share_low"] <= found.loc[(metric, k), "share"] + 1e-9
    assert found.loc[("distance", 8), "low"] < 0.8 < found.loc[("distance", 8), "high"]
    assert set(effects["method"]) == {"ridge"} and len(effects) == 6


def test_table_ends_with_all_voxels_and_figure_draws(effects, design, tmp_path):
    page = bottleneck_table(effects, design)
    assert [row.heads for row in page.rows] == [["Ridge", "1"], ["", "8"], ["", "all voxels"]]
    assert page.rows[1].cells[0].mean == "70.0" and page.rows[1].cells[0].interval.endswith("] 67 %")
    save_figure(bottleneck_curves(effects, design), tmp_path / "curve")
    assert (tmp_path / "curve.svg").stat().st_size > 0


def test_without_a_floor_there_are_scores_and_no_shares(design):
    alone = {"ridge": design.methods["ridge"]}
    design = Design(**vars(design) | {"methods": alone})
    restricted = scores(design, "ridge", 0.6).assign(dimensions=2)
    found = bottleneck_effects(with_dimensions(scores(design, "ridge", 0.8), restricted, design), ["ridge"], design)
    assert found["share"].isna().all() and found["mean"].notna().all()
    bottleneck_curves(found, design)


def study(**changes):
    return Study(DEMO | changes)


def test_the_curve_is_of_decoders_that_are_fitted_and_drawn():
    curve = {"methods": ["ridge", "mindeye2_unrefined"], "directions": "ridge", "dimensions": [2]}
    assert study(bottleneck=curve).bottlenecked == ["ridge", "mindeye2_unrefined"]
    assert study(bottleneck=curve, methods=["ridge"]).bottlenecked == ["ridge"]
    with pytest.raises(
        UserError, match=r"bottleneck\.methods': mindeye2_refined is not fitted .*; use one of .*mindeye2_unrefined, "
    ):
        study(bottleneck=curve | {"methods": ["mindeye2_refined"]})
    with pytest.raises(UserError, match="did you mean 'ridge'"):
        study(bottleneck=curve | {"methods": ["rigde"]})
