"""Axes: what the values of one image in an Embeddings are, and in which shape a decoder gives them back.

Embeddings hold every image's values as (tokens, width). Of autoencoder latents a token is a position of the map, of a
hierarchical autoencoder all levels are one row of values. The metadata says so under "axes":

    {"stored": [{"name": "row", "size": 16, "meaning": "..."}, ...], "decoded": ["channel", "row", "column"],
     "runs": {"level": [32, 1024, ...]}}

stored: axes of the flattened values, the last one fastest; decoded: the same axes in the order of a Decoded;
runs: further groups, with the number of flattened values of each. Without the key the axes are token, dimension.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fmri2img.errors import UserError
from fmri2img.integrity import again

ALL, EACH = "all", "value"  # one group of all values; every value a group of its own


@dataclass(frozen=True)
class Axis:
    name: str
    size: int
    meaning: str = ""


@dataclass(frozen=True)
class Axes:
    """Axes of the values of one image, as the module describes them."""

    stored: tuple[Axis, ...]
    decoded: tuple[str, ...]
    runs: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def tokens(cls, tokens: int, width: int, meaning: str = "") -> "Axes":
        """(tokens, width); meaning: of a token."""
        return cls((Axis("token", tokens, meaning), Axis("dimension", width)), ("token", "dimension"))

    @classmethod
    def channel_map(cls, channels: int, rows: int, columns: int) -> "Axes":
        """A map stored position by position, decoded as (channels, rows, columns)."""
        stored = (Axis("row", rows), Axis("column", columns), Axis("channel", channels))
        return cls(stored, ("channel", "row", "column"))

    @classmethod
    def flat(cls, runs: dict[str, list[int]], meaning: str = "") -> "Axes":
        """One row of values; runs: name of a grouping -> length of each run of values, which add up to all of them."""
        (size,) = {sum(lengths) for lengths in runs.values()}
        return cls((Axis(EACH, size, meaning),), (EACH,), {name: tuple(lengths) for name, lengths in runs.items()})

    @classmethod
    def of(cls, record: Any, shape: tuple[int, int], path: Path) -> "Axes":
        """The record of a metadata file, or the default. shape: (tokens, width) of what is stored.

        Raises UserError naming `path` when it does not fit.
        """
        if record is None:
            return cls.tokens(*shape)
        try:
            axes = cls(
                tuple(Axis(**axis) for axis in record["stored"]),
                tuple(record["decoded"]),
                {name: tuple(lengths) for name, lengths in record["runs"].items()},
            )
            sizes = {axes.size, *(sum(lengths) for lengths in axes.runs.values())}
            fits = sizes == {math.prod(shape)} and sorted(axes.decoded) == sorted(axis.name for axis in axes.stored)
        except (TypeError, KeyError, AttributeError):
            fits = False
        if not fits:
            raise UserError(f"{path}: key 'axes' does not describe {shape[0]} x {shape[1]} values; {again(path)}")
        return axes

    def record(self) -> dict[str, Any]:
        return {
            "stored": [vars(axis) for axis in self.stored],
            "decoded": list(self.decoded),
            "runs": {name: list(lengths) for name, lengths in self.runs.items()},
        }

    @property
    def size(self) -> int:
        """Values of one image."""
        return math.prod(axis.size for axis in self.stored)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image's values in a Decoded."""
        sizes = {axis.name: axis.size for axis in self.stored}
        return tuple(sizes[name] for name in self.decoded)

    def arranged(self, values: np.ndarray) -> np.ndarray:
        """Values (images, size) as they are stored, in the shape of a Decoded (images, *shape)."""
        names = [axis.name for axis in self.stored]
        order = [1 + names.index(name) for name in self.decoded]
        return values.reshape(len(values), *(axis.size for axis in self.stored)).transpose(0, *order)

    def groups(self, name: str) -> np.ndarray:
        """Group of each stored value, int64 (size,): along an axis, by runs, `all` in one, or each `value` alone.

        Raises KeyError for any other name.
        """
        if name == ALL:
            return np.zeros(self.size, np.int64)
        if name == EACH:
            return np.arange(self.size)
        if name in self.runs:
            return np.repeat(np.arange(len(self.runs[name])), self.runs[name])
        position = {axis.name: i for i, axis in enumerate(self.stored)}[name]
        return np.unravel_index(np.arange(self.size), [axis.size for axis in self.stored])[position]
