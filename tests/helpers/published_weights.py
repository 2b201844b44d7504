"""Weights under their published names, as the reference outputs in tests/fixtures were computed with."""

import numpy as np
import torch

UNSCALED = ("learned_query", "embeds", "null_image_embed", "null_kv", "relative_attention_bias.weight")


def drawn(reference: dict, network: str, seed: int, schedule: str) -> dict[str, torch.Tensor]:
    """Weights of `network`, drawn in alphabetical order. reference: name of a network -> shapes, and schedule tables;
    schedule: what the names of these tables begin with."""
    draws, state = np.random.RandomState(seed), {}
    for key in sorted(reference[network]):
        shape = reference[network][key]
        values = draws.standard_normal(shape).astype(np.float32)
        if len(shape) > 1 and not key.endswith(UNSCALED):
            values /= np.float32(np.sqrt(np.prod(shape[1:])))
        elif key.endswith((".g", ".weight")) and len(shape) == 1:
            values = 1 + np.float32(0.2) * values
        elif key.endswith(".bias"):
            values *= np.float32(0.2)
        state[key] = torch.from_numpy(values)
        if key.startswith(schedule):
            state[key] = reference["schedule." + key.removeprefix(schedule)]
        elif key.endswith("rotary_emb.freqs"):
            state[key] = 10000 ** (-torch.arange(0, 32, 2) / 32)
    return state
