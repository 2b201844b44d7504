"""Prediction: a method's output for a subject's test trials, as it is scored.

It has one or more of the arrays below; row i of each belongs to ids[i]. The rows are the images of the test set that
the subject saw, each once, ascending. A prediction that does not vary with the subject has subject "all" and all images
of the test set.

    images.npy        uint8 (images, height, width, 3) reconstructions
    samples.npy       uint8 (images, further samples, height, width, 3): more reconstructions of each image, drawn with
                      other noise. Scores are means over all of them; reports show images.npy
    captions.parquet  image_id, caption
    retrieval.npy     float16 (images, dimensions): vectors compared by cosine with the flattened true tokens
    responses.npy     float16 (images, 2, voxels): betas of one presentation of the image, and the mean of the other
                      ones; NaN for an image shown once. Only the control that identifies images by the brain's own
                      responses to their repeats has it
    ids.npy           int64 (images,) image_id
    metadata.json     method, subject, sessions, seed, split, test_set, encoder and the disclosure record
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.artifacts.arrays import Parts, Rows, read_array, save_array
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.cells import Cell
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.stimuli import rows_of
from fmri2img.artifacts.tables import read_json, read_table, write_json
from fmri2img.errors import UserError
from fmri2img.integrity import again

IDENTITY = ("method", "subject", "sessions", "seed", "split", "split_sha256", "test_set")


@dataclass(frozen=True)
class Prediction:
    """An opened prediction; arrays are read-only memory maps, or None where the method does not make them."""

    path: Path
    ids: np.ndarray
    images: np.ndarray | None
    captions: pd.DataFrame | None
    retrieval: np.ndarray | None
    responses: np.ndarray | None
    metadata: dict
    samples: np.ndarray | None = None

    @classmethod
    def open(cls, path: str | Path) -> "Prediction":
        """Open and validate. Raises UserError naming the file or key that is missing or does not fit."""
        path = Path(path)
        if not (path / "ids.npy").is_file():
            raise UserError(f"{path / 'ids.npy'}: no such file; a prediction needs the image_id of each row")
        metadata = read_json(path / "metadata.json")
        check_prediction_metadata(metadata, path / "metadata.json")
        ids = np.array(read_array(path / "ids.npy"))
        if ids.ndim != 1 or (np.diff(ids) <= 0).any():
            raise UserError(f"{path / 'ids.npy'}: ids must be ascending and unique")

        def array(name: str, dtype: type[np.generic], ndim: int) -> np.ndarray | None:
            if not (path / name).exists():
                return None
            values = read_array(path / name)
            if len(values) != len(ids) or values.dtype != dtype or values.ndim != ndim:
                raise UserError(f"{path / name}: {values.shape} {values.dtype} does not match {len(ids)} ids")
            return values

        captions = None
        if (path / "captions.parquet").exists():
            captions = read_table(path / "captions.parquet", {"image_id": "iu", "caption": "OUT"})
            if not np.array_equal(captions["image_id"], ids):
                raise UserError(f"{path / 'captions.parquet'}: its image_id column differs from ids.npy")
        images, retrieval = array("images.npy", np.uint8, 4), array("retrieval.npy", np.float16, 2)
        responses, samples = array("responses.npy", np.float16, 3), array("samples.npy", np.uint8, 5)
        if images is None and captions is None and retrieval is None and responses is None:
            raise UserError(f"{path}: holds neither images.npy nor captions.parquet nor retrieval.npy")
        if samples is not None and (images is None or samples.shape[2:] != images.shape[1:]):
            there = "there is no images.npy" if images is None else f"images.npy has {images.shape}"
            raise UserError(f"{path / 'samples.npy'}: has {samples.shape}, but {there}; {again(path)}")
        return cls(path, ids, images, captions, retrieval, responses, metadata, samples)

    @property
    def disclosure(self) -> Disclosure:
        return Disclosure.of(self.metadata["disclosure"], self.path / "metadata.json")

    @property
    def by_sample(self) -> list["Prediction"]:
        """One prediction for each reconstruction of an image, with that one as `images`; the first is this one."""
        if self.samples is None:
            return [self]
        further = np.moveaxis(self.samples, 1, 0)
        return [self, *(replace(self, images=images, samples=None) for images in further)]

    def of_cell(self, cell: Cell, ids: np.ndarray) -> "Prediction":
        """The prediction for one cell of the study, with only the rows of `ids`, the test images of that cell.

        Raises UserError when one of them is missing.
        """
        metadata = self.metadata | cell._asdict()
        if np.array_equal(ids, self.ids):
            return replace(self, metadata=metadata)
        return replace(self.of_rows(rows_of(ids, self.ids, self.path)), metadata=metadata)

    def of_rows(self, rows: np.ndarray | slice) -> "Prediction":
        """With these rows only."""
        if isinstance(rows, slice) and rows == slice(0, len(self.ids)):
            return self
        return replace(
            self,
            ids=self.ids[rows],
            captions=None if self.captions is None else self.captions.iloc[rows].reset_index(drop=True),
            images=None if self.images is None else self.images[rows],
            retrieval=None if self.retrieval is None else self.retrieval[rows],
            responses=None if self.responses is None else self.responses[rows],
            samples=None if self.samples is None else self.samples[rows],
        )


def check_prediction_metadata(metadata: dict, path: Path) -> None:
    """Check that required keys exist. Raises UserError naming the first key that is missing or has the wrong type."""
    for key in IDENTITY:
        if key not in metadata:
            raise UserError(f"{path}: key '{key}' is missing")
    Disclosure.of(metadata.get("disclosure"), path)


def save_prediction(
    path: str | Path,
    ids: np.ndarray,
    metadata: dict,
    images: np.ndarray | Rows | Parts | None = None,
    captions: list[str] | None = None,
    retrieval: np.ndarray | Rows | Parts | None = None,
    responses: np.ndarray | None = None,
    samples: np.ndarray | None = None,
) -> None:
    """Write a prediction; rows may come in any order and are stored by ascending id.

    Raises UserError when a retrieval vector is not finite.
    """
    order = np.argsort(ids)
    with atomic_directory(path) as directory:
        np.save(directory / "ids.npy", np.asarray(ids, np.int64)[order])
        for name, pictures in (("images", images), ("samples", samples)):
            if pictures is not None:
                save_array(directory / f"{name}.npy", pictures, np.uint8, order)
        if retrieval is not None:
            save_array(
                directory / "retrieval.npy", retrieval, np.float16, order, finite=f"{path}: the retrieval vectors"
            )
        if responses is not None:
            save_array(directory / "responses.npy", responses, np.float16, order)
        if captions is not None:
            table = pd.DataFrame({"image_id": np.asarray(ids, np.int64), "caption": captions}).iloc[order]
            table.to_parquet(directory / "captions.parquet", index=False)
        write_json(directory / "metadata.json", metadata)
        Prediction.open(directory)
