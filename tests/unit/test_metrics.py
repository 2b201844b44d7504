import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from designs import DISCLOSURE
from scipy.spatial.distance import correlation as scipy_correlation_distance
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from threadpoolctl import threadpool_info, threadpool_limits
from torchvision.transforms.v2 import Compose, Resize

from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.artifacts.features import Features, save_features
from fmri2img.artifacts.prediction import Prediction, save_prediction
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.features import features_of
from fmri2img.backbones.pixels import resized_pictures
from fmri2img.errors import UserError
from fmri2img.metrics import scoring, similarity
from fmri2img.metrics.features import (
    correlation_distance,
    identification,
    identification_reverse,
    n_way_identification,
    n_way_top_k,
    n_way_top_k_sampled,
)
from fmri2img.metrics.pixels import pixcorr, ssim
from fmri2img.metrics.registry import read_metrics
from fmri2img.metrics.retrieval import retrieval_brain, retrieval_image
from fmri2img.metrics.scoring import score
from fmri2img.metrics.sets import fid, kid_contributions
from fmri2img.paths import REPOSITORY
from fmri2img.schemas import check_schema

REGISTRY = read_metrics(REPOSITORY / "config" / "metrics.yaml")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# Pixels


def test_pixcorr_equals_numpy(rng):
    truth, images = rng.random((2, 6, 20, 24, 3)).astype(np.float32)
    images = 0.5 * images + 0.5 * truth
    expected = [np.corrcoef(t.ravel(), i.ravel())[0, 1] for t, i in zip(truth, images, strict=True)]
    np.testing.assert_allclose(pixcorr(truth, images), expected, atol=1e-7)


@pytest.mark.parametrize("size", [16, 64, 425])
def test_ssim_equals_scikit_image(rng, size):
    noise, truth = rng.random((2, 3, size, size, 3)).astype(np.float32)
    images = np.stack([0.2 * noise[0] + 0.8 * truth[0], noise[1], np.ones_like(noise[2])])
    expected = [
        structural_similarity(
            rgb2gray(t), rgb2gray(i), gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
        )
        for t, i in zip(truth, images, strict=True)
    ]
    np.testing.assert_allclose(ssim(truth, images), expected, atol=2e-6)


@pytest.mark.parametrize("size", [64, 425])
def test_ssim_of_flat_pictures_is_not_lost_in_rounding(rng, size):
    shape = (size, size, 3)
    flat = [np.full(shape, level, np.float32) for level in (0.727, 1, 0.8, 0.2, 1 / 3, 0.9)]
    bright = (rng.integers(250, 256, (4, *shape)) / 255).astype(np.float32)
    halves = bright.copy()
    halves[:, : size // 2] -= bright.min()  # bright and dark in one picture: neither may hide in the other's mean
    pairs = [flat[:2], flat[2:4], flat[4:], bright[:2], (bright[2], flat[1]), halves[:2]]
    truth, images = (np.stack(side) for side in zip(*pairs, strict=True))
    grey = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = [
        structural_similarity(*(rgb2gray(side.astype(np.float64)) for side in pair), **grey)
        for pair in zip(truth, images, strict=True)
    ]
    np.testing.assert_allclose(ssim(truth, images), expected, atol=2e-6)


def test_identical_images_score_one(rng):
    images = rng.random((4, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(pixcorr(images, images), 1, atol=1e-9)
    np.testing.assert_allclose(ssim(images, images), 1, atol=1e-6)


def test_constant_and_nan_images_score_zero_and_are_not_left_out(rng):
    truth, images = rng.random((2, 3, 32, 32, 3)).astype(np.float32)
    images[0], images[1, 5, 5, 1], truth[2] = 1 / 3, np.nan, 0.7
    np.testing.assert_array_equal(pixcorr(truth, images), [0, 0, 0])
    assert ssim(truth, images)[1] == 0


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("source", "size"), [(425, 256), (64, 64), (256, 425), (100, 37)])
def test_resizing_equals_torchvision_on_tensors(rng, source, size, antialias):
    images = rng.integers(0, 256, (2, source, source, 3), np.uint8)
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    expected = Resize((size, size), antialias=antialias)(tensors).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(resized_pictures(images, size, antialias=antialias), expected, atol=1e-6)


# Correlations


def test_correlations_equal_numpy_over_many_blocks(rng, monkeypatch):
    monkeypatch.setattr(similarity, "COLUMN_BLOCK", 7)
    monkeypatch.setattr(similarity, "CACHED", 20)
    a, b = (rng.standard_normal((5, 50)) + 100).astype(np.float32), rng.standard_normal((4, 50)).astype(np.float32)
    np.testing.assert_allclose(similarity.correlations(a, b), np.corrcoef(a, b)[:5, 5:], atol=1e-9)
    expected = (a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T
    np.testing.assert_allclose(similarity.cosines(a, b), expected, atol=1e-5)


def test_short_sums_stay_on_one_thread_and_long_products_do_not(rng):
    """Threads wait for each other on a busy machine, and divide a sum otherwise: its last digits would change."""
    a, b = rng.random((2, 3, 3 * 425**2), np.float32)
    found = {}
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found[threads] = similarity.paired_correlations(a, b)
    np.testing.assert_array_equal(found[1], found[2])

    def threads_in_use(multiplications):
        with threadpool_limits(2, user_api="blas"), similarity.blas_threads(multiplications):
            return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    assert threads_in_use(64 * 64 * 1280) == {1} and threads_in_use(1000 * 1000 * 20_000) == {2}


def test_undefined_similarities_stay_in_their_row(rng):
    a, b = rng.standard_normal((2, 4, 9))
    a[1], a[2, 3], b[0] = 0.1 + 1e-9 * a[1], np.nan, 0  # what resizing leaves of a constant image
    undefined = np.isnan(similarity.correlations(a, b))
    np.testing.assert_array_equal(undefined, (np.isin(np.arange(4), [1, 2])[:, None]) | (np.arange(4) == 0))
    assert not np.isnan(similarity.cosines(a, b)[1, 1:]).any()


# Identification


def identification_by_loops(truth, images, reverse=False):
    """The published loop: for each reconstruction, over the other stimuli (or the other way round)."""
    n, values = len(truth), []
    for j in range(n):
        own, won = np.corrcoef(truth[j], images[j])[0, 1], 0
        for i in range(n):
            if i != j:
                pair = (truth[j], images[i]) if reverse else (truth[i], images[j])
                won += np.corrcoef(*pair)[0, 1] < own
        values.append(won / (n - 1))
    return np.array(values)


def test_identification_equals_loops_in_both_directions(rng):
    truth = rng.standard_normal((25, 40))
    images = truth + 3 * rng.standard_normal((25, 40))
    forward, reverse = identification(truth, images), identification_reverse(truth, images)
    np.testing.assert_allclose(forward, identification_by_loops(truth, images))
    np.testing.assert_allclose(reverse, identification_by_loops(truth, images, reverse=True))
    assert not np.array_equal(forward, reverse)


def test_direction_with_a_hub(rng):
    """Two reconstructions show stimulus 0. Among stimuli, 0's is right and 1's is beaten by stimulus 0 alone."""
    truth = rng.standard_normal((6, 50))
    images = truth.copy()
    images[1] = truth[0]
    forward = identification(truth, images)
    np.testing.assert_allclose(forward[[0, 2, 3, 4, 5]], 1)
    assert forward[1] <= 0.8
    assert identification_reverse(truth, images)[0] == 0.8  # stimulus 0 ties with reconstruction 1


def test_ties_are_failures(rng):
    truth = rng.standard_normal((20, 300))
    truth[10:] = 3 * truth[:10] + 0.7  # equal correlations, up to rounding that would pick a winner
    np.testing.assert_allclose(identification(truth, truth), 18 / 19)
    np.testing.assert_array_equal(retrieval_image(truth, 0.3 * truth, 300, 30)[:10], 1)
    np.testing.assert_array_equal(retrieval_image(np.tile(truth[:10], (2, 1)), truth, 300, 30)[:10], 0)


def test_undefined_features_lose(rng):
    truth = rng.standard_normal((5, 30))
    images = truth.copy()
    images[0], images[1, 3] = 2.0, np.nan
    np.testing.assert_allclose(identification(truth, images), [0, 0, 1, 1, 1])
    np.testing.assert_allclose(identification_reverse(truth, images), [0, 0, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(correlation_distance(truth, images), [1, 1, 0, 0, 0], atol=1e-12)


def test_shuffled_images_are_at_chance(rng):
    truth = rng.standard_normal((400, 20))
    assert identification(truth, truth[rng.permutation(400)]).mean() == pytest.approx(0.5, abs=0.05)


def test_perfect_predictions_of_other_images_are_below_chance_by_what_their_own_image_wins(rng):
    """Over all shuffles without fixed points; claims.yaml's checks of the floor count with it."""
    truth = rng.standard_normal((12, 20))
    shifted = [identification(truth, np.roll(truth, shift, axis=0)).mean() for shift in range(1, 12)]
    assert np.mean(shifted) == pytest.approx(0.5 * (1 - 1 / 11), abs=1e-12)


def test_one_image_cannot_be_identified_or_retrieved(rng):
    one = rng.standard_normal((1, 10))
    for function in (identification, identification_reverse):
        assert np.isnan(function(one, one)).all()
    assert np.isnan(retrieval_image(one, one, 300, 30)).all()


def test_correlation_distance_equals_scipy(rng):
    truth, images = rng.standard_normal((2, 5, 30))
    expected = [scipy_correlation_distance(t, i) for t, i in zip(truth, images, strict=True)]
    np.testing.assert_allclose(correlation_distance(truth, images), expected)


def test_n_way_identification_equals_random_draws_of_distractors(rng):
    truth = rng.standard_normal((30, 10))
    images = truth + 2 * rng.standard_normal((30, 10))
    r = np.corrcoef(truth, images)[:30, 30:]
    for ways in (2, 5, 20):
        drawn = []
        for j in range(30):
            others = np.delete(np.arange(30), j)
            picks = rng.permuted(np.tile(others, (3000, 1)), axis=1)[:, : ways - 1]
            drawn.append((r[picks, j].max(axis=1) < r[j, j]).mean())
        np.testing.assert_allclose(n_way_identification(truth, images, ways), drawn, atol=0.04)
    np.testing.assert_allclose(n_way_identification(truth, images, 2), identification(truth, images))
    first = n_way_identification(truth, images, None)
    np.testing.assert_array_equal(first, r.argmax(axis=0) == np.arange(30))
    np.testing.assert_allclose(n_way_identification(truth, images, 30), first)


def test_n_way_identification_at_its_edges(rng):
    truth = rng.standard_normal((12, 30))
    images = truth.copy()
    images[0], images[1, 3] = 2.0, np.nan
    np.testing.assert_allclose(n_way_identification(truth, images, 10), [0, 0] + [1] * 10)
    assert np.isnan(n_way_identification(truth, images, 13)).all()
    assert np.isnan(n_way_identification(truth[:1], images[:1], None)).all()
    twins = np.concatenate([truth[:6], truth[:6]])
    np.testing.assert_array_equal(n_way_identification(twins, twins, None), 0)
    shuffled = rng.standard_normal((600, 8))
    chance = n_way_identification(shuffled, np.roll(shuffled, 1, axis=0), 10).mean()
    assert chance == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(("ways", "k"), [(50, 1), (50, 5), (10, 1)])
def test_n_way_top_k_equals_mind_vis_draws(rng, ways, k):
    """MinD-Vis draws other classes, softmaxes the reconstruction's scores over them and the true one, and sorts."""
    truth, images = rng.standard_normal((2, 6, 100))
    images += 1.5 * truth
    drawn = np.zeros(6)
    for i, own in enumerate(truth.argmax(axis=1)):
        others = np.delete(np.arange(100), own)
        for _ in range(2000):
            picked = [own, *rng.choice(others, ways - 1, replace=False)]
            drawn[i] += 0 in np.argsort(images[i, picked])[-k:]
    closed = n_way_top_k(truth, images, ways, k)
    np.testing.assert_allclose(closed, drawn / 2000, atol=0.04)
    sampled = n_way_top_k_sampled(truth, images, ways, k, 4000, 0)
    np.testing.assert_allclose(sampled, closed, atol=4 * 0.5 / 4000**0.5)
    np.testing.assert_array_equal(n_way_top_k_sampled(truth[2:], images[2:], ways, k, 4000, 0), sampled[2:])


def test_n_way_top_k_at_its_edges(rng):
    scores = rng.standard_normal((4, 20))
    np.testing.assert_allclose(n_way_top_k(scores, scores, 20, 1), 1)
    found = scores.copy()
    found[0], found[1, 2] = 0.5, np.nan
    found[2] = -scores[2]
    np.testing.assert_allclose(n_way_top_k(scores, found, 5, 1), [0, 0, 0, 1])
    np.testing.assert_array_equal(n_way_top_k_sampled(scores, found, 5, 1, 200, 0), [0, 0, 0, 1])
    with pytest.raises(ValueError, match="21-way"):
        n_way_top_k(scores, scores, 21, 1)
    many = rng.standard_normal((2, 3000, 50))
    assert n_way_top_k(*many, 10, 1).mean() == pytest.approx(0.1, abs=0.01)


# Distances between sets


def test_kid_equals_torchmetrics_and_its_values_average_to_it(rng):
    from torchmetrics.image.kid import poly_mmd

    truth = rng.standard_normal((40, 24)).astype(np.float32)
    images = (truth + 0.5 * rng.standard_normal((40, 24)) + 0.3).astype(np.float32)
    values = kid_contributions(truth, images)
    assert values.mean() == pytest.approx(float(poly_mmd(torch.from_numpy(truth), torch.from_numpy(images))), rel=1e-4)

    def left_out(i):
        keep = np.arange(40) != i
        return kid_contributions(truth[keep], images[keep]).mean()

    jackknife = values.mean() * 40 - 39 * np.array([left_out(i) for i in range(40)])
    np.testing.assert_allclose(values - values.mean(), jackknife - jackknife.mean(), atol=1e-8)


def test_spread_of_kid_values_is_the_sampling_error_of_kid(rng):
    sets = [rng.standard_normal((2, 60, 6)) + np.array([0, 0.8])[:, None, None] for _ in range(200)]
    found = [kid_contributions(*pair) for pair in sets]
    error = np.std([values.mean() for values in found])
    assert np.mean([values.std() / np.sqrt(60) for values in found]) == pytest.approx(error, rel=0.2)


def test_fid_equals_torchmetrics_and_vanishes_for_the_same_set(rng):
    from torchmetrics.image.fid import _compute_fid

    truth = rng.standard_normal((50, 12)) @ rng.standard_normal((12, 12))
    images = truth[rng.permutation(50)] * 1.3 + rng.standard_normal((50, 12))
    moments = [torch.from_numpy(m) for x in (truth, images) for m in (x.mean(0), np.cov(x.T))]
    assert fid(truth, images) == pytest.approx(float(_compute_fid(*moments)), rel=1e-8)
    assert fid(truth, truth[::-1]) == pytest.approx(0, abs=1e-8)
    wide = rng.standard_normal((2, 20, 300))  # fewer images than features
    moments = [torch.from_numpy(m) for x in wide for m in (x.mean(0), np.cov(x.T))]
    assert fid(*wide) == pytest.approx(float(_compute_fid(*moments)), rel=1e-4)


def test_sets_with_nan_or_too_few_images_have_no_distance(rng):
    truth, images = rng.standard_normal((2, 5, 8))
    images[2, 1] = np.nan
    assert np.isnan(fid(truth, images)) and np.isnan(kid_contributions(truth, images)).all()
    assert np.isnan(fid(truth[:1], truth[:1])) and np.isnan(kid_contributions(truth[:2], truth[:2])).all()


# Retrieval


def hit_probability(similarity, pool):
    """Of each query: a pool of the n images is a hit when it holds none of the m candidates that beat the right one."""
    n = len(similarity)
    values = []
    for i in range(n):
        m = (np.delete(similarity[i], i) >= similarity[i, i]).sum()
        free = np.arange(pool - 1)
        values.append(np.prod(np.clip(n - 1 - m - free, 0, None) / (n - 1 - free)))
    return np.array(values)


def test_retrieval_in_pools_converges_to_its_probability(rng):
    truth = rng.standard_normal((60, 12))
    decoded = truth + 1.5 * rng.standard_normal((60, 12))
    cosine = similarity.cosines(decoded, truth)
    for function, expected in (
        (retrieval_image, hit_probability(cosine, 20)),
        (retrieval_brain, hit_probability(cosine.T, 20)),
    ):
        np.testing.assert_allclose(function(truth, decoded, 20, 4000), expected, atol=0.06)
        assert function(truth, decoded, 20, 4000).mean() == pytest.approx(expected.mean(), abs=0.01)


def test_small_test_set_is_one_pool(rng):
    truth = rng.standard_normal((30, 12))
    decoded = truth + rng.standard_normal((30, 12))
    cosine = similarity.cosines(decoded, truth)
    np.testing.assert_array_equal(retrieval_image(truth, decoded, 300, 30), cosine.argmax(axis=1) == np.arange(30))
    np.testing.assert_array_equal(retrieval_brain(truth, decoded, 300, 30), cosine.argmax(axis=0) == np.arange(30))


@pytest.mark.parametrize("retrieval", [retrieval_image, retrieval_brain])
def test_retrieval_in_closed_form_is_the_mean_over_all_pools(rng, retrieval):
    truth = rng.normal(size=(7, 4))
    decoded = truth + rng.normal(size=(7, 4))
    decoded[5], decoded[6] = np.nan, decoded[0]  # undefined; and a tie of two brains
    hits = np.zeros(7)
    for pool in map(list, itertools.combinations(range(7), 3)):
        hits[pool] += retrieval(truth[pool], decoded[pool], 3, 1)
    np.testing.assert_allclose(retrieval(truth, decoded, 300, 30, ways=3), hits / math.comb(6, 2), atol=1e-12)
    assert np.isnan(retrieval(truth, decoded, 300, 30, ways=8)).all()


def test_retrieval_direction_with_a_hub():
    """Every brain decodes to image 0's vector: image retrieval finds image 0 once, brain retrieval only ties."""
    truth = np.eye(4)
    decoded = np.tile(truth[0], (4, 1))
    np.testing.assert_array_equal(retrieval_image(truth, decoded, 4, 1), [1, 0, 0, 0])
    np.testing.assert_array_equal(retrieval_brain(truth, decoded, 4, 1), [0, 0, 0, 0])
    decoded[0] *= 3  # cosine knows no length
    np.testing.assert_array_equal(retrieval_brain(truth, decoded, 4, 1), [0, 0, 0, 0])


def test_retrieval_with_nan_and_zero_vectors():
    truth, decoded = np.eye(4), np.eye(4)
    decoded[1], decoded[2] = np.nan, 0
    np.testing.assert_array_equal(retrieval_image(truth, decoded, 4, 1), [1, 0, 0, 1])
    np.testing.assert_array_equal(retrieval_brain(truth, decoded, 4, 1), [1, 0, 0, 1])


def test_pools_are_the_same_every_time_and_may_miss_an_image(rng):
    truth = rng.standard_normal((50, 8))
    first = retrieval_image(truth, truth, 5, 3)
    np.testing.assert_array_equal(first, retrieval_image(truth, truth, 5, 3))
    assert np.isnan(first).any() and (first[~np.isnan(first)] == 1).all()


# Scoring whole predictions


class MeanColour:
    """A feature network that sees a picture as its 2 x 2 corners."""

    def features(self, pictures):
        assert pictures.dtype == np.float32 and pictures.max() <= 1
        return {"corners": pictures[:, ::15, ::15].reshape(len(pictures), -1)}


class MeanDifference:
    def distances(self, truth, pictures):
        return np.abs(truth - pictures).mean(axis=(1, 2, 3))


class FakeNetworks:
    """Records what was loaded; sentences are encoded by their length, hour-hand wise."""

    def __init__(self):
        self.loaded = []

    def features(self, name, layers):
        self.loaded.append((name, layers))
        return MeanColour()

    def perceptual(self, name):
        return MeanDifference()

    def texts(self, name):
        return lambda sentences: np.array([[np.cos(len(s)), np.sin(len(s))] for s in sentences])


METRICS = {name: REGISTRY[name] for name in ("pixcorr", "ssim", "retrieval_image", "retrieval_brain")}
METRICS["identification"] = REGISTRY["identification_alexnet2"] | {"network": "corners", "layer": "corners"}


@pytest.fixture
def case(tmp_path, rng):
    """100 stimuli with ids 0, 3, 6, ...; a perfect prediction of every second one, saved in scrambled order."""
    ids = np.arange(100) * 3
    images = rng.integers(0, 256, (100, 16, 16, 3), np.uint8)
    table = pd.DataFrame(
        {
            "image_id": ids,
            "name": "x",
            "source": "x",
            "cluster": None,
            "captions": [["a"]] * 100,
            "categories": [["b"]] * 100,
        }
    )
    stimuli = Stimuli(tmp_path, images, table, {})
    save_embeddings(tmp_path / "e", ids, rng.standard_normal((100, 2, 5)), {})
    embeddings = Embeddings.open(tmp_path / "e")

    def predict(name, rows, seed=0, **arrays):
        metadata = {"method": name, "subject": "subj01", "sessions": 2, "seed": seed, "test_set": "shared1000"}
        metadata |= {"split": "shared1000", "split_sha256": "0"}
        save_prediction(tmp_path / name, ids[rows], metadata | {"disclosure": DISCLOSURE}, **arrays)
        return Prediction.open(tmp_path / name)

    rows = rng.permutation(50) * 2
    perfect = predict("perfect", rows, images=images[rows], retrieval=embeddings.tokens[rows].reshape(50, -1))
    return stimuli, embeddings, perfect, predict


def features_in(path, stimuli):
    save_features(path, stimuli.ids, features_of(stimuli.images, MeanColour(), 16, True), {"network": "corners"})
    return Features.open(path)


def run(stimuli, embeddings, predictions, metrics=METRICS, pool=300):
    networks = FakeNetworks()
    sizes, pools = {"size": 16, "pixel_size": 20, "antialias": True}, {"pool": pool, "resamples": 3}
    true_features = {"corners": features_in(stimuli.path / "features", stimuli)}
    table = score(predictions, stimuli, embeddings, metrics, networks, sizes, pools, true_features=true_features)
    assert networks.loaded == [("corners", ["corners"])] * len(networks.loaded)
    return table, networks.loaded


def test_perfect_prediction_joined_by_id_scores_one(case):
    stimuli, embeddings, perfect, _ = case
    table, _ = run(stimuli, embeddings, [perfect])
    assert sorted(table["metric"].unique()) == sorted(METRICS)
    assert table.groupby("metric")["image_id"].apply(lambda c: sorted(c) == list(range(0, 300, 6))).all()
    np.testing.assert_allclose(table["value"], 1, atol=1e-6)


def test_without_antialiasing_scores_are_those_of_tensors_under_torchvision_0_16(case, rng):
    stimuli, _, _, predict = case
    noisy = predict("noisy", np.arange(50) * 2, images=rng.integers(0, 256, (50, 40, 40, 3), np.uint8))
    tensors = [torch.from_numpy(side).permute(0, 3, 1, 2) / 255 for side in (stimuli.images[::2], noisy.images)]
    found = {}
    for antialias in (True, False):
        sizes = {"size": 16, "pixel_size": 12, "antialias": antialias}
        table = score([noisy], stimuli, None, {"pixcorr": REGISTRY["pixcorr"]}, FakeNetworks(), sizes, {})
        resizes = Compose([Resize((side, side), antialias=antialias) for side in (16, 12)])
        truth, images = (resizes(side).flatten(1).numpy() for side in tensors)
        expected = [np.corrcoef(*pair)[0, 1] for pair in zip(truth, images, strict=True)]
        np.testing.assert_allclose(table["value"], expected, atol=1e-6)
        found[antialias] = table["value"].mean()
    assert abs(found[True] - found[False]) > 1e-3


def test_scores_of_several_samples_are_the_means_of_each_sets_scores(case, rng):
    """Also of a score of the whole set, which of all samples together would be another one."""
    stimuli, embeddings, perfect, predict = case
    corners = {"network": "corners", "layer": "corners"}
    metrics = METRICS | {"fid": REGISTRY["fid_inception"] | corners}
    rows = np.arange(50) * 2
    sets = [perfect.images, rng.integers(0, 256, perfect.images.shape, np.uint8), perfect.images[::-1]]
    whole = predict("drawn", rows, images=sets[0], samples=np.stack(sets[1:], axis=1), retrieval=perfect.retrieval)
    alone = [predict("drawn", rows, seed, images=images) for seed, images in enumerate(sets)]
    keys = ["metric", "image_id"]
    means = run(stimuli, embeddings, alone, metrics)[0].groupby(keys)["value"].mean()
    table = run(stimuli, embeddings, [whole], metrics)[0]
    assert not table.duplicated(keys).any()
    found = table.set_index(keys)["value"]
    assert set(found.index) - set(means.index) == {
        (m, i) for m in ("retrieval_image", "retrieval_brain") for i in perfect.ids
    }
    pd.testing.assert_series_equal(found[means.index], means)
    assert 0.1 < found["pixcorr"].mean() < 0.9


def test_shuffled_ids_are_noticed(case, rng):
    stimuli, embeddings, perfect, predict = case
    order = np.roll(np.arange(50), 1)
    wrong = predict("wrong", np.arange(50) * 2, images=perfect.images[order], retrieval=perfect.retrieval[order])
    means = run(stimuli, embeddings, [perfect, wrong])[0].groupby(["method", "metric"])["value"].mean()["wrong"]
    assert abs(means["pixcorr"]) < 0.1 and means["retrieval_image"] == 0 and means["identification"] < 0.7


def test_networks_load_once_for_all_predictions(case):
    stimuli, embeddings, perfect, predict = case
    again = predict("again", np.arange(50) * 2, seed=1, images=perfect.images)
    table, loaded = run(stimuli, embeddings, [perfect, again])
    assert len(loaded) == 1
    assert set(table.loc[table["method"] == "again", "metric"]) == {"pixcorr", "ssim", "identification"}


def test_predictions_that_do_not_fit_are_named(case):
    stimuli, embeddings, perfect, predict = case
    with pytest.raises(UserError, match=r"other.*differ from those of .*perfect"):
        run(stimuli, embeddings, [perfect, predict("other", np.arange(50), images=perfect.images)])
    short = predict("short", np.arange(50) * 2, retrieval=perfect.retrieval[:, :4])
    with pytest.raises(UserError, match=r"short/retrieval.npy: 4 dimensions.*have 10"):
        run(stimuli, embeddings, [short])


def test_set_pair_caption_and_whole_pool_metrics_are_stored_where_they_belong(case):
    stimuli, embeddings, perfect, predict = case
    corners = {"network": "corners", "layer": "corners"}
    metrics = {
        "fid": REGISTRY["fid_inception"] | corners,
        "kid": REGISTRY["kid_inception"] | corners,
        "top1": REGISTRY["top1_50way_vit_h14"] | corners | {"parameters": {"ways": 3, "k": 1}},
        "lpips": REGISTRY["lpips"],
        "retrieval_image_all": REGISTRY["retrieval_image_all"],
        **{name: REGISTRY[name] for name in ("caption_rouge1", "caption_rouge1_coco5", "caption_demo_clip")},
    }
    captions = ["two red cars"] * 50
    stimuli.table["captions"] = [["a dog", "two red cars"]] * 100
    told = predict("told", np.arange(50) * 2, captions=captions)
    table, _ = run(stimuli, embeddings, [perfect, told], metrics, pool=10)
    rows = table[table["metric"] == "fid"]
    assert rows["image_id"].tolist() == [-1] and rows["value"].iloc[0] == pytest.approx(0, abs=1e-6)
    means = table.groupby(["method", "metric"])["value"].agg(["mean", "size", "count"])
    assert means.loc[("perfect", "lpips"), "mean"] == 0
    assert means.loc[("perfect", "retrieval_image_all"), "count"] == 50  # where a pool of 10 leaves some out
    assert (means["size"].drop(("perfect", "fid")) == 50).all()
    assert means.loc[("told", "caption_rouge1"), "mean"] == 0
    assert means.loc[("told", "caption_rouge1_coco5"), "mean"] == 1
    assert means.loc[("told", "caption_demo_clip"), "mean"] == pytest.approx(np.cos(len("two red cars") - len("a dog")))
    assert set(table.loc[table["method"] == "told", "metric"]) == {n for n in metrics if n.startswith("caption")}


def test_what_cannot_be_scored_is_named(case):
    stimuli, embeddings, _, predict = case
    told = predict("told", np.arange(50) * 2, captions=["a car"] * 50)
    with pytest.raises(UserError, match=r"none of pixcorr.*told"):
        run(stimuli, embeddings, [told])
    stimuli.table["captions"] = [["a dog"]] * 50 + [[]] * 50
    with pytest.raises(UserError, match=r"image_id 150 has no caption \(25 images lack one\)"):
        run(stimuli, embeddings, [told], {"caption_rouge1": REGISTRY["caption_rouge1"]})


def test_metrics_of_captions_are_undefined_for_images_of_which_no_one_wrote_any(case):
    stimuli, embeddings, _, predict = case
    told = predict("told", np.arange(50) * 2, captions=["a dog"] * 50)
    metrics = {name: REGISTRY[name] for name in ("caption_rouge1", "caption_demo_clip")}
    stimuli.table["captions"] = [["a dog"]] * 40 + [None] * 60
    table, _ = run(stimuli, embeddings, [told], metrics)
    for _, values in table.sort_values("image_id").groupby("metric")["value"]:
        assert values[:20].tolist() == pytest.approx([1] * 20) and values[20:].isna().all() and len(values) == 50
    stimuli.table["captions"] = [None] * 100
    table, _ = run(stimuli, embeddings, [told], metrics)
    assert len(table) == 100 and table["value"].isna().all()


# Registry


def test_registry_fits_its_schema():
    check_schema(REGISTRY, "metrics", "config/metrics.yaml")


def test_metrics_name_networks_and_layers_that_are_registered():
    backbones = yaml.safe_load((REPOSITORY / "config" / "backbones.yaml").read_text())
    check_schema(backbones, "backbones", "config/backbones.yaml")
    for name, metric in REGISTRY.items():
        if metric["network"]:
            assert metric["layer"] is None or metric["layer"] in backbones[metric["network"]]["layers"], name


def test_every_registered_function_exists_and_reads_what_it_needs():
    for name, metric in REGISTRY.items():
        tables = {
            "images": [*scoring.ON_PIXELS, *scoring.ON_FEATURES, *scoring.ON_PAIRS],
            "retrieval": scoring.ON_RETRIEVAL,
            "captions": scoring.ON_CAPTIONS,
            "brain": scoring.ON_BRAIN,
        }
        assert metric["function"] in tables[metric["needs"]], name
        reads_a_layer = metric["function"] in scoring.ON_FEATURES or metric["function"] in (
            "clip_score",
            "ref_clip_score",
        )
        assert (metric["layer"] is not None) == reads_a_layer, name


def test_chance_levels_of_n_way_metrics_are_one_in_n():
    for name, metric in REGISTRY.items():
        ways = metric.get("parameters", {}).get("ways")
        if ways is not None:
            assert metric["chance"] == metric["parameters"].get("k", 1) / ways, name
