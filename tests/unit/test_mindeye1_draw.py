"""MindEye1's pictures: which sample is kept, which tokens it has, and what the generator starts from."""

import numpy as np
import pytest
import torch

from fmri2img.errors import UserError
from fmri2img.methods.mindeye1.draw import PIXELS, best_of, blurry_pictures, sample_tokens

IMAGES, TOKENS, WIDTH = 4, 3, 5


def encode(pictures: np.ndarray) -> np.ndarray:
    """A picture's tokens are its first numbers."""
    return pictures.reshape(len(pictures), -1)[:, : TOKENS * WIDTH].astype(np.float32).reshape(-1, TOKENS, WIDTH)


def test_the_sample_that_is_most_similar_to_the_retrieval_vector_is_kept():
    rng = np.random.default_rng(0)
    samples = rng.integers(1, 255, (3, IMAGES, 4, 4, 3), np.uint8)
    wanted = rng.normal(size=(IMAGES, TOKENS * WIDTH)).astype(np.float16)
    for image, winner in enumerate((2, 0, 1, 1)):
        wanted[image] = encode(samples[winner, image : image + 1]).reshape(-1) * 3.0  # the cosine knows no scale
    images, chosen = best_of(3, samples.__getitem__, encode, wanted)
    assert chosen.tolist() == [2, 0, 1, 1]
    for image, winner in enumerate(chosen):
        np.testing.assert_array_equal(images[image], samples[winner, image])
    same, first = best_of(2, lambda number: samples[0], encode, wanted)
    assert first.tolist() == [0] * IMAGES
    np.testing.assert_array_equal(same, samples[0])


def test_each_sample_has_tokens_of_its_own_as_far_as_the_decoder_drew_them():
    tokens, candidates = np.full((2, 3, 4), 0.0), np.stack([np.full((2, 3, 4), 1.0), np.full((2, 3, 4), 2.0)], axis=1)
    assert [float(sample_tokens(tokens, candidates, n)[0, 0, 0]) for n in range(5)] == [0, 1, 2, 0, 1]
    assert sample_tokens(tokens, None, 3) is tokens


class Doubling:
    """An autoencoder whose pictures are its latents, twice as large."""

    channels, device = 3, torch.device("cpu")

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return latents.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_the_blurry_picture_is_decoded_whole_and_clamped():
    latents = np.linspace(-1, 2, 3 * 3 * 2 * 2, dtype=np.float16).reshape(3, 3, 2, 2)
    pictures = blurry_pictures(latents, Doubling(), "decoded")
    assert pictures.shape == (3, 4, 4, 3) and pictures.min() == 0 and pictures.max() == 1
    np.testing.assert_allclose(pictures[1, ::2, ::2], latents[1].transpose(1, 2, 0).clip(0, 1), atol=1e-6)
    with pytest.raises(UserError, match=r"4 channels, but mindeye1\.autoencoder has 3"):
        blurry_pictures(np.zeros((1, 4, 2, 2)), Doubling(), "decoded")


def test_the_released_codes_pixels_are_clips():
    mean, deviation = (np.array(values) for values in PIXELS["clip"])
    np.testing.assert_allclose(
        (np.array([0.0, 0.5, 1.0]) - mean[0]) / deviation[0], [-1.7923, 0.0690, 1.9303], atol=1e-4
    )
    assert PIXELS["symmetric"] == ((0.5,) * 3, (0.5,) * 3)
