"""Decoded: what a decoder makes of one subject's test trials, before anything is drawn from it.

Row i of each array belongs to ids[i]; every test id of the subject exactly once, ascending:

    tokens.npy     float16 (images, tokens, width): what the generator listens to
    retrieval.npy  float16 (images, dimensions): vectors compared by cosine with the flattened true tokens; where it is
                   absent, the tokens themselves are compared
    latents.npy    float16 (images, channels, side, side): scaled autoencoder latents of a blurry picture; only where
                   the method decodes one
    ids.npy        int64 (images,) image_id
    metadata.json  method, subject, sessions, seed, split, encoder and the decoder's part of the disclosure record
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri2img.artifacts.arrays import read_array
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.prediction import IDENTITY
from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.errors import UserError


@dataclass(frozen=True)
class Decoded:
    """Opened decoder output; arrays are read-only memory maps, `latents` is None where there are none."""

    path: Path
    tokens: np.ndarray
    retrieval: np.ndarray
    latents: np.ndarray | None
    ids: np.ndarray
    metadata: dict

    @classmethod
    def open(cls, path: str | Path) -> "Decoded":
        """Open and validate. Raises UserError naming the file or key that is missing or does not fit."""
        path = Path(path)
        for name in ("tokens.npy", "ids.npy"):
            if not (path / name).is_file():
                raise UserError(f"{path / name}: no such file; rerun the step that writes {path}")
        metadata = read_json(path / "metadata.json")
        for key in (*IDENTITY, "disclosure"):
            if key not in metadata:
                raise UserError(f"{path / 'metadata.json'}: key '{key}' is missing; rerun the decoding")
        ids = np.array(read_array(path / "ids.npy"))
        if ids.ndim != 1 or (np.diff(ids) <= 0).any():
            raise UserError(f"{path / 'ids.npy'}: ids must be ascending and unique; rerun the decoding")

        def array(name: str, ndim: int) -> np.ndarray | None:
            if not (path / name).exists():
                return None
            values = read_array(path / name)
            if len(values) != len(ids) or values.dtype != np.float16 or values.ndim != ndim:
                raise UserError(f"{path / name}: {values.shape} {values.dtype} does not match {len(ids)} ids; rerun")
            return values

        tokens, retrieval = array("tokens.npy", 3), array("retrieval.npy", 2)
        if retrieval is None:
            retrieval = tokens.reshape(len(ids), -1)
        return cls(path, tokens, retrieval, array("latents.npy", 4), ids, metadata)


def save_decoded(
    path: str | Path,
    ids: np.ndarray,
    metadata: dict,
    tokens: np.ndarray,
    retrieval: np.ndarray | None = None,
    latents: np.ndarray | None = None,
) -> None:
    """Write decoder output of ascending `ids`; arrays of any float type are stored as float16.

    Raises ValueError when a value is not finite or overflows float16 (65504).
    """
    with atomic_directory(path) as directory:
        for name, values in (("tokens", tokens), ("retrieval", retrieval), ("latents", latents)):
            if values is None:
                continue
            with np.errstate(over="ignore"):
                stored = np.asarray(values).astype(np.float16)
            if not np.isfinite(stored).all():
                raise ValueError(f"{name} decoded for {path} are not finite in float16")
            np.save(directory / f"{name}.npy", stored)
        np.save(directory / "ids.npy", np.asarray(ids, np.int64))
        write_json(directory / "metadata.json", metadata)
        Decoded.open(directory)
