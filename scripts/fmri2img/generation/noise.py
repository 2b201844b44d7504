"""Random numbers that belong to one image: the same whatever the batch size, the order and the device."""

import numpy as np
import torch


def image_noise(seed: int, nsd_id: int, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    """Standard normal float32 tensors (CPU) of the given shapes, from a generator seeded by (seed, nsd_id)."""
    state = np.random.SeedSequence([seed, int(nsd_id)]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def batch_noise(seed: int, ids: np.ndarray, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    """`image_noise` of each id, stacked: one tensor (ids, *shape) per shape."""
    return [torch.stack(parts) for parts in zip(*(image_noise(seed, i, *shapes) for i in ids), strict=True)]
