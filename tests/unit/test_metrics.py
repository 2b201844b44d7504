import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.spatial.distance import correlation as scipy_correlation_distance
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from torchvision.transforms.v2 import Resize

from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.artifacts.prediction import Prediction, save_prediction
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.errors import UserError
from fmri2img.metrics import scoring, similarity
from fmri2img.metrics.features import correlation_distance, identification, identification_reverse
from fmri2img.metrics.pixels import pixcorr, ssim
from fmri2img.metrics.retrieval import retrieval_brain, retrieval_image
from fmri2img.metrics.scoring import _pictures, score
from fmri2img.study import REPOSITORY, check_schema

REGISTRY = yaml.safe_load((REPOSITORY / "config" / "metrics.yaml").read_text())
METHODS = (REPOSITORY / "config" / "methods.yaml").read_text()


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


def test_identical_images_score_one(rng):
    images = rng.random((4, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(pixcorr(images, images), 1, atol=1e-9)
    np.testing.assert_allclose(ssim(images, images), 1, atol=1e-6)


def test_constant_and_nan_images_score_zero_and_are_not_left_out(rng):
    truth, images = rng.random((2, 3, 32, 32, 3)).astype(np.float32)
    images[0], images[1, 5, 5, 1], truth[2] = 1 / 3, np.nan, 0.7
    np.testing.assert_array_equal(pixcorr(truth, images), [0, 0, 0])
    assert ssim(truth, images)[1] == 0


@pytest.mark.parametrize(("source", "size"), [(425, 256), (64, 64), (256, 425), (100, 37)])
def test_resizing_equals_torchvision_on_tensors_with_antialias(rng, source, size):
    images = rng.integers(0, 256, (2, source, source, 3), np.uint8)
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    expected = Resize((size, size), antialias=True)(tensors).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(_pictures(images, size), expected, atol=1e-6)


# Correlations


def test_correlations_equal_numpy_over_many_blocks(rng, monkeypatch):
    monkeypatch.setattr(similarity, "COLUMN_BLOCK", 7)
    a, b = (rng.standard_normal((5, 50)) + 100).astype(np.float32), rng.standard_normal((4, 50)).astype(np.float32)
    np.testing.assert_allclose(similarity.correlations(a, b), np.corrcoef(a, b)[:5, 5:], atol=1e-9)
    expected = (a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T
    np.testing.assert_allclose(similarity.cosines(a, b), expected, atol=1e-5)


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


def test_one_image_cannot_be_identified_or_retrieved(rng):
    one = rng.standard_normal((1, 10))
    for function in (identification, identification_reverse):
        assert np.isnan(function(one, one)).all()
    assert np.isnan(retrieval_image(one, one, 300, 30)).all()


def test_correlation_distance_equals_scipy(rng):
    truth, images = rng.standard_normal((2, 5, 30))
    expected = [scipy_correlation_distance(t, i) for t, i in zip(truth, images, strict=True)]
    np.testing.assert_allclose(correlation_distance(truth, images), expected)


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

DISCLOSURE = {
    "training_trials": 1, "training_subjects": ["subj01"], "trial_averaging": "single",
    "test_averaging": "mean of repeats", "transductive": False, "samples_per_image": 1, "selector": "none",
    "encoder": "planted", "generator": "none", "origin": "port",
}  # fmt: skip


class MeanColour:
    """A feature network that sees a picture as its 2 x 2 corners."""

    def features(self, pictures):
        assert pictures.dtype == np.float32 and pictures.max() <= 1
        return {"corners": pictures[:, ::15, ::15].reshape(len(pictures), -1)}


METRICS = {name: REGISTRY[name] for name in ("pixcorr", "ssim", "retrieval_image", "retrieval_brain")}
METRICS["identification"] = REGISTRY["identification_alexnet2"] | {"network": "corners", "layer": "corners"}


@pytest.fixture
def case(tmp_path, rng):
    """100 stimuli with ids 0, 3, 6, ...; a perfect prediction of every second one, saved in scrambled order."""
    ids = np.arange(100) * 3
    images = rng.integers(0, 256, (100, 16, 16, 3), np.uint8)
    table = pd.DataFrame({"nsd_id": ids, "coco_id": ids, "captions": [["a"]] * 100, "categories": [["b"]] * 100})
    stimuli = Stimuli(tmp_path, images, table.assign(shared=True), {})
    save_embeddings(tmp_path / "e", ids, rng.standard_normal((100, 2, 5)), {})
    embeddings = Embeddings.open(tmp_path / "e")

    def predict(name, rows, seed=0, **arrays):
        metadata = {"method": name, "subject": "subj01", "sessions": 2, "seed": seed, "split": "s", "split_sha256": "0"}
        save_prediction(tmp_path / name, ids[rows], metadata | {"disclosure": DISCLOSURE}, **arrays)
        return Prediction.open(tmp_path / name)

    rows = rng.permutation(50) * 2
    perfect = predict("perfect", rows, images=images[rows], retrieval=embeddings.tokens[rows].reshape(50, -1))
    return stimuli, embeddings, perfect, predict


def run(stimuli, embeddings, predictions, metrics=METRICS):
    loaded = []

    def load(name, layers):
        loaded.append((name, layers))
        return MeanColour()

    sizes, pools = {"size": 16, "pixel_size": 20}, {"pool": 300, "resamples": 30}
    table = score(predictions, stimuli, embeddings, metrics, load, sizes, pools)
    assert loaded == [("corners", ["corners"])] * len(loaded)
    return table, loaded


def test_perfect_prediction_joined_by_id_scores_one(case):
    stimuli, embeddings, perfect, _ = case
    table, _ = run(stimuli, embeddings, [perfect])
    assert sorted(table["metric"].unique()) == sorted(METRICS)
    assert table.groupby("metric")["nsd_id"].apply(lambda c: sorted(c) == list(range(0, 300, 6))).all()
    np.testing.assert_allclose(table["value"], 1, atol=1e-6)


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


# Registry


def test_registry_fits_its_schema():
    check_schema(REGISTRY, "metrics", "config/metrics.yaml")
    check_schema(yaml.safe_load(METHODS), "methods", "config/methods.yaml")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "control"}, "key 'ridge.of' is missing"),
        ({"kind": "judge"}, "kind"),
        ({"colour": "red"}, "unknown key 'ridge.colour'"),
    ],
)
def test_bad_method_entry_is_named(entry, message):
    registry = yaml.safe_load(METHODS)
    registry["ridge"] |= entry
    with pytest.raises(UserError, match=message):
        check_schema(registry, "methods", "config/methods.yaml")


def test_metrics_name_networks_and_layers_that_are_registered():
    backbones = yaml.safe_load((REPOSITORY / "config" / "backbones.yaml").read_text())
    for name, metric in REGISTRY.items():
        if metric["network"]:
            assert metric["layer"] in backbones[metric["network"]]["layers"], name


def test_every_registered_function_exists_and_reads_what_it_needs():
    for name, metric in REGISTRY.items():
        tables = {"pixel": scoring.ON_PIXELS, "network": scoring.ON_FEATURES, None: scoring.ON_RETRIEVAL}
        assert metric["function"] in tables[metric["resize"]], name
        assert metric["needs"] == ("retrieval" if metric["resize"] is None else "images"), name
        assert (metric["network"] is not None) == (metric["resize"] == "network"), name
