"""Random numbers of one image, which do not depend on batch size, order or device."""

from collections.abc import Iterable

import numpy as np
import torch

# Each step that draws noise for the same image has its own stream, so that none repeats another's numbers.
PICTURE, PRIOR, REFINEMENT, HIERARCHY, ANALYSIS = 0, 1, 2, 3, 4


def image_noise(
    seed: int, image_id: int, *shapes: tuple[int, ...], stream: int = PICTURE, sample: int = 0
) -> list[torch.Tensor]:
    """Standard normal float32 tensors (CPU) of these shapes, from a generator seeded by (seed, image_id, stream).

    sample: number of the sample, where several are drawn for one image.
    """
    key = [seed, int(image_id), stream, *([sample] if sample else [])]
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def batch_noise(
    seed: int, ids: Iterable[int], *shapes: tuple[int, ...], stream: int = PICTURE, sample: int = 0
) -> list[torch.Tensor]:
    """`image_noise` of each id, stacked: one tensor (ids, *shape) per shape."""
    parts = (image_noise(seed, i, *shapes, stream=stream, sample=sample) for i in ids)
    return [torch.stack(part) for part in zip(*parts, strict=True)]
