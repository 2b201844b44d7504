"""The ridge solver against scikit-learn's Ridge, on shapes where shortcuts break."""

import tracemalloc

import numpy as np
import pytest
from records import unrecorded
from sklearn.linear_model import Ridge

from fmri2img.artifacts import embeddings as embeddings_module
from fmri2img.artifacts.axes import Axes
from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.errors import UserError
from fmri2img.linear.decoder import fit, image_means
from fmri2img.linear.solver import RidgeSystem

SHAPES = {  # name: trials, images, voxels, targets
    "more trials than voxels": (90, 40, 25, (3, 4)),
    "more voxels than trials": (40, 25, 90, (3, 4)),
    "as many trials as voxels": (30, 30, 30, (2, 2)),
    "one target": (60, 30, 20, (1, 1)),
    "one image": (4, 1, 10, (2, 3)),
    "one trial": (1, 1, 10, (2, 3)),
    "one voxel": (30, 20, 1, (2, 3)),
    "two trials and one voxel": (2, 2, 1, (1, 2)),
    "one row of values": (50, 30, 20, (1, 70)),
}


def example(tmp_path, trials, images, voxels, shape, seed=0, offset=3.0, metadata=None):
    """Betas of trials with uneven repeats, a constant voxel, and embeddings that have a constant target."""
    rng = np.random.default_rng(seed)
    image = np.concatenate([np.arange(images), rng.integers(0, max(images // 3, 1), trials - images)])
    rng.shuffle(image)
    latents = rng.standard_normal((images, 5))
    betas = latents[image] @ rng.standard_normal((5, voxels)) + rng.standard_normal((trials, voxels))
    betas[:, 0] = 0.25 if voxels > 1 else betas[:, 0]
    targets = latents @ rng.standard_normal((5, int(np.prod(shape)))) + offset
    targets[:, -1] = 2.5 if targets.shape[1] > 1 else targets[:, -1]
    ids = np.sort(rng.choice(10 * images, images, replace=False))
    save_embeddings(tmp_path / "e", ids, targets.reshape(images, *shape), metadata or {})
    return betas.astype(np.float32), ids[image], Embeddings.open(tmp_path / "e")


def predicted(decoder, betas, embeddings, repeats=1):
    """Predictions before they are rounded to float16, float64 (rows, targets)."""
    return np.concatenate([block for _, block in decoder.predictions(betas, embeddings, repeats)], axis=1, dtype=float)


def flat(embeddings, ids=None):
    rows = slice(None) if ids is None else embeddings.rows(ids)
    return embeddings.tokens[rows].reshape(-1, embeddings.axes.size).astype(np.float64)


@pytest.mark.parametrize("trials", ["single", "averaged"])
@pytest.mark.parametrize("alpha", [1e-2, 50.0, 1e6])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_fixed_penalty_equals_scikit_learn(tmp_path, shape, alpha, trials):
    betas, image_ids, embeddings = example(tmp_path, *SHAPES[shape])
    test = betas[:7] + np.random.default_rng(1).standard_normal(betas[:7].shape).astype(np.float32)
    decoder = fit(betas, image_ids, embeddings, [alpha], 5, 0, calibration="none", trials=trials)
    inputs, shown = betas.astype(np.float64), image_ids
    if trials == "averaged":
        shown, image = np.unique(image_ids, return_inverse=True)
        inputs = np.stack([inputs[image == i].mean(axis=0) for i in range(len(shown))])
    wanted = Ridge(alpha=alpha, solver="svd").fit(inputs, flat(embeddings, shown)).predict(test.astype(np.float64))
    found = predicted(decoder, test, embeddings)
    np.testing.assert_allclose(found, wanted.reshape(found.shape), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("trials", ["single", "averaged"])
def test_standardised_voxels_equal_scikit_learn_on_z_scores(tmp_path, trials):
    betas, image_ids, embeddings = example(tmp_path, 60, 60, 30, (3, 4))
    betas, kept = betas * np.linspace(0.1, 3, 30, dtype=np.float32), betas.copy()
    given = betas.copy()
    decoder = fit(betas, image_ids, embeddings, [20.0], 5, 0, "none", trials, standardised=True)
    np.testing.assert_array_equal(betas, given)  # not changed in place
    sd = betas.std(axis=0, ddof=1, dtype=float)
    sd[0] = 1  # the constant voxel
    wanted = Ridge(alpha=20.0).fit(betas / sd, flat(embeddings, image_ids)).predict(kept[:5] / sd)
    np.testing.assert_allclose(predicted(decoder, kept[:5], embeddings), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", ["more trials than voxels", "more voxels than trials"])
def test_a_part_of_the_trials_is_solved_like_those_trials_alone(tmp_path, shape):
    betas, image_ids, embeddings = example(tmp_path, *SHAPES[shape])
    image, images = embeddings.rows(image_ids), len(embeddings.ids)
    whole, training = RidgeSystem(betas, image, images), image % 3 != 0
    whole.readout(2.0)  # leaves a factor behind
    part = whole.part(training)
    for alpha in (2.0, 30.0):
        wanted = Ridge(alpha=alpha).fit(betas[training].astype(float), np.eye(images)[image[training]])
        np.testing.assert_allclose(part.weights(betas[:9], alpha), wanted.predict(betas[:9].astype(float)), atol=1e-5)


def test_each_group_has_the_penalty_that_predicts_it_best(tmp_path):
    """Two channels of a map of which one is noise: its penalty is the highest, the other's is not."""
    metadata = {"axes": Axes.channel_map(2, 3, 4).record()}
    betas, image_ids, embeddings = example(tmp_path, 150, 60, 30, (12, 2), metadata=metadata)
    values = np.array(embeddings.tokens, np.float64)
    values[..., 1] = np.random.default_rng(3).standard_normal(values.shape[:2])
    save_embeddings(tmp_path / "mixed", embeddings.ids, values, metadata)
    mixed, alphas, folds = Embeddings.open(tmp_path / "mixed"), [1.0, 300.0, 1e6], 4
    decoder = fit(betas, image_ids, mixed, alphas, folds, 7, calibration="none", per="channel")
    ids, image = np.unique(image_ids, return_inverse=True)
    fold, means, errors = np.random.default_rng(7).permutation(len(ids)) % folds, image_means(betas, image), 0
    for k in range(folds):
        training, out = fold[image] != k, fold == k
        fits = [Ridge(alpha=alpha).fit(betas[training], flat(mixed, image_ids[training])) for alpha in alphas]
        errors += np.array([((ridge.predict(means[out]) - flat(mixed, ids[out])) ** 2).sum(axis=0) for ridge in fits])
    channel = mixed.axes.groups("channel")
    best = np.array([errors[:, channel == c].sum(axis=1).argmin() for c in (0, 1)])
    assert best[0] < best[1] == 2
    assert decoder.metadata["groups_at"] == np.bincount(best, minlength=3).tolist()
    wanted = [Ridge(alpha=alphas[a]).fit(betas, flat(mixed, image_ids)).predict(betas[:5]) for a in best]
    wanted = np.where(channel == 0, *wanted)
    np.testing.assert_allclose(predicted(decoder, betas[:5], mixed), wanted, rtol=1e-4, atol=1e-4)
    # In the shape of a map.
    decoded = decoder.decode(betas[:5], mixed, 1)
    assert decoded.shape == (5, 2, 3, 4)
    np.testing.assert_allclose(decoded[:, 0].reshape(5, -1), wanted[:, channel == 0], rtol=2e-3, atol=2e-3)


def test_calibration_of_penalties_by_group_pools_the_groups(tmp_path):
    """With one penalty to choose from, groups change nothing."""
    betas, image_ids, embeddings = example(tmp_path, 90, 40, 25, (6, 5))
    whole = fit(betas, image_ids, embeddings, [20.0], 5, 0)
    each = fit(betas, image_ids, embeddings, [20.0, 20.0], 5, 0, per="value")
    assert each.metadata["held_out_variance"] == pytest.approx(whole.metadata["held_out_variance"], rel=1e-4)
    assert each.metadata["cv_r2"][0] == pytest.approx(whole.metadata["cv_r2"][0], abs=1e-5)
    np.testing.assert_allclose(
        predicted(each, betas[:9], embeddings, 2), predicted(whole, betas[:9], embeddings, 2), rtol=1e-4
    )


@pytest.mark.parametrize("trials", ["single", "averaged"])
def test_the_test_batch_gets_the_mean_and_spread_of_the_training_targets(tmp_path, trials):
    """Predictions standardised over the test images, then scaled to the training targets (Brain-Diffuser)."""
    betas, image_ids, embeddings = example(tmp_path, 90, 40, 25, (6, 5))
    test = betas[:12] * 0.5 + 0.1
    plain = fit(betas, image_ids, embeddings, [50.0], 5, 0, calibration="none", trials=trials)
    calibrated = fit(betas, image_ids, embeddings, [50.0], 5, 0, calibration="test_batch", trials=trials)
    raw, truth = predicted(plain, test, embeddings), flat(embeddings)
    wanted = (raw - raw.mean(axis=0)) / np.maximum(raw.std(axis=0), 1e-9) * truth.std(axis=0) + truth.mean(axis=0)
    found = predicted(calibrated, test, embeddings)
    np.testing.assert_allclose(found[:, :-1], wanted[:, :-1], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found[:, -1], 2.5)  # a target that does not vary
    with pytest.raises(UserError, match="test_batch takes its statistics from the test images, and there is only one"):
        calibrated.decode(test[:1], embeddings, 1)


def test_a_spread_without_noise_between_repeats_is_not_corrected(tmp_path):
    """Images seen once tell nothing of the noise of a trial."""
    betas, image_ids, embeddings = example(tmp_path, 40, 40, 25, (6, 5))
    decoder = fit(betas, image_ids, embeddings, [50.0], 5, 0)
    assert decoder.metadata["held_out_variance"]["trial_noise"] == 0
    assert decoder.narrowing(1) == decoder.narrowing(3) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda betas: betas[:0], r"^the recording: there is no training trial; use more sessions"),
        (lambda betas: np.where(np.arange(len(betas))[:, None] < 2, np.nan, betas), "2 of 60 training trials are not"),
        (lambda betas: np.where(np.arange(len(betas))[:, None] < 1, np.inf, betas), "1 of 60 training trials are not"),
    ],
)
def test_betas_that_cannot_be_used_end_in_one_line(tmp_path, change, message):
    betas, image_ids, embeddings = example(tmp_path, 60, 30, 20, (2, 2))
    used = change(betas).astype(np.float32)
    with pytest.raises(UserError, match=message):
        fit(used, image_ids[: len(used)], embeddings, [1.0], 5, 0, source="the recording")


def test_targets_that_are_not_finite_name_the_embeddings(tmp_path):
    betas, image_ids, _ = example(tmp_path, 60, 30, 20, (2, 2))
    tokens = np.load(tmp_path / "e" / "tokens.npy")
    tokens[3, 1, 1] = np.nan
    np.save(unrecorded(tmp_path / "e") / "tokens.npy", tokens)
    with pytest.raises(UserError, match="e: holds values that are not finite"):
        fit(betas, image_ids, Embeddings.open(tmp_path / "e"), [1.0], 5, 0)


def test_memory_does_not_grow_with_the_targets(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings_module, "BLOCK_VALUES", 2**14)
    betas, image_ids, _ = example(tmp_path, 60, 40, 50, (1, 1))
    peaks = []
    for width in (1_000, 20_000):
        values = np.random.default_rng(0).standard_normal((40, 1, width)).astype(np.float16)
        save_embeddings(tmp_path / str(width), np.unique(image_ids), values, {})
        embeddings = Embeddings.open(tmp_path / str(width))
        tracemalloc.start()
        decoder = fit(betas, image_ids, embeddings, [1.0, 10.0], 4, 0)
        for _ in decoder.predictions(betas[:20], embeddings, 1):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Per target only its moments, gain and offset; all targets in float32 would be 160 bytes for each.
    assert peaks[1] - peaks[0] < 19_000 * 100
