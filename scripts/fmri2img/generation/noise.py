"""Random numbers of one image, which do not depend on batch size, order or device."""

import numpy as np
import torch

# Each step that draws noise for the same image has its own stream, so that none repeats another's numbers.
PICTURE, PRIOR, REFINEMENT = 0, 1, 2


def image_noise(seed: int, image_id: int, *shapes: tuple[int, ...], stream: int = PICTURE) -> list[torch.Tensor]:
    """Standard normal float32 tensors (CPU) of these shapes, from a generator seeded by (seed, image_id, stream)."""
    state = np.random.SeedSequence([seed, int(image_id), stream]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def batch_noise(seed: int, ids: np.ndarray, *shapes: tuple[int, ...], stream: int = PICTURE) -> list[torch.Tensor]:
    """`image_noise` of each id, stacked: one tensor (ids, *shape) per shape."""
    parts = (image_noise(seed, i, *shapes, stream=stream) for i in ids)
    return [torch.stack(part) for part in zip(*parts, strict=True)]
