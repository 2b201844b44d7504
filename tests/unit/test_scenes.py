"""Drawn scenes: told apart, repeatable, described truly."""

import numpy as np
import pytest

from fmri2img.datasets.scenes import (
    BACKGROUNDS,
    CATEGORIES,
    COLOURS,
    Scene,
    SceneObject,
    Variation,
    captions,
    describe,
    draw,
    named_in,
    sample_scene,
)

PLAIN = Variation(horizon=0.5, light=1.0, warmth=0.0, seed=3)


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(11)
    return [sample_scene(rng) for _ in range(1000)]


def test_a_thousand_pictures_are_told_apart(scenes):
    pixels = np.stack([draw(scene) for scene in scenes]).reshape(1000, -1).astype(np.float32)
    power = (pixels**2).sum(1)
    squared = power[:, None] + power - 2 * pixels @ pixels.T
    np.fill_diagonal(squared, np.inf)
    assert np.sqrt(squared.min() / pixels.shape[1]) > 10  # grey levels


def test_most_captions_are_unique(scenes):
    rng = np.random.default_rng(0)
    rich = [captions(scene, rng)[1] for scene in scenes]
    assert len(set(rich)) > 950


def test_every_caption_names_exactly_what_is_there(scenes):
    rng = np.random.default_rng(0)
    for scene in scenes:
        sentences = captions(scene, rng)
        assert len(sentences) == len(set(sentences)) == 5
        for sentence in sentences:
            assert sentence == sentence.lower() and sentence.endswith(".")
            assert named_in(sentence) == ({scene.background}, {item.category for item in scene.objects})


def test_same_seed_same_pixels_and_captions():
    first, second = (sample_scene(np.random.default_rng(5)) for _ in range(2))
    assert first == second
    np.testing.assert_array_equal(draw(first), draw(second))
    assert captions(first, np.random.default_rng(1)) == captions(second, np.random.default_rng(1))


def test_all_kinds_occur_and_stay_inside_the_picture(scenes):
    assert {scene.background for scene in scenes} == set(BACKGROUNDS)
    items = [item for scene in scenes for item in scene.objects]
    assert {item.category for item in items} == set(CATEGORIES)
    assert {item.colour for item in items} == set(COLOURS)
    assert {len(scene.objects) for scene in scenes} == {1, 2, 3, 4}
    for item in items:
        assert item.size * 64 >= 10
        assert 0 < item.x < 1 and 0 < item.y < 1


@pytest.mark.parametrize("category", CATEGORIES)
def test_each_category_shows_in_its_place_and_colour(category):
    def picture(*objects):
        return draw(Scene("beach", PLAIN, objects)).astype(int)

    empty = picture()
    left = np.abs(picture(SceneObject(category, "purple", 0.4, 0.25, 0.5)) - empty).sum(-1) > 60
    assert left[:, :32].mean() > 0.05 and left[:, 36:].sum() <= 8
    purple, white = (picture(SceneObject(category, colour, 0.4, 0.25, 0.5)) for colour in ("purple", "white"))
    assert (np.abs(purple - white).sum(-1) > 60).sum() > 30


def test_sizes_other_than_the_native_one():
    scene = sample_scene(np.random.default_rng(2))
    assert draw(scene, size=48).shape == (48, 48, 3)
    assert draw(scene).dtype == np.uint8


def test_counts_places_and_sizes_in_words():
    pair = (SceneObject("bench", "red", 0.25, 0.2, 0.8), SceneObject("bench", "red", 0.25, 0.8, 0.8))
    words = " ".join(captions(Scene("sea", PLAIN, pair), np.random.default_rng(0)))
    assert "two red benches" in words and "left" not in words
    lone = (SceneObject("apple", "orange", 0.5, 0.8, 0.7),)
    words = " ".join(captions(Scene("kitchen", PLAIN, lone), np.random.default_rng(0)))
    assert "an orange apple" in words and "on the right" in words


def test_description_of_a_known_scene():
    scene = Scene("desert", PLAIN, (SceneObject("clock", "blue", 0.5, 0.9, 0.1),))
    vector = describe(scene)
    assert vector.dtype == np.float32 and vector.shape == (74,)
    assert vector[:12].argmax() == BACKGROUNDS.index("desert") and vector[:12].sum() == 1
    np.testing.assert_allclose(vector[12:15], [0.5, 1.0, 0.0])
    assert vector[15 : 15 + 21].argmax() == list(CATEGORIES).index("clock")
    np.testing.assert_allclose(vector[36 : 36 + 21].sum(), 0.25)
    np.testing.assert_allclose(vector[-9:].reshape(3, 3)[0, 2], 0.25)
