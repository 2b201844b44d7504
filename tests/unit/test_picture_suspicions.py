"""Submitted pictures in another order, range, orientation or order of channels are told apart, and good ones pass."""

import numpy as np
import pytest

from fmri2img.backbones.pixels import resize, to_uint8
from fmri2img.reporting.picture_suspicions import CHANGES, picture_suspicions

N = 60
IDS = np.sort(np.random.default_rng(3).choice(73_000, N, replace=False))


def scenes(seed: int) -> np.ndarray:
    """Smooth coloured noise, uint8 (N, 48, 48, 3)."""
    import torch

    coarse = torch.from_numpy(np.random.default_rng(seed).random((N, 3, 6, 6), np.float32))
    return to_uint8(resize(coarse, 48, "bicubic"))


TRUTH = scenes(0)
DECODED = np.rint(0.45 * TRUTH + 0.55 * scenes(1)).astype(np.uint8)  # correlates at about 0.6 with its stimulus


def undone(change) -> np.ndarray:
    """The pictures that become DECODED once they are changed."""
    inverse = {"turned left": "turned right", "turned right": "turned left"}.get(change, change)
    return to_uint8_of(CHANGES[inverse][0](DECODED / 255.0))


def to_uint8_of(unit: np.ndarray) -> np.ndarray:
    return np.rint(255 * unit).astype(np.uint8)


def test_pictures_that_are_right_are_not_suspected_and_neither_are_bad_ones():
    assert picture_suspicions(DECODED, TRUTH, IDS) == []
    assert picture_suspicions(TRUTH, TRUTH, IDS) == []
    assert picture_suspicions(scenes(2), TRUTH, IDS) == []
    assert picture_suspicions(np.zeros_like(TRUTH) + 3, scenes(4), IDS)[0].startswith("the pictures have 0% of")
    grey = np.repeat(DECODED.mean(axis=3, keepdims=True).astype(np.uint8), 3, axis=3)
    assert picture_suspicions(grey, TRUTH, IDS) == []
    assert picture_suspicions(DECODED[:10, ::-1], TRUTH[:10], IDS[:10]) == []  # too few to say


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_done_to_all_pictures_is_found(change):
    (text,) = picture_suspicions(undone(change), TRUTH, IDS)
    assert text.startswith(f"the pictures fit their stimuli better {change} (mean correlation 0.")
    assert text.endswith(CHANGES[change][1])


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (np.arange(N)[::-1], "in descending order of image_id"),
        (np.array(sorted(range(N), key=str)), "in the order of their numbers as text"),
        (np.array(sorted(range(N), key=lambda row: str(IDS[row]))), "in the order of image_id as text"),
        (np.roll(np.arange(N), 1), "each one place too late"),
        (np.roll(np.arange(N), -1), "each one place too early"),
    ],
)
def test_the_order_that_rows_were_put_in_is_found(order, text):
    (found,) = picture_suspicions(DECODED[order], TRUTH, IDS)
    assert f"if the rows are {text}" in found


def test_values_that_were_cut_off_are_found_whatever_else_is_right():
    standardised = (DECODED / 255.0 - 0.5) / 0.08
    (text,) = picture_suspicions(to_uint8_of(standardised.clip(0, 1)), TRUTH, IDS)
    assert "of the pictures' values are at the ends of their range" in text
