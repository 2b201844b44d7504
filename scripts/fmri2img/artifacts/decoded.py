"""Decoded: a decoder's output for the test trials, before any image is drawn from it.

    <name>.npy     float16 (images, ...), one for each target of the decoder: `tokens` (images, tokens, width), which
                   condition a generator; `retrieval` (images, dimensions), compared by cosine with the flattened true
                   tokens; `latents` (images, channels, side, side), scaled autoencoder latents; or others
    ids.npy        int64 (images,) image_id; row i of each array belongs to ids[i]
    metadata.json  method, subject, sessions, seed, split, test_set, arrays (names) and the decoder's part of the
                   disclosure record

The rows are the images of the test set that the subject saw, each once, ascending. A Decoded that does not vary with
the subject (subject "all") has all images of the test set.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fmri2img.artifacts.arrays import Rows, read_array, save_array
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.prediction import IDENTITY
from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.errors import UserError
from fmri2img.integrity import again


@dataclass(frozen=True)
class Decoded:
    """Opened decoder output. arrays: name -> read-only memory map."""

    path: Path
    arrays: dict[str, np.ndarray]
    ids: np.ndarray
    metadata: dict

    @classmethod
    def open(cls, path: str | Path) -> "Decoded":
        """Open and validate. Raises UserError naming the file or key that is missing or does not fit."""
        path = Path(path)
        metadata = read_json(path / "metadata.json")
        for key in (*IDENTITY, "arrays", "disclosure"):
            if key not in metadata:
                raise UserError(f"{path / 'metadata.json'}: key '{key}' is missing; {again(path)}")
        ids = np.array(read_array(path / "ids.npy"))
        if ids.ndim != 1 or (np.diff(ids) <= 0).any():
            raise UserError(f"{path / 'ids.npy'}: ids must be ascending and unique; {again(path)}")
        arrays: dict[str, np.ndarray] = {name: read_array(path / f"{name}.npy") for name in metadata["arrays"]}
        for name, values in arrays.items():
            if len(values) != len(ids) or values.dtype != np.float16 or values.ndim < 2:
                raise UserError(
                    f"{path / name}.npy: {values.shape} {values.dtype} does not match {len(ids)} ids; {again(path)}"
                )
        return cls(path, arrays, ids, metadata)

    def array(self, name: str) -> np.ndarray:
        """One of the arrays. Raises UserError where the decoder has none of that name."""
        if name not in self.arrays:
            raise UserError(
                f"{self.path}: holds {', '.join(self.arrays)} but not {name}, which the method draws from; correct "
                "`drawing` or `decodes` in its method.yaml"
            )
        return self.arrays[name]

    def of_rows(self, rows: slice) -> "Decoded":
        """With these rows only."""
        if rows == slice(0, len(self.ids)):
            return self
        arrays = {name: np.asarray(values[rows]) for name, values in self.arrays.items()}
        return replace(self, arrays=arrays, ids=self.ids[rows])

    @property
    def retrieval(self) -> np.ndarray:
        """Retrieval vectors float16 (images, dimensions): the decoder's own, otherwise its flattened tokens."""
        return (
            self.arrays["retrieval"] if "retrieval" in self.arrays else self.array("tokens").reshape(len(self.ids), -1)
        )

    @property
    def disclosure(self) -> Disclosure:
        return Disclosure.of(self.metadata["disclosure"], self.path / "metadata.json")


def save_decoded(path: str | Path, ids: np.ndarray, metadata: dict, arrays: dict[str, np.ndarray | Rows]) -> None:
    """Write a decoder's output for ascending `ids`; arrays of any float type are stored as float16.

    Raises UserError when a value is not finite or overflows float16 (65504).
    """
    with atomic_directory(path) as directory:
        for name, values in arrays.items():
            save_array(directory / f"{name}.npy", values, np.float16, finite=f"{path}: the decoded {name}")
        np.save(directory / "ids.npy", np.asarray(ids, np.int64))
        write_json(directory / "metadata.json", metadata | {"arrays": list(arrays)})
        Decoded.open(directory)
