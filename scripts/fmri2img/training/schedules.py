"""Learning rate and first momentum of every optimiser step, as pure functions of the step.

There is no scheduler object. So none can be stepped once per process by accident (as Accelerate does with a prepared
scheduler, and as the released MindEye2 appears to do on several GPUs), and none has to be saved.
"""

import math
from collections.abc import Callable

from fmri2img.training.configuration import TrainingConfig

START, END = 25.0, 1000.0  # one cycle starts at peak / 25 and ends at a thousandth of its start
COSINE_END = 0.02  # share of the peak
SLOW_BETA, FAST_BETA = 0.95, 0.85  # beta1 at the lowest and at the highest learning rate

Schedule = Callable[[int], tuple[float, float | None]]


def schedule(config: TrainingConfig, steps_per_epoch: int, world: int) -> Schedule:
    """A function from the 0-based optimiser step to (learning rate, beta1 or None to keep it)."""
    total = config.epochs * steps_per_epoch
    warmup = warmup_fraction(config)
    at = {"one_cycle": _one_cycle, "cosine": _half_cosine, "linear": _linear, "constant": _constant}[config.schedule]
    pace = world if config.schedule_stepping == "per_process" else 1
    return lambda step: at(config, min(step * pace, total), total, warmup)


def warmup_fraction(config: TrainingConfig) -> float:
    """Share of the training that is warm-up: `warmup_epochs` of `epochs`, or one half if the training is not longer.

    (The released MindEye2 stops with an error at one epoch and, with two, ends at the peak.)
    """
    return config.warmup_epochs / config.epochs if config.warmup_epochs < config.epochs else 0.5


def _one_cycle(config: TrainingConfig, step: int, total: int, warmup: float) -> tuple[float, float]:
    """torch's OneCycleLR(max_lr, total_steps=total, pct_start=warmup, final_div_factor=1000), cosine annealing."""
    peak, last = warmup * total - 1, total - 1
    start_rate = config.learning_rate / START
    if step <= peak:
        fraction = step / peak if peak > 0 else 1.0
        return _cosine(start_rate, config.learning_rate, fraction), _cosine(SLOW_BETA, FAST_BETA, fraction)
    fraction = (step - peak) / (last - peak)
    return _cosine(config.learning_rate, start_rate / END, fraction), _cosine(FAST_BETA, SLOW_BETA, fraction)


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) / 2.0 * (math.cos(math.pi * fraction) + 1)


def _half_cosine(config: TrainingConfig, step: int, total: int, warmup: float) -> tuple[float, None]:
    rate, _ = _constant(config, step, total, warmup)
    return rate * _cosine(1.0, COSINE_END, step / total), None


def _linear(config: TrainingConfig, step: int, total: int, warmup: float) -> tuple[float, None]:
    rate, _ = _constant(config, step, total, warmup)
    past = max(0.0, step + 1 - warmup * total) / max(total * (1 - warmup), 1.0)
    return rate * (1 - min(past, 1.0) * (1 - config.linear_end)), None


def _constant(config: TrainingConfig, step: int, total: int, warmup: float) -> tuple[float, None]:
    return config.learning_rate * min(1.0, (step + 1) / max(warmup * total, 1.0)), None
