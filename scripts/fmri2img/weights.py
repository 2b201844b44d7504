"""Arrays that a fitted model consists of, in a safetensors file."""

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from fmri2img.reading import readable


def read_arrays(path: str | Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file. Raises UserError when it is missing, damaged or holds others than `names`."""
    with readable(path, "a complete safetensors file"):
        arrays: dict[str, np.ndarray] = load_file(path)
        other = sorted(arrays.keys() ^ set(names))
        if other:
            raise ValueError(f"it {'has an unknown' if other[0] in arrays else 'lacks'} array '{other[0]}'")
    return arrays


def read_fields(path: str | Path, cls: type) -> dict[str, np.ndarray]:
    """`read_arrays` of the fields of a dataclass that are arrays."""
    return read_arrays(path, [field.name for field in fields(cls) if field.type is np.ndarray])
