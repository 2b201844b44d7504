"""Encoding models and brain correlation: known answers, and planted signal that must come back."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fmri2img.artifacts.regions import REGIONS
from fmri2img.encoding.features import BandFeatures
from fmri2img.encoding.kernels import mixtures
from fmri2img.encoding.model import EncodingModel, fit
from fmri2img.errors import UserError
from fmri2img.metrics.brain import MeasuredBrain, brain_correlation, regions, voxel_correlation, voxel_table

ALPHAS = [0.01, 0.1, 1.0, 10.0]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def planted(rng, n=200, noise=0.5):
    """Two bands of different width; 10 voxels see the first, 10 the second, 10 nothing."""
    bands = [rng.standard_normal((n, 8)).astype(np.float32) * 5 + 2, rng.standard_normal((n, 60)).astype(np.float32)]
    signal = np.concatenate(
        [
            (bands[0] - 2) / 5 @ rng.standard_normal((8, 10)),
            bands[1] @ rng.standard_normal((60, 10)),
            np.zeros((n, 10)),
        ],
        1,
    )
    signal[:, :20] /= signal[:, :20].std(axis=0)
    return bands, (signal + noise * rng.standard_normal(signal.shape) + 3).astype(np.float32)


def test_encoding_finds_the_band_of_each_voxel_and_predicts_new_pictures(rng, tmp_path):
    bands, betas = planted(rng, 300)
    train, test = slice(0, 200), slice(200, 300)
    fit([b[train] for b in bands], betas[train], ALPHAS, 4, seed=0).save(tmp_path / "model")
    model = EncodingModel.open(tmp_path / "model")
    predicted = model.predict([b[test] for b in bands])
    r = np.array([np.corrcoef(p, b)[0, 1] for p, b in zip(predicted.T, betas[test].T, strict=True)])
    assert (r[:10] > 0.8).all() and (r[10:20] > 0.6).all() and np.abs(r[20:]).mean() < 0.15
    assert model.cv_r2[:10].min() > 0.6 and model.cv_r2[20:].max() < 0.1
    weight = np.split(model.weights, [8])
    energy = np.array([(w**2).sum(axis=0) for w in weight])
    assert (energy[0, :10] > energy[1, :10]).all() and (energy[1, 10:20] > energy[0, 10:20]).all()
    assert predicted.dtype == np.float32 and predicted.mean() == pytest.approx(3, abs=0.2)


def test_one_band_and_one_penalty_are_plain_ridge(rng):
    bands, betas = planted(rng, 60)
    model = fit(bands[:1], betas, [0.5], 3, seed=0)
    x = (bands[0] - bands[0].mean(0)) / bands[0].std(0) / np.sqrt(8)
    y = betas - betas.mean(0)
    weights = np.linalg.solve(x.T @ x + 0.5 * np.eye(8), x.T @ y)
    np.testing.assert_allclose(model.predict(bands[:1]), x @ weights + betas.mean(0), atol=1e-3)


def test_constant_features_and_their_edge(rng):
    bands, betas = planted(rng, 60)
    bands[0][:, 3] = 7.0
    model = fit(bands, betas, ALPHAS, 3, seed=0)
    changed = [bands[0].copy(), bands[1]]
    changed[0][:, 3] = 1e6  # a feature that said nothing in training says nothing later
    np.testing.assert_allclose(model.predict(changed), model.predict(bands))
    with pytest.raises(ValueError, match="67 features, but the encoding model was fitted to 68"):
        model.predict([bands[0][:, 1:], bands[1]])
    with pytest.raises(UserError, match=r"encoding\.folds: 61 folds"):
        fit(bands, betas, ALPHAS, 61, seed=0)
    np.testing.assert_allclose(mixtures(2), [[1, 0], [0, 1], [0.5, 0.5]])


def test_bands_share_a_network_and_come_in_their_own_order():
    loaded = []

    class Network:
        def features(self, pictures, grid):
            assert pictures.shape[1:] == (8, 8, 3) and grid == 7
            return {"b": pictures.mean((1, 2)), "a": pictures[:, :1, 0, 0]}

    class Networks:
        def features(self, name, layers):
            loaded.append((name, layers))
            return Network()

    images = np.random.default_rng(0).integers(0, 256, (70, 16, 16, 3), np.uint8)
    bands = [{"network": "n", "layer": "b"}, {"network": "n", "layer": "a"}, {"network": "m", "layer": "a"}]
    found = BandFeatures(Networks(), bands, 7, 8, True)(images)
    assert loaded == [("n", ["a", "b"]), ("m", ["a"])] and [f.shape for f in found] == [(70, 3), (70, 1), (70, 1)]
    np.testing.assert_allclose(found[0][65], images[65].mean((0, 1)) / 255, atol=0.02)


# Brain correlation


def voxels_of(n, ncsnr):
    table = pd.DataFrame({"x": np.arange(n), "y": 0, "z": 0, "ncsnr": np.float32(ncsnr)})
    kind = np.arange(n) % 5
    return table.assign(V1=kind == 0, V2=kind == 1, V3=kind == 2, hV4=kind == 3)


@pytest.fixture
def measured(rng):
    """40 images, 500 voxels; a single trial's signal variance is 0.2, and every image has three trials."""
    ncsnr = 0.5
    signal = np.sqrt(0.2) * rng.standard_normal((40, 500))
    betas = signal + np.sqrt(0.8 / 3) * rng.standard_normal((40, 500))
    arrays = np.arange(40) * 2, betas.astype(np.float32), np.full(40, 3)
    return MeasuredBrain(*arrays, voxels_of(500, ncsnr), lambda images: images), signal


def test_pattern_correlation_is_over_voxels_and_voxel_correlation_over_images(measured, rng):
    here, _ = measured
    predicted = here.betas + rng.standard_normal(here.betas.shape)
    inside = here.voxels["V2"].to_numpy()
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(here.betas[:, inside], predicted[:, inside], strict=True)]
    np.testing.assert_allclose(brain_correlation(here, predicted, "v2", False), r)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(here.betas[:, inside].T, predicted[:, inside].T, strict=True)]
    assert voxel_correlation(here, predicted, "v2", False) == pytest.approx(np.mean(r))
    table = voxel_table(here, predicted)
    np.testing.assert_allclose(table.loc[table["v2"], "correlation"], r)
    # the mean response of each voxel helps a pattern, and no voxel
    offset = 3 * rng.standard_normal(500)
    shifted = replace(here, betas=here.betas + offset)
    assert brain_correlation(shifted, np.tile(offset, (40, 1)), "visual_cortex", False).mean() > 0.9
    assert voxel_correlation(shifted, np.tile(offset, (40, 1)), "visual_cortex", False) == 0


def test_the_true_signal_reaches_the_noise_ceiling(measured):
    here, signal = measured
    ceiling = np.sqrt(0.2 / (0.2 + 0.8 / 3))
    np.testing.assert_allclose(here.voxel_ceiling(), ceiling, rtol=1e-6)
    np.testing.assert_allclose(here.pattern_ceiling(np.ones(500, bool)), ceiling, rtol=1e-6)
    for function in (brain_correlation, voxel_correlation):
        assert np.mean(function(here, signal, "visual_cortex", False)) == pytest.approx(ceiling, abs=0.02)
        assert np.mean(function(here, signal, "visual_cortex", True)) == pytest.approx(1, abs=0.03)
    once = replace(here, repeats=np.ones(40, int))
    np.testing.assert_allclose(once.voxel_ceiling(), np.sqrt(0.2), rtol=1e-6)


def test_ceiling_equals_the_published_formula_for_mixed_repeats(measured):
    """NSD's data manual: ncsnr^2 / (ncsnr^2 + (A/3 + B/2 + C) / (A + B + C)), here as its root."""
    repeats = np.repeat([3, 2, 1], [20, 15, 5])
    here = replace(measured[0], repeats=repeats)
    share = (20 / 3 + 15 / 2 + 5) / 40
    np.testing.assert_allclose(here.voxel_ceiling() ** 2, 0.25 / (0.25 + share), rtol=1e-6)


def test_regions_cover_the_mask_once():
    inside = regions(voxels_of(50, 0.5))
    assert list(inside) == list(REGIONS) and inside["visual_cortex"].all()
    np.testing.assert_array_equal(sum(m.astype(int) for name, m in inside.items() if name != "visual_cortex"), 1)


def test_shuffled_constant_and_nan_predictions(measured, rng):
    here, signal = measured
    shuffled = np.roll(signal, 1, axis=0)
    assert abs(brain_correlation(here, shuffled, "visual_cortex", False).mean()) < 0.03
    broken = signal.copy()
    broken[0], broken[1, 7] = 1.5, np.nan
    np.testing.assert_array_equal(brain_correlation(here, broken, "visual_cortex", False)[:2], 0)
    flat = np.zeros_like(signal)
    assert voxel_correlation(here, flat, "v1", True) == 0 and (brain_correlation(here, flat, "v1", True) == 0).all()
    silent = replace(here, voxels=voxels_of(500, 0.0))
    assert np.isnan(voxel_correlation(silent, signal, "v1", True))
    assert np.isnan(brain_correlation(silent, signal, "v1", True)).all()
    empty = replace(here, voxels=here.voxels.assign(V1=False))
    assert np.isnan(brain_correlation(empty, signal, "v1", False)).all()
    assert np.isnan(voxel_correlation(empty, signal, "v1", False))


def test_images_are_joined_by_id(measured):
    here, _ = measured
    part = here.on(np.array([10, 4]))
    np.testing.assert_array_equal(part.betas, here.betas[[5, 2]])
    with pytest.raises(UserError, match="image_id 5 is not among its test images"):
        here.on(np.array([4, 5]))
