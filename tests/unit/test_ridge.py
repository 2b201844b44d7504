import numpy as np
import pytest
from sklearn.linear_model import Ridge

from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.errors import UserError
from fmri2img.linear.decoder import LinearDecoder, fit
from fmri2img.linear.solver import RidgeSystem

REPEATS = 2  # trials that a decoded row is the mean of


@pytest.fixture
def data(tmp_path):
    """A linear brain: 150 images, 1 to 3 trials each, betas = latents @ mixing + noise, tokens = latents @ reading."""
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(1000, 150, replace=False))
    latents = rng.standard_normal((150, 8))
    tokens = (latents @ rng.standard_normal((8, 60)) + 3 + 0.3 * rng.standard_normal((150, 60))).reshape(150, 5, 12)
    save_embeddings(tmp_path / "embeddings", ids, tokens, {"encoder": "planted"})
    image = rng.permutation(np.repeat(np.arange(150), rng.integers(1, 4, 150)))
    betas = latents[image] @ rng.standard_normal((8, 40)) + 2 * rng.standard_normal((len(image), 40))
    return betas.astype(np.float32), ids[image], Embeddings.open(tmp_path / "embeddings")


@pytest.mark.parametrize("n_trials", [300, 30])  # primal, dual
def test_weights_and_readout_equal_sklearn(data, n_trials):
    betas, image_ids, embeddings = data
    betas, held_out = betas[:n_trials], betas[-7:]
    image = embeddings.rows(image_ids)[:n_trials]
    tokens = np.asarray(embeddings.tokens, np.float64).reshape(len(embeddings.ids), -1)
    expected = Ridge(alpha=37.0).fit(betas.astype(np.float64), tokens[image]).predict(held_out)

    system = RidgeSystem(betas, image, len(tokens))
    assert system.dual == (n_trials < betas.shape[1])
    np.testing.assert_allclose(system.weights(held_out, 37.0) @ tokens, expected, atol=2e-4)
    weights = (held_out - system.voxel_mean) @ system.readout(37.0) + system.image_mean
    np.testing.assert_allclose(weights @ tokens, expected, atol=2e-4)


def test_primal_and_dual_agree_where_they_meet(data):
    betas, image_ids, embeddings = data
    image = embeddings.rows(image_ids)
    square = RidgeSystem(betas[:40], image[:40], 150)
    wide = RidgeSystem(np.pad(betas[:40], ((0, 0), (0, 1))), image[:40], 150)  # a silent voxel makes it dual
    assert (square.dual, wide.dual) == (False, True)
    np.testing.assert_allclose(
        square.weights(betas[40:50], 5.0), wide.weights(np.pad(betas[40:50], ((0, 0), (0, 1))), 5.0), atol=1e-4
    )


def test_penalty_curve_equals_a_loop_over_folds_with_sklearn(data):
    betas, image_ids, embeddings = data
    alphas = [1.0, 100.0, 10000.0]
    fitted = fit(betas, image_ids, embeddings, alphas, folds=4, seed=3)

    ids = np.unique(image_ids)
    fold = np.random.default_rng(3).permutation(len(ids)) % 4
    tokens = np.asarray(embeddings.tokens, np.float64).reshape(len(ids), -1)
    means = np.stack([betas[image_ids == i].mean(axis=0) for i in ids])
    errors, baseline = np.zeros(3), 0.0
    held_out = np.zeros((3, *tokens.shape))
    for k in range(4):
        training = np.isin(image_ids, ids[fold != k])
        targets = tokens[np.searchsorted(ids, image_ids[training])]
        for a, alpha in enumerate(alphas):
            held_out[a, fold == k] = Ridge(alpha=alpha).fit(betas[training], targets).predict(means[fold == k])
            errors[a] += ((held_out[a, fold == k] - tokens[fold == k]) ** 2).sum()
        baseline += ((targets.mean(axis=0) - tokens[fold == k]) ** 2).sum()
    np.testing.assert_allclose(fitted.metadata["cv_r2"], 1 - errors / baseline, atol=1e-4)
    best = int(np.argmin(errors))
    assert fitted.metadata["alpha"] == alphas[best]

    gain, offset = fitted.calibration(REPEATS)
    calibrated = held_out[best] * gain + offset
    narrowing = fitted.narrowing(REPEATS)
    np.testing.assert_allclose(calibrated.mean(axis=0), tokens.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(calibrated.std(axis=0) * narrowing, tokens.std(axis=0), rtol=1e-3)
    correlations = [np.corrcoef(held_out[best][:, t], tokens[:, t])[0, 1] for t in range(tokens.shape[1])]
    assert fitted.metadata["cv_correlation"] == pytest.approx(np.mean(correlations), abs=1e-4)


@pytest.mark.parametrize("test_repeats", [1, 3, 12])
def test_decoded_spread_is_the_true_one_whatever_the_repeats(tmp_path, test_repeats):
    """600 training images seen once or twice; 500 new ones at 1, 3 and 12 repeats, noisy and few voxels."""
    rng = np.random.default_rng(2)
    latents = rng.standard_normal((1100, 8))
    tokens = latents @ rng.standard_normal((8, 60)) + 0.3 * rng.standard_normal((1100, 60))
    save_embeddings(tmp_path / "e", np.arange(1100), tokens.reshape(1100, 5, 12), {})
    image = rng.permutation(np.concatenate([np.arange(600), np.arange(200)]))
    mixing = rng.standard_normal((8, 30))
    betas = latents[image] @ mixing + 4 * rng.standard_normal((800, 30))
    test = latents[600:] @ mixing + 4 / np.sqrt(test_repeats) * rng.standard_normal((500, 30))
    embeddings = Embeddings.open(tmp_path / "e")
    fitted = fit(betas.astype(np.float32), image, embeddings, [10.0, 100.0, 1000.0], 5, 0)
    decoded = fitted.decode(test.astype(np.float32), embeddings, test_repeats).reshape(500, 60).astype(np.float64)
    assert np.median(decoded.std(axis=0) / tokens[600:].std(axis=0)) == pytest.approx(1, abs=0.06)


def test_no_image_is_in_two_folds(data):
    """Every image has its own random target: only a trial of the same image in training could predict it."""
    betas, image_ids, embeddings = data
    rng = np.random.default_rng(1)
    signature = rng.standard_normal((1000, betas.shape[1])).astype(np.float32)[image_ids] * 3
    noise_tokens = rng.standard_normal(embeddings.tokens.shape).astype(np.float32)
    save_embeddings(embeddings.path.parent / "noise", embeddings.ids, noise_tokens, {})
    fitted = fit(betas + signature, image_ids, Embeddings.open(embeddings.path.parent / "noise"), [100.0], 5, 0)
    assert fitted.metadata["cv_r2"][0] < 0


def test_tokens_in_many_blocks_give_the_same_decoder(data, monkeypatch):
    whole = fit(*data, alphas=[100.0], folds=3, seed=0)
    monkeypatch.setattr("fmri2img.artifacts.embeddings.BLOCK_VALUES", 150 * 12)  # one token at a time
    blocks = fit(*data, alphas=[100.0], folds=3, seed=0)
    np.testing.assert_allclose(blocks.calibration(REPEATS), whole.calibration(REPEATS), rtol=1e-4)
    np.testing.assert_allclose(blocks.metadata["cv_r2"], whole.metadata["cv_r2"], rtol=1e-4)
    given = data[0][:5], data[2], REPEATS
    np.testing.assert_array_equal(blocks.decode(*given), whole.decode(*given))


def test_saved_decoder_decodes_as_readout_times_tokens(data, tmp_path):
    betas, image_ids, embeddings = data
    fit(betas, image_ids, embeddings, [10.0, 1000.0], 5, 0).save(tmp_path / "decoder")
    opened = LinearDecoder.open(tmp_path / "decoder")
    tokens = np.asarray(embeddings.tokens, np.float32).reshape(150, -1)
    weights = opened.readout @ tokens[embeddings.rows(opened.ids)]
    intercept = opened.image_mean @ tokens[embeddings.rows(opened.ids)]
    gain, offset = opened.calibration(REPEATS)
    expected = gain * ((betas[:9] - opened.voxel_mean) @ weights + intercept) + offset
    decoded = opened.decode(betas[:9], embeddings, REPEATS)
    assert decoded.shape == (9, 5, 12) and decoded.dtype == np.float16
    np.testing.assert_allclose(decoded.reshape(9, -1), expected, atol=2e-2)


def test_same_seed_same_decoder(data):
    first, second, other = (fit(*data, alphas=[1.0, 100.0], folds=5, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.calibration(REPEATS), second.calibration(REPEATS))
    assert not np.array_equal(first.calibration(REPEATS), other.calibration(REPEATS))


def test_target_that_never_varies_is_decoded_as_its_mean(data):
    betas, image_ids, embeddings = data
    tokens = np.array(embeddings.tokens)
    tokens[:, 0, 0] = 7
    save_embeddings(embeddings.path.parent / "flat", embeddings.ids, tokens, {})
    flat = Embeddings.open(embeddings.path.parent / "flat")
    decoded = fit(betas, image_ids, flat, [10.0], 5, 0).decode(betas[:4], flat, REPEATS)
    np.testing.assert_array_equal(decoded[:, 0, 0], 7)


def test_fewer_images_than_folds_and_missing_tokens(data):
    betas, image_ids, embeddings = data
    few = np.isin(image_ids, np.unique(image_ids)[:3])
    with pytest.raises(UserError, match=r"^ridge\.folds: 5 folds need as many training images, but there are 3"):
        fit(betas[few], image_ids[few], embeddings, [1.0], 5, 0, folds_key="ridge.folds")
    with pytest.raises(UserError, match="lacks image_id 1001"):
        fit(betas, np.where(image_ids == image_ids[0], 1001, image_ids), embeddings, [1.0], 5, 0)
