"""MindEye2's diffusion prior: parts with a known answer, and the properties its training and sampling rely on."""

import pytest
import torch
from diffusers import DDPMScheduler
from torch import nn
from transformers.models.t5.modeling_t5 import T5Attention

from fmri2img.errors import UserError
from fmri2img.networks.prior import (
    GainNorm,
    PriorNetwork,
    cosine_betas,
    noised,
    prior_loss,
    relative_buckets,
    remaining_signal,
    rotate,
    sample,
    sampling_times,
)
from fmri2img.networks.settings import PriorConfig

CONFIG = PriorConfig(depth=2, heads=3, head_width=10, feedforward=2, rotary_width=4)
BATCH, TOKENS, WIDTH = 3, 5, 8


@pytest.fixture
def prior() -> PriorNetwork:
    torch.manual_seed(0)
    return PriorNetwork(CONFIG, TOKENS, WIDTH)


def tokens(seed: int) -> torch.Tensor:
    return torch.randn(BATCH, TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed))


T = torch.tensor([0, 40, 99])


def test_position_buckets_are_those_of_t5():
    length = 513
    relative = torch.arange(length + 1) - torch.arange(length)[:, None]
    expected = T5Attention._relative_position_bucket(relative, bidirectional=False, num_buckets=32, max_distance=128)
    assert torch.equal(relative_buckets(length, torch.device("cpu")), expected)


def test_rotated_products_depend_on_the_distance_of_positions_alone():
    torch.manual_seed(0)
    query, key = torch.randn(2, 10)
    angles = torch.arange(9.0)[:, None] * torch.tensor([1.0, 0.1, 0.01])
    products = rotate(query.expand(9, 10), angles) @ rotate(key.expand(9, 10), angles).T
    for shift in (1, 4):
        torch.testing.assert_close(products[:-shift, :-shift], products[shift:, shift:])
    assert (products[0] - products[0, 0]).abs().max() > 0.1
    assert torch.equal(rotate(query.expand(9, 10), angles)[:, 6:], query[6:].expand(9, 4))


def test_norm_takes_the_larger_epsilon_below_float32():
    x = 0.01 * torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(0)).bfloat16()
    norm = GainNorm(WIDTH)
    fine = norm(x.float())
    coarse = norm.bfloat16()(x).float()
    ratio = ((x.float().var(-1, unbiased=False) + 1e-5) / (x.float().var(-1, unbiased=False) + 1e-3)).sqrt()
    torch.testing.assert_close(coarse, fine * ratio[:, None], rtol=0.03, atol=0.01)


def test_stable_norm_bears_activations_whose_squares_overflow():
    x = torch.tensor([[3e20, 1e20, -2e20, 4e20]])
    assert torch.isfinite(GainNorm(4, stable=True)(x)).all()
    torch.testing.assert_close(GainNorm(4, stable=True)(x), GainNorm(4)(x / 4e20))


def test_dropped_brain_and_image_leave_no_trace(prior):
    keep_none, keep_all = torch.zeros(BATCH, dtype=torch.bool), torch.ones(BATCH, dtype=torch.bool)
    with torch.no_grad():
        plain = prior(tokens(0), T, tokens(1))
        torch.testing.assert_close(prior(tokens(0), T, tokens(1), keep_all, keep_all), plain)
        without_brain = prior(tokens(0), T, tokens(1), keep_none, keep_all)
        torch.testing.assert_close(prior(tokens(0), T, tokens(2), keep_none, keep_all), without_brain)
        without_image = prior(tokens(0), T, tokens(1), keep_all, keep_none)
        torch.testing.assert_close(prior(tokens(2), T, tokens(1), keep_all, keep_none), without_image)
        mixed = prior(tokens(0), T, tokens(1), torch.tensor([True, False, True]), keep_all)
    assert (plain - without_brain).abs().max() > 0.01
    assert (plain - without_image).abs().max() > 0.01
    torch.testing.assert_close(mixed[1], without_brain[1])
    torch.testing.assert_close(mixed[[0, 2]], plain[[0, 2]])


def test_every_trained_parameter_receives_gradient(prior):
    keep_brain, keep_image = torch.tensor([True, False, True]), torch.tensor([True, True, False])
    prior_loss(prior, tokens(0), tokens(1), T, tokens(2), keep_brain, keep_image)[0].backward()
    for name, parameter in prior.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    assert not prior.rotary_frequencies.requires_grad


def test_checkpointing_changes_no_gradient(prior):
    keep = torch.ones(BATCH, dtype=torch.bool)
    gradients = []
    for checkpointing in (False, True):
        prior.checkpointing = checkpointing
        prior.zero_grad()
        prior_loss(prior, tokens(0), tokens(1), T, tokens(2), keep, keep)[0].backward()
        gradients.append([p.grad.clone() for p in prior.parameters() if p.requires_grad])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_half_precision_stays_near_float32(prior):
    with torch.no_grad():
        exact = prior(tokens(0), T, tokens(1))
        with torch.autocast("cpu", torch.bfloat16):
            rough = prior(tokens(0), T, tokens(1))
    assert torch.nn.functional.cosine_similarity(exact.flatten(1), rough.float().flatten(1)).min() > 0.99


def test_schedule_is_the_cosine_schedule_of_the_literature():
    reference = DDPMScheduler(num_train_timesteps=100, beta_schedule="squaredcos_cap_v2")
    torch.testing.assert_close(cosine_betas(100).float(), reference.betas, rtol=1e-5, atol=1e-7)
    cpu = torch.device("cpu")
    torch.testing.assert_close(remaining_signal(100, cpu).float(), reference.alphas_cumprod, rtol=1e-4, atol=0)
    expected = reference.add_noise(tokens(0), tokens(1), T)
    torch.testing.assert_close(noised(tokens(0), T, tokens(1), 100), expected)


def test_loss_is_the_error_of_the_prediction_over_everything(prior):
    keep = torch.ones(BATCH, dtype=torch.bool)
    loss, predicted = prior_loss(prior, tokens(0), tokens(1), T, tokens(2), keep, keep)
    torch.testing.assert_close(loss, ((predicted - tokens(0)) ** 2).mean())


def test_sampling_visits_the_published_timesteps():
    assert sampling_times(100, 20) == list(range(94, 0, -5))
    for steps in (1, 100):
        with pytest.raises(UserError, match="steps"):
            sampling_times(100, steps)


class Oracle(nn.Module):
    """Knows the clean tokens, and records what it was asked."""

    def __init__(self, clean: torch.Tensor):
        super().__init__()
        self.config, self.clean, self.asked = CONFIG, clean, []

    def forward(self, noisy, t, brain):
        self.asked.append((noisy, t))
        return self.clean


def test_sampler_returns_the_last_prediction_and_keeps_the_noise_level_of_the_schedule():
    torch.manual_seed(0)
    clean = torch.randn(400, 4, 8)
    oracle = Oracle(clean)
    assert torch.equal(sample(oracle, clean, torch.randn(19, 400, 4, 8)), clean)
    assert [int(t[0]) for _, t in oracle.asked] == list(range(94, 0, -5))
    signal = remaining_signal(100, torch.device("cpu")).float()
    for noisy, t in oracle.asked[10:]:  # by then the pure noise of the start is forgotten
        before = signal[int(t[0]) - 1]
        left = noisy - before.sqrt() * clean
        assert abs(left.std() / (1 - before).sqrt() - 1) < 0.05
        assert abs((left * clean).mean()) < 0.05


def test_samples_do_not_depend_on_the_batch(prior):
    noises = torch.stack([tokens(seed) for seed in range(19)])
    together = sample(prior, tokens(50), noises)
    alone = torch.cat([sample(prior, tokens(50)[i : i + 1], noises[:, i : i + 1]) for i in range(BATCH)])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="19"):
        sample(prior, tokens(50), noises[:18])
