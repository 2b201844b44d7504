"""MindEye2's losses: against the released code's numbers, against loops over the formulas, and over processes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fmri2img.errors import UserError
from fmri2img.methods.mindeye2.settings import LossConfig
from fmri2img.networks.losses import bimixco_loss, flat_unit, latent_loss, local_contrast_loss, soft_clip_loss
from fmri2img.networks.mixco import Mixture, draw_mixture, mixed_betas, mixture_labels
from fmri2img.networks.settings import soft_temperature


@pytest.fixture(scope="module")
def released() -> dict[str, torch.Tensor]:
    """Random inputs and what the released code's functions make of them: three subjects with three trials each, some
    partners being the trial itself."""
    return load_file(Path(__file__).parents[1] / "fixtures" / "mindeye2_losses.safetensors")


def three_subjects(released) -> list[Mixture]:
    return [Mixture(released["partner"][i : i + 3].numpy(), released["share"][i : i + 3].numpy()) for i in (0, 3, 6)]


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over rows of -sum_j labels_ij log softmax_j(logits_ij), in float64 loops."""
    total = 0.0
    for row, wanted in zip(logits.astype(np.float64), labels.astype(np.float64), strict=True):
        peak = row.max()
        normaliser = peak + math.log(sum(math.exp(x - peak) for x in row))
        total -= sum(w * (x - normaliser) for w, x in zip(wanted, row, strict=True))
    return total / len(logits)


def softmax(rows: np.ndarray) -> np.ndarray:
    powers = np.exp(rows - rows.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


# ---- MixCo


def test_betas_are_mixed_as_in_the_released_code(released):
    betas = released["betas"].numpy()
    mixed = np.concatenate(
        [
            mixed_betas(betas[3 * i : 3 * i + 3], betas[3 * i : 3 * i + 3][mixture.partner], mixture.share)
            for i, mixture in enumerate(three_subjects(released))
        ]
    )
    np.testing.assert_allclose(mixed, released["mixed"], atol=1e-6)


def test_bug_compatible_labels_give_the_released_loss(released):
    similarities = flat_unit(released["projected"]) @ flat_unit(released["tokens"]).T
    labels = mixture_labels(three_subjects(released), permutation_offsets=False, fixed_points="overwritten")
    loss = bimixco_loss(similarities, torch.from_numpy(labels), 0.006)
    torch.testing.assert_close(loss, released["bimixco_released"], rtol=1e-5, atol=1e-5)
    corrected = bimixco_loss(similarities, torch.from_numpy(mixture_labels(three_subjects(released))), 0.006)
    assert abs(corrected - released["bimixco_released"]) > 1


def test_one_subject_without_fixed_points_needs_no_correction(released):
    similarities = flat_unit(released["projected"]) @ flat_unit(released["tokens"]).T
    mixture = Mixture(released["partner_single"].numpy(), released["share"].numpy())
    for switches in ((True, "summed"), (False, "overwritten")):
        loss = bimixco_loss(similarities, torch.from_numpy(mixture_labels([mixture], *switches)), 0.006)
        torch.testing.assert_close(loss, released["bimixco_single"], rtol=1e-5, atol=1e-5)


def test_labels_follow_partners_within_their_own_subject(released):
    mixtures = three_subjects(released)
    wanted = np.zeros((9, 9))
    for subject, mixture in enumerate(mixtures):
        for i in range(3):
            wanted[3 * subject + i, 3 * subject + i] += mixture.share[i]
            wanted[3 * subject + i, 3 * subject + mixture.partner[i]] += 1 - mixture.share[i]
    labels = mixture_labels(mixtures)
    np.testing.assert_allclose(labels, wanted, atol=1e-6)
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-6)
    blocks = np.kron(np.eye(3), np.ones((3, 3)))
    assert not labels[blocks == 0].any()


def test_the_released_labels_lose_unmixed_fixed_points_and_leave_their_subject(released):
    mixtures = three_subjects(released)
    labels = mixture_labels(mixtures, permutation_offsets=True, fixed_points="overwritten")
    assert mixtures[1].partner[0] == 0 and mixtures[1].share[0] == 1
    assert not labels[3].any()
    labels = mixture_labels(mixtures, permutation_offsets=False)
    assert labels[4, 2] == pytest.approx(1 - mixtures[1].share[1])


def test_bimixco_is_the_mean_of_two_cross_entropies():
    rng = np.random.default_rng(0)
    similarities = rng.uniform(-1, 1, (6, 6)).astype(np.float32)
    labels = mixture_labels([draw_mixture(6, rng, 0.15, 0.5)])
    wanted = (cross_entropy(similarities / 0.006, labels) + cross_entropy(similarities.T / 0.006, labels.T)) / 2
    got = bimixco_loss(torch.from_numpy(similarities), torch.from_numpy(labels), 0.006)
    assert float(got) == pytest.approx(wanted, rel=1e-5)


def test_half_of_the_trials_are_mixed_with_shares_near_the_ends():
    mixture = draw_mixture(20_000, np.random.default_rng(1), 0.15, 0.5)
    assert sorted(mixture.partner) == list(range(20_000))
    mixed = mixture.share[mixture.share < 1]
    assert len(mixed) / 20_000 == pytest.approx(0.5, abs=0.02)
    assert mixed.mean() == pytest.approx(0.5, abs=0.02)
    assert mixed.var() == pytest.approx(0.25 / 1.3, abs=0.01)  # of Beta(0.15, 0.15)


# ---- SoftCLIP


def test_soft_clip_gives_the_released_loss(released):
    brains, images = flat_unit(released["projected"]), flat_unit(released["tokens"])
    for place, temperature in enumerate((0.004, 0.00575, 0.0075)):
        loss = soft_clip_loss(brains @ images.T, images @ images.T, temperature)
        torch.testing.assert_close(loss, released["soft_clip"][place], rtol=1e-4, atol=1e-4)


def test_soft_clip_uses_the_same_labels_in_both_directions():
    rng = np.random.default_rng(2)
    brains, images = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.normal(size=(2, 5, 7)))
    labels = softmax(images @ images.T / 0.05)
    wanted = (cross_entropy(brains @ images.T / 0.05, labels) + cross_entropy(images @ brains.T / 0.05, labels)) / 2
    got = soft_clip_loss(torch.from_numpy(brains @ images.T), torch.from_numpy(images @ images.T), 0.05)
    assert float(got) == pytest.approx(wanted, rel=1e-9)


def test_temperatures_follow_the_released_half_cosine_after_49_of_150_epochs(released):
    config = LossConfig()
    assert config.mixup_epochs(150) == 49
    assert {config.temperature(epoch, 150) for epoch in range(49)} == {0.006}
    got = [config.temperature(epoch, 150) for epoch in range(49, 150)]
    np.testing.assert_allclose(got, released["temperatures"], rtol=1e-5)
    assert (got[0], got[-1]) == (0.004, 0.0075)
    assert soft_temperature(0, 1, 0.004, 0.0075) == 0.004


# ---- low-level losses


def test_local_contrast_gives_the_released_loss(released):
    maps = (released["student"], released["teacher"], released["augmented"])
    torch.testing.assert_close(local_contrast_loss(*maps, 0.2), released["local"], rtol=1e-5, atol=1e-5)


def test_shares_of_the_local_contrast_average_to_the_whole(released):
    maps = (released["student"], released["teacher"], released["augmented"])
    shares = [local_contrast_loss(*maps, 0.2, slice(start, start + 5)) for start in (0, 5, 10)]
    torch.testing.assert_close(torch.stack(shares).mean(), local_contrast_loss(*maps, 0.2))


def test_low_level_losses_are_computed_in_float32():
    large = torch.full((2, 3, 4), 300.0, dtype=torch.float16)  # its square overflows float16
    assert torch.isfinite(local_contrast_loss(large, large, large, 0.2))
    latents = torch.tensor([[60000.0, -60000.0]], dtype=torch.float16)
    assert float(latent_loss(latents, -latents)) == pytest.approx(2 * 60000, rel=1e-3)


# ---- configuration


def test_published_weights_are_the_defaults():
    config = LossConfig.read({})
    assert (config.prior, config.contrast, config.low_level, config.local_contrast) == (30, 1, 0.5, 0.1)
    assert LossConfig.read(config.to_dict()) == config


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"negative": "local"}, "key 'losses.negative': unknown; did you mean 'negatives'"),
        ({"negatives": "all"}, "key 'losses.negatives': 'all' is not one of gathered, local"),
        ({"permutation_offsets": 1}, "key 'losses.permutation_offsets': 1 is not true or false"),
        ({"mixco_temperature": 0}, "key 'losses.mixco_temperature': 0 is out of range; it must be at least 0.0001"),
        ({"mixup_share": 1.5}, "key 'losses.mixup_share': 1.5 is out of range; it must be at most 1"),
    ],
)
def test_a_bad_loss_configuration_is_named(record, message):
    with pytest.raises(UserError, match=message):
        LossConfig.read(record, key="losses")
