"""Shards: consecutive parts of the images, so that several jobs share a step that takes hours.

Random numbers depend on the image and not on its place, and a shard begins where a batch begins, so the joined shards
are equal to what one job writes, byte for byte. A shard of a set with fewer batches than shards may be empty.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fmri2img.artifacts.arrays import read_array
from fmri2img.artifacts.atomic import atomic_directory


class Shard(NamedTuple):
    """number: from 0; shards: how many there are."""

    number: int
    shards: int

    def rows(self, total: int, batch: int) -> slice:
        """Its rows of `total`: whole batches, spread evenly over the shards."""
        batches = -(-total // batch)
        first, last = (number * batches // self.shards for number in (self.number, self.number + 1))
        return slice(min(first * batch, total), min(last * batch, total))


WHOLE = Shard(0, 1)


def save_empty(path: str | Path) -> None:
    """Write a shard without any image."""
    with atomic_directory(path) as directory:
        np.save(directory / "ids.npy", np.empty(0, np.int64))


def not_empty(paths: list[str]) -> list[Path]:
    """Those shards that have images, in their order."""
    return [Path(path) for path in paths if len(read_array(Path(path, "ids.npy")))]
