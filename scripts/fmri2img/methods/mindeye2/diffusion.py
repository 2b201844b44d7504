"""Gaussian diffusion of image tokens: the noise schedule, the training loss and the sampler of the prior.

The prior predicts the clean tokens x0 themselves. Schedule: cosine (Nichol & Dhariwal, 2021), betas at most 0.999.
All random numbers come from the caller.
"""

import functools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fmri2img.errors import UserError
from fmri2img.methods.mindeye2.prior import PriorNetwork


def cosine_betas(timesteps: int) -> Tensor:
    """Variance added at each step, float64 (timesteps,)."""
    offset = 0.008
    time = torch.linspace(0, timesteps, timesteps + 1, dtype=torch.float64, device="cpu") / timesteps
    remaining = torch.cos((time + offset) / (1 + offset) * torch.pi / 2) ** 2
    return (1 - remaining[1:] / remaining[:-1]).clamp(0, 0.999)


@functools.cache
def remaining_signal(timesteps: int, device: torch.device) -> Tensor:
    """Share of the clean tokens' variance left after each step, float64 (timesteps,): products of 1 - beta."""
    with torch.inference_mode(False):
        return torch.cumprod(1 - cosine_betas(timesteps), dim=0).to(device)


def noised(target: Tensor, t: Tensor, noise: Tensor, timesteps: int) -> Tensor:
    """Tokens (batch, tokens, width) after step t (batch,) of the diffusion; noise: standard normal, as `target`."""
    signal = remaining_signal(timesteps, target.device)[t][:, None, None]
    return signal.sqrt().float() * target + (1 - signal).sqrt().float() * noise


def loss(
    prior: PriorNetwork,
    target: Tensor,
    brain: Tensor,
    t: Tensor,
    noise: Tensor,
    keep_brain: Tensor,
    keep_image: Tensor,
) -> tuple[Tensor, Tensor]:
    """Mean squared error of the predicted clean tokens, 0-d, and the prediction (batch, tokens, width).

    target: true image tokens (batch, tokens, width); brain: backbone tokens, as `target`; t: int (batch,), uniform in
    [0, timesteps); noise: standard normal, as `target`; keep_brain, keep_image: bool (batch,), drawn independently,
    False with the chances condition_drop and image_drop of the prior's configuration.
    """
    predicted = prior(noised(target, t, noise, prior.config.timesteps), t, brain, keep_brain, keep_image)
    return F.mse_loss(predicted.float(), target.float()), predicted


def without_brain(prior: PriorNetwork, images: int) -> Tensor:
    """What to sample from to hear no brain: the learned null brain tokens, float32 (images, tokens, width).

    Raises UserError for a prior that never met them in training.
    """
    if prior.config.condition_drop == 0:
        raise UserError(
            "mindeye2.model.prior.condition_drop is 0, so the prior never learned to do without a brain; set it above "
            "0, or drop mindeye2_prior_only from `methods`"
        )
    return prior.null_brain.detach().float().expand(images, -1, -1)


def sampling_times(timesteps: int, steps: int) -> list[int]:
    """Timesteps at which the sampler calls the prior, descending: `steps` points of an even grid from timesteps to -1.

    The grid holds -1 (done) and leaves out `timesteps`; so the prior is called steps - 1 times. 100 and 20 give
    94, 89, ..., 9, 4. Raises UserError unless 2 <= steps < timesteps.
    """
    if not 2 <= steps < timesteps:
        raise UserError(
            f"prior sampling steps: {steps} must be at least 2 and below the {timesteps} it was trained with"
        )
    return torch.linspace(-1, timesteps, steps + 1, device="cpu")[1:-1].int().tolist()[::-1]


@torch.no_grad()
def sample(prior: PriorNetwork, brain: Tensor, noises: Sequence[Tensor], steps: int = 20) -> Tensor:
    """Image tokens (batch, tokens, width), float32, drawn given backbone tokens `brain` of the same shape.

    noises: steps - 1 standard normal tensors (batch, tokens, width) on the device of `brain`: where sampling starts,
    then one for each move between two timesteps. steps: see `sampling_times`. No guidance, no clamping.

    This is DDIM (Song et al., 2021, eq. 12 and 16) with eta = 1, as the released code has it: the noise in the current
    tokens is computed with the schedule at timestep t, the move from t to the next timestep with the schedule one step
    earlier at both ends.
    """
    times = sampling_times(prior.config.timesteps, steps)
    if len(noises) != len(times):
        raise ValueError(f"{steps} steps take {len(times)} noise tensors, got {len(noises)}")
    after = remaining_signal(prior.config.timesteps, torch.device("cpu")).tolist()
    before = [1.0, *after[:-1]]

    x = noises[0]
    for i, t in enumerate(times):
        clean = prior(x, torch.full((len(x),), t, device=x.device), brain).float()
        if i == len(times) - 1:
            break
        noise_in_x = (x / math.sqrt(after[t]) - clean) / math.sqrt(1 / after[t] - 1)
        now, then = before[t], before[times[i + 1]]
        fresh = (1 - now / then) * (1 - then) / (1 - now)
        kept = 1 - then - fresh
        x = math.sqrt(then) * clean + math.sqrt(fresh) * noises[i + 1] + math.sqrt(kept) * noise_in_x
    return clean
