import subprocess
import sys

import numpy as np
import pytest
from cells import CELL, SPLIT, UNSEEN, given, of_all, small_cell
from designs import DISCLOSURE
from snakemakes import job_of

import make
from fmri2img.artifacts.cells import ALL
from fmri2img.artifacts.decoded import Decoded, save_decoded
from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.artifacts.prediction import Prediction, save_prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.errors import UserError
from fmri2img.methods.caption_ceiling.control import caption_ceiling
from fmri2img.methods.mean_tokens.control import mean_tokens
from fmri2img.methods.mean_training_image.control import mean_image, mean_training_image
from fmri2img.methods.nearest_neighbour.control import nearest_neighbour
from fmri2img.methods.oracle_nearest_neighbour.control import oracle_nearest_neighbour
from fmri2img.methods.random_training_image.control import drawn_training_images, random_training_image
from fmri2img.methods.registry import read_methods
from fmri2img.methods.repeat_ceiling.control import repeat_ceiling
from fmri2img.methods.shuffled_brain.control import derangement, shuffled_brain
from fmri2img.methods.true_tokens.control import true_tokens
from fmri2img.metrics.similarity import nearest_with_cosine

METHODS = read_methods()
METADATA = {
    "method": "ridge", "subject": "subj01", "sessions": 1, "seed": 0, "split": "shared1000", "split_sha256": "0",
    "test_set": "shared1000", "disclosure": DISCLOSURE,
}  # fmt: skip
TEST_IDS = [i for i in SPLIT.test_sets["shared1000"] if i != UNSEEN]  # of the subject


@pytest.fixture
def embeddings(tmp_path):
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(500, 80, replace=False))
    save_embeddings(tmp_path / "embeddings", ids, rng.standard_normal((80, 4, 6)) + 20, {})
    return Embeddings.open(tmp_path / "embeddings")


@pytest.fixture
def cell(tmp_path):
    return small_cell(tmp_path)


@pytest.fixture
def decoded(cell, tmp_path):
    """The Decoded of a decoder, one row for each test image: the true tokens of training images 0, 1, 2, ..."""
    tokens = np.asarray(Embeddings.open(cell["embeddings"]).tokens[: len(TEST_IDS)])
    save_decoded(tmp_path / "decoded", np.array(TEST_IDS), METADATA, {"tokens": tokens})
    return {"source": str(tmp_path / "decoded"), "of": "decoded"}


def nearest(tokens, embeddings, training_ids):
    return nearest_with_cosine(tokens, embeddings, training_ids)[0]


def test_nearest_neighbour_equals_brute_force(embeddings):
    training = embeddings.ids[10:70]
    decoded = (np.random.default_rng(1).standard_normal((15, 4, 6)) + 20).astype(np.float16)
    true = np.asarray(embeddings.tokens[10:70], np.float64).reshape(60, -1)
    mean = true.mean(axis=0)
    expected = []
    for row in decoded.reshape(15, -1).astype(np.float64) - mean:
        cosines = [row @ t / np.linalg.norm(row) / np.linalg.norm(t) for t in true - mean]
        expected.append(training[int(np.argmax(cosines))])
    near, found = nearest_with_cosine(decoded, embeddings, training)
    np.testing.assert_array_equal(near, expected)
    highest = [max(r @ t / np.linalg.norm(r) / np.linalg.norm(t) for t in true - mean) for r in
               decoded.reshape(15, -1).astype(np.float64) - mean]  # fmt: skip
    np.testing.assert_allclose(found, highest, atol=1e-5)


def test_nearest_neighbour_finds_shrunken_copies_and_never_leaves_the_training_images(embeddings):
    training = embeddings.ids[::2]
    mean = np.asarray(embeddings.tokens[::2], np.float32).mean(axis=0)
    shrunken = (0.1 * (embeddings.tokens[::2] - mean) + mean).astype(np.float32)
    np.testing.assert_array_equal(nearest(shrunken, embeddings, training), training)
    test_images = np.asarray(embeddings.tokens[1::2])
    assert np.isin(nearest(test_images, embeddings, training), training).all()


@pytest.mark.parametrize("sessions", [1, 2])
def test_nearest_neighbour_shows_training_images_of_the_budget(cell, decoded, sessions):
    """Decoded are the tokens of training images 0, 1, 2, ...: those are shown, with their tokens for retrieval."""
    made = nearest_neighbour(given(cell, sessions=sessions, **decoded))
    expected = np.arange(len(TEST_IDS))
    assert made.ids.tolist() == TEST_IDS and made.facts["nearest"] == expected.tolist()
    np.testing.assert_array_equal(np.asarray(made.arrays["images"])[:, 0, 0, 0], expected)
    true = Embeddings.open(cell["embeddings"])
    np.testing.assert_array_equal(made.arrays["retrieval"], true.tokens[: len(TEST_IDS)].reshape(len(TEST_IDS), -1))
    # Its record is that of the decoder, whose training it rests on, less the generator.
    assert made.disclosure.record() == DISCLOSURE | {"generator": "none"}


def test_recall_stays_within_the_training_budget(cell):
    """One session has images 0 to 19, two have 0 to 39: neither the oracle nor chance shows another."""
    for sessions, known in ((1, range(20)), (2, range(40))):
        for control, fact in ((oracle_nearest_neighbour, "nearest"), (random_training_image, "drawn")):
            assert set(control(given(cell, sessions=sessions)).facts[fact]) <= set(known)
    larger = oracle_nearest_neighbour(given(cell, sessions=2)).facts["nearest"]
    assert max(larger) >= 20


@pytest.mark.parametrize("n", [2, 3, 50])
def test_derangement_moves_everything(n):
    for seed in range(50):
        order = derangement(n, seed)
        assert (np.sort(order) == np.arange(n)).all() and (order != np.arange(n)).all()
    np.testing.assert_array_equal(derangement(n, 7), derangement(n, 7))


def test_derangements_of_three_are_both_drawn():
    assert {tuple(derangement(3, seed)) for seed in range(40)} == {(1, 2, 0), (2, 0, 1)}


def shuffled(cell, path, seed):
    return shuffled_brain(given(cell, source=str(path), of="predictions", seed=seed))


def test_shuffled_brain_moves_images_captions_and_retrieval_together(cell, tmp_path):
    n = 12
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 2, 2, 3))
    vectors = np.arange(n)[:, None] * np.ones((1, 3))
    save_prediction(
        tmp_path / "p", np.arange(n) * 5, METADATA, images, [str(i) for i in range(n)], vectors, samples=images[:, None]
    )
    made = shuffled(cell, tmp_path / "p", 4)
    came_from = np.asarray(made.arrays["images"])[:, 0, 0, 0]
    assert (np.sort(came_from) == np.arange(n)).all() and (came_from != np.arange(n)).all()
    np.testing.assert_array_equal(np.asarray(made.arrays["retrieval"])[:, 0], came_from)
    np.testing.assert_array_equal(np.asarray(made.arrays["samples"])[:, 0], np.asarray(made.arrays["images"]))
    assert made.arrays["captions"] == [str(i) for i in came_from]
    assert made.ids.tolist() == (np.arange(n) * 5).tolist() and made.disclosure.record() == DISCLOSURE
    assert (np.asarray(shuffled(cell, tmp_path / "p", 5).arrays["images"])[:, 0, 0, 0] != came_from).any()


def test_a_method_that_is_made_once_for_all_seeds_has_a_shuffled_brain(cell, tmp_path):
    save_prediction(tmp_path / "p", np.arange(9), METADATA | {"seed": ALL}, captions=[str(i) for i in range(9)])
    once = shuffled(cell, tmp_path / "p", ALL).arrays["captions"]
    assert once == shuffled(cell, tmp_path / "p", 0).arrays["captions"] != [str(i) for i in range(9)]


def test_shuffling_one_image_is_refused(cell, tmp_path):
    save_prediction(tmp_path / "p", np.array([3]), METADATA, np.zeros((1, 2, 2, 3)))
    with pytest.raises(UserError, match="needs two"):
        shuffled(cell, tmp_path / "p", 0)


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


def test_mean_training_image_is_the_same_for_every_test_image(cell):
    """Images 0 to 19 are flat greys of these levels; their mean is 9.5, and 10 when rounded to even."""
    made = mean_training_image(given(cell))
    assert made.arrays["images"].shape == (len(TEST_IDS), 4, 4, 3) and set(made.arrays["images"].ravel()) == {10}
    expected = np.asarray(Embeddings.open(cell["embeddings"]).tokens[:20], np.float64).mean(axis=0).ravel()
    np.testing.assert_allclose(made.arrays["retrieval"], np.tile(expected, (len(TEST_IDS), 1)), rtol=1e-6)


def test_mean_tokens_in_blocks(cell, monkeypatch):
    monkeypatch.setattr("fmri2img.artifacts.embeddings.BLOCK_VALUES", 20 * 6 * 2)
    made = mean_tokens(given(cell))
    expected = np.asarray(Embeddings.open(cell["embeddings"]).tokens[:20], np.float64).mean(axis=0)
    assert made.arrays["tokens"].dtype == np.float16 and made.ids.tolist() == TEST_IDS
    for tokens in made.arrays["tokens"]:
        np.testing.assert_allclose(tokens, expected, rtol=1e-3)
    assert not made.disclosure.training_trials and made.disclosure.encoder == "planted (1)"


def test_oracle_is_the_best_recall_and_never_the_test_image(embeddings):
    """Given the true tokens, the nearest training image is itself where it was trained on, and another where not."""
    training, test = embeddings.ids[:60], embeddings.ids[60:]
    true = np.asarray(embeddings.tokens)
    np.testing.assert_array_equal(nearest(true[:60], embeddings, training), training)
    near = nearest(true[60:], embeddings, training)
    assert np.isin(near, training).all() and not np.isin(near, test).any()


def test_oracle_looks_up_the_true_tokens_of_the_test_images(cell):
    true = Embeddings.open(cell["embeddings"])
    expected = nearest(true.tokens[true.rows(np.array(TEST_IDS))], true, np.arange(20))
    made = oracle_nearest_neighbour(given(cell))
    assert made.facts["nearest"] == expected.tolist() and made.ids.tolist() == TEST_IDS
    assert made.disclosure.test_averaging == "none: the true image's tokens"


def test_what_reads_no_brain_is_made_once_of_every_image_of_the_test_set(cell):
    """Without a recording; of a subject's cell the rows of the images that the subject saw are taken later."""
    made = true_tokens(of_all(cell, seed=0))
    true = Embeddings.open(cell["embeddings"])
    assert made.ids.tolist() == SPLIT.test_sets["shared1000"]
    np.testing.assert_array_equal(made.arrays["tokens"], true.tokens[true.rows(made.ids)])
    captions = caption_ceiling(of_all(cell, captioner="git"))
    assert captions.ids.tolist() == made.ids.tolist() and captions.disclosure.encoder == "git"
    assert captions.arrays["captions"] == [f"seen {i}" for i in made.ids]


def write(method, cell, output, source=None, **wildcards):
    """Run the script of the rules for a method."""
    entry = METHODS[method]
    made_by = entry["made_by"]
    needed = {name: cell[name] for name in ["split", *made_by["needs"]]} | ({"source": source} if source else {})
    params = {key: made_by[key] for key in ("function", "of", "makes")}
    params |= {"method": method, "origin": entry["origin"], "settings": {}, "captioner": "git"}
    text = {name: str(value) for name, value in (CELL._asdict() | wildcards).items()}
    make.main(job_of(needed, str(output), params, text))


@pytest.mark.parametrize("method", ["caption_ceiling", "random_training_image"])
def test_the_written_prediction_says_what_it_is_of(cell, tmp_path, method):
    """Identity, origin and record, with `all` for what it does not vary with."""
    axes = [axis for axis in ("subject", "sessions", "seed") if axis not in METHODS[method]["varies_with"]]
    write(method, cell, tmp_path / "made", **dict.fromkeys(axes, ALL))
    found = Prediction.open(tmp_path / "made")
    identity = CELL._asdict() | dict.fromkeys(axes, ALL)
    assert {name: found.metadata[name] for name in identity} == identity
    assert (found.metadata["method"], found.metadata["split_sha256"]) == (method, SPLIT.sha256)
    assert found.disclosure.origin == "control" and "of" not in found.metadata
    outputs = [output for output in ("images", "captions", "retrieval") if getattr(found, output) is not None]
    assert set(outputs) == set(METHODS[method]["outputs"])


def test_what_is_made_for_all_subjects_serves_each_of_them(cell, tmp_path):
    write("caption_ceiling", cell, tmp_path / "made", subject=ALL, sessions=ALL, seed=ALL)
    seen = Prediction.open(tmp_path / "made").of_cell(CELL, np.array(TEST_IDS))
    assert seen.ids.tolist() == TEST_IDS and seen.captions["caption"].tolist() == [f"seen {i}" for i in TEST_IDS]
    assert (seen.metadata["subject"], seen.metadata["sessions"], seen.metadata["seed"]) == ("subj01", 1, 0)
    with pytest.raises(UserError, match="lacks image_id 5"):
        Prediction.open(tmp_path / "made").of_cell(CELL, np.array([5, 100]))


def test_a_control_of_another_method_names_it(cell, decoded, tmp_path):
    write("ridge_nearest_neighbour", cell, tmp_path / "made", decoded["source"])
    found = Prediction.open(tmp_path / "made")
    assert found.metadata["of"] == "ridge" and found.disclosure.training_trials == DISCLOSURE["training_trials"]
    assert found.metadata["nearest"] == list(range(len(TEST_IDS)))


def test_what_a_function_decodes_is_written_to_be_drawn(cell, tmp_path):
    write("mean_tokens", cell, tmp_path / "made")
    found = Decoded.open(tmp_path / "made")
    assert list(found.arrays) == METHODS["mean_tokens"]["decodes"] and found.ids.tolist() == TEST_IDS


def test_the_repeat_ceiling_is_of_the_subjects_own_responses(cell):
    made = repeat_ceiling(given(cell, sessions=ALL, seed=ALL))
    recording = Recording.open(cell["recording"])
    assert made.ids.tolist() == TEST_IDS
    for i, (first, second) in zip(made.ids, made.arrays["responses"], strict=True):
        np.testing.assert_allclose([first, second], recording.betas[recording.trials["image_id"] == i], rtol=1e-6)


def test_every_function_of_a_control_starts_without_torch():
    modules = {entry["made_by"]["function"].partition(":")[0] for entry in METHODS.values() if "made_by" in entry}
    code = f"import sys, make, {', '.join(sorted(modules))}; sys.exit('torch' in sys.modules)"
    assert len(modules) > 5
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "scripts"}).returncode == 0


def test_a_shuffled_brain_makes_what_it_shuffles():
    floors = {name: entry for name, entry in METHODS.items() if "floor" in entry.get("scale", {}) and "of" in entry}
    assert floors
    for name, entry in floors.items():
        assert set(entry["outputs"]) == set(METHODS[entry["of"]]["outputs"]), name
