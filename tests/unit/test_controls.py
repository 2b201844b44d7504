import subprocess
import sys

import numpy as np
import pytest
import yaml
from designs import DISCLOSURE
from fmri2img.methods.controls.functions import (
    derangement,
    drawn_training_images,
    mean_image,
    mean_tokens,
    nearest_training_images,
    nearest_with_cosine,
    shuffle_brains,
)

from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.artifacts.prediction import Prediction, save_prediction
from fmri2img.errors import UserError
from fmri2img.paths import REPOSITORY

METADATA = {
    "method": "ridge", "subject": "subj01", "sessions": 1, "seed": 0, "split": "shared1000", "split_sha256": "0",
    "disclosure": DISCLOSURE,
}  # fmt: skip


@pytest.fixture
def embeddings(tmp_path):
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(500, 80, replace=False))
    save_embeddings(tmp_path / "embeddings", ids, rng.standard_normal((80, 4, 6)) + 20, {})
    return Embeddings.open(tmp_path / "embeddings")


def test_nearest_neighbour_equals_brute_force(embeddings):
    training = embeddings.ids[10:70]
    decoded = (np.random.default_rng(1).standard_normal((15, 4, 6)) + 20).astype(np.float16)
    true = np.asarray(embeddings.tokens[10:70], np.float64).reshape(60, -1)
    mean = true.mean(axis=0)
    expected = []
    for row in decoded.reshape(15, -1).astype(np.float64) - mean:
        cosines = [row @ t / np.linalg.norm(row) / np.linalg.norm(t) for t in true - mean]
        expected.append(training[int(np.argmax(cosines))])
    np.testing.assert_array_equal(nearest_training_images(decoded, embeddings, training), expected)
    _, found = nearest_with_cosine(decoded, embeddings, training)
    highest = [max(r @ t / np.linalg.norm(r) / np.linalg.norm(t) for t in true - mean) for r in
               decoded.reshape(15, -1).astype(np.float64) - mean]  # fmt: skip
    np.testing.assert_allclose(found, highest, atol=1e-5)


def test_nearest_neighbour_finds_shrunken_copies_and_never_leaves_the_training_images(embeddings):
    training = embeddings.ids[::2]
    mean = np.asarray(embeddings.tokens[::2], np.float32).mean(axis=0)
    shrunken = (0.1 * (embeddings.tokens[::2] - mean) + mean).astype(np.float32)
    np.testing.assert_array_equal(nearest_training_images(shrunken, embeddings, training), training)
    test_images = np.asarray(embeddings.tokens[1::2])
    assert np.isin(nearest_training_images(test_images, embeddings, training), training).all()


@pytest.mark.parametrize("n", [2, 3, 50])
def test_derangement_moves_everything(n):
    for seed in range(50):
        order = derangement(n, seed)
        assert (np.sort(order) == np.arange(n)).all() and (order != np.arange(n)).all()
    np.testing.assert_array_equal(derangement(n, 7), derangement(n, 7))


def test_derangements_of_three_are_both_drawn():
    assert {tuple(derangement(3, seed)) for seed in range(40)} == {(1, 2, 0), (2, 0, 1)}


def test_shuffled_brain_moves_images_captions_and_retrieval_together(tmp_path):
    n = 12
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 2, 2, 3))
    vectors = np.arange(n)[:, None] * np.ones((1, 3))
    save_prediction(tmp_path / "p", np.arange(n) * 5, METADATA, images, [str(i) for i in range(n)], vectors)
    shuffled = shuffle_brains(Prediction.open(tmp_path / "p"), seed=4)
    came_from = shuffled["images"][:, 0, 0, 0]
    assert (np.sort(came_from) == np.arange(n)).all() and (came_from != np.arange(n)).all()
    np.testing.assert_array_equal(shuffled["retrieval"][:, 0], came_from)
    assert shuffled["captions"] == [str(i) for i in came_from]


def test_shuffling_one_image_is_refused(tmp_path):
    save_prediction(tmp_path / "p", np.array([3]), METADATA, np.zeros((1, 2, 2, 3)))
    with pytest.raises(UserError, match="needs two"):
        shuffle_brains(Prediction.open(tmp_path / "p"), 0)


def test_random_training_images_are_uniform_and_belong_to_the_test_image():
    training, test = np.arange(0, 50, 5), np.arange(1000, 4000)
    drawn = drawn_training_images(test, training, seed=3)
    shares = np.bincount(np.searchsorted(training, drawn), minlength=10) / len(test)
    assert np.isin(drawn, training).all()
    np.testing.assert_allclose(shares, 0.1, atol=0.025)
    np.testing.assert_array_equal(drawn_training_images(test[::-7], training, seed=3), drawn[::-7])
    assert (drawn_training_images(test, training, seed=4) != drawn).mean() > 0.8


def test_mean_image_is_of_the_chosen_rows():
    images = np.random.default_rng(0).integers(0, 256, (9, 4, 5, 3), dtype=np.uint8)
    rows = np.array([1, 4, 8])
    expected = np.rint(images[rows].astype(float).mean(axis=0))
    np.testing.assert_array_equal(mean_image(images, rows), expected)
    assert mean_image(images, rows).dtype == np.uint8


def test_mean_tokens_in_blocks(embeddings, monkeypatch):
    monkeypatch.setattr("fmri2img.artifacts.embeddings.BLOCK_VALUES", 60 * 6 * 2)
    training = embeddings.ids[10:70]
    expected = np.asarray(embeddings.tokens[10:70], np.float64).mean(axis=0)
    np.testing.assert_allclose(mean_tokens(embeddings, training), expected, rtol=1e-6)


def test_oracle_is_the_best_recall_and_never_the_test_image(embeddings):
    """Given the true tokens, the nearest training image is itself where it was trained on, and another where not."""
    training, test = embeddings.ids[:60], embeddings.ids[60:]
    true = np.asarray(embeddings.tokens)
    np.testing.assert_array_equal(nearest_training_images(true[:60], embeddings, training), training)
    nearest = nearest_training_images(true[60:], embeddings, training)
    assert np.isin(nearest, training).all() and not np.isin(nearest, test).any()


def test_controls_start_without_torch():
    code = "import sys, fmri2img.methods.controls.functions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "scripts"}).returncode == 0


def test_a_shuffled_brain_makes_what_it_shuffles():
    methods = yaml.safe_load((REPOSITORY / "config/methods.yaml").read_text(encoding="utf-8"))
    floors = {name: entry for name, entry in methods.items() if "floor" in entry.get("scale", {})}
    assert floors
    for name, entry in floors.items():
        assert set(entry["outputs"]) == set(methods[entry["of"]]["outputs"]), name
