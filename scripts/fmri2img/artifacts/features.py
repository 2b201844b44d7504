"""Features: outputs of a frozen network for the true test images, with which metrics compare reconstructions.

<layer>.npy    float32 (images, dimensions), one file per layer
ids.npy        int64 (images,) image_id, ascending
metadata.json  network, revision, size that the images were first resized to
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri2img.artifacts.arrays import check_finite, read_array
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.stimuli import rows_of
from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.errors import UserError
from fmri2img.integrity import again


@dataclass(frozen=True)
class Features:
    """Opened features; `layers` are read-only memory maps."""

    path: Path
    layers: dict[str, np.ndarray]
    ids: np.ndarray
    metadata: dict

    @classmethod
    def open(cls, path: str | Path) -> "Features":
        """Open and validate. Raises UserError naming the file that is missing or does not fit the others."""
        path = Path(path)
        metadata = read_json(path / "metadata.json")
        ids = np.array(read_array(path / "ids.npy"))
        layers: dict[str, np.ndarray] = {name: read_array(path / f"{name}.npy") for name in metadata["layers"]}
        for name, values in layers.items():
            if values.ndim != 2 or len(values) != len(ids):
                raise UserError(f"{path / name}.npy: {values.shape} does not match {len(ids)} ids; {again(path)}")
        return cls(path, layers, ids, metadata)

    def of(self, layer: str, ids: np.ndarray) -> np.ndarray:
        """Features float32 (n, dimensions) of `ids`. Raises UserError for a layer or an id that is missing."""
        if layer not in self.layers:
            raise UserError(f"{self.path}: lacks layer '{layer}'; {again(self.path)}")
        values: np.ndarray = self.layers[layer][rows_of(ids, self.ids, self.path)]
        return values


def save_features(path: str | Path, ids: np.ndarray, layers: Mapping[str, np.ndarray], metadata: dict) -> None:
    """Write features of ascending `ids`. layers: layer -> float32 (images, dimensions).

    Raises UserError when a feature is not finite.
    """
    with atomic_directory(path) as directory:
        for name, values in layers.items():
            check_finite(values, f"{path}: the features of layer '{name}'")
            np.save(directory / f"{name}.npy", values.astype(np.float32, copy=False))
        np.save(directory / "ids.npy", np.asarray(ids, np.int64))
        write_json(directory / "metadata.json", metadata | {"layers": sorted(layers)})
        Features.open(directory)
