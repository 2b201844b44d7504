"""Choice of the training rows of each step: endless seeded permutations, without state.

Sample number `i` of a subject depends only on the seed and `i`. So a resumed run needs no sampler state, and eight
processes that divide a batch see the same samples as one process. Every row is used once before any is used twice,
unlike the shard sampling with replacement of the released MindEye2.
"""

from functools import lru_cache

import numpy as np
import torch


class Streams:
    """One endless stream of rows per subject.

    lengths: number of training rows of each subject; seed: the study's.
    """

    def __init__(self, lengths: list[int], seed: int) -> None:
        if not all(length > 0 for length in lengths):
            raise ValueError(f"every subject needs training rows; got {lengths}")
        self._lengths = lengths
        self._seed = seed
        # a batch uses at most two passes of each subject, or more if it is larger than the data
        self._permutation = lru_cache(maxsize=4 * len(lengths))(self._make_permutation)

    def _make_permutation(self, subject: int, number: int) -> np.ndarray:
        return np.random.default_rng([self._seed, subject, number]).permutation(self._lengths[subject])

    def rows(self, subject: int, start: int, count: int) -> np.ndarray:
        """Samples `start` to `start + count` of subject number `subject`: (count,) int64 rows, 0 to length - 1."""
        length = self._lengths[subject]
        numbers, places = np.divmod(np.arange(start, start + count), length)
        rows = np.empty(count, np.int64)
        for number in np.unique(numbers):
            here = numbers == number
            rows[here] = self._permutation(subject, int(number))[places[here]]
        return rows


def share(count: int, rank: int, world: int) -> slice:
    """Positions of process `rank`'s samples if `count` samples are divided evenly over `world` processes."""
    if count % world:
        raise ValueError(f"{count} samples cannot be divided evenly over {world} processes")
    each = count // world
    return slice(rank * each, (rank + 1) * each)


def seed_of(*keys: int) -> int:
    """A 63-bit seed that is a well-mixed function of non-negative integers, e.g. (seed, step, rank)."""
    # the number of keys is mixed in because SeedSequence treats (1, 2) and (1, 2, 0) as equal
    return int(np.random.SeedSequence((len(keys), *keys)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(device: torch.device | str, *keys: int) -> torch.Generator:
    """A torch generator on `device`, seeded by `keys`; tasks draw noise from it, e.g. generator(cpu, seed, step)."""
    return torch.Generator(device).manual_seed(seed_of(*keys))
