"""Arguments and results of the functions in method folders.

    decode(decoding: Decoding) -> Made       for a fitted decoder: `decode` in its method.yaml
    mean_tokens(given: Given) -> Made        for controls and simple decoders: `made_by.function`

The rules call the function and write its result as a Decoded or a Prediction.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from fmri2img.artifacts.cells import ALL, Cell
from fmri2img.artifacts.decoded import Decoded
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.artifacts.tables import read_table
from fmri2img.errors import UserError

N = TypeVar("N", int, float)


def number(value: N | str, axis: str) -> N:
    """A cell's seed or sessions. Raises UserError where the method declares that it does not vary with them."""
    if isinstance(value, str):
        raise UserError(f"method.yaml: key 'varies_with': lacks {axis}, which the method's function uses; add it")
    return value


@dataclass(frozen=True)
class Given:
    """Inputs of a method's function in one cell.

    paths: name of an input -> its file or folder, opened when first used. The split is always given; `source` is the
    Decoded or Prediction of the method that this one is made from. settings: the section of the configuration that has
    the folder's name.
    """

    cell: Cell
    paths: dict[str, str] = field(repr=False)
    settings: dict = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """What random numbers are seeded by."""
        return self.cell.noise_seed

    @property
    def sessions(self) -> float:
        """Training sessions: a whole number, or a share of one."""
        return number(self.cell.sessions, "sessions")

    @cached_property
    def split(self) -> Split:
        return Split.open(self.paths["split"])

    @cached_property
    def recording(self) -> Recording:
        return Recording.open(self.paths["recording"])

    @cached_property
    def embeddings(self) -> Embeddings:
        return Embeddings.open(self.paths["embeddings"])

    @cached_property
    def stimuli(self) -> Stimuli:
        return Stimuli.open(self.paths["stimuli"])

    def first_captions(self, ids: np.ndarray) -> list[str]:
        """The first caption that people wrote of each of these images; "" where there is none."""
        described = Stimuli.open(self.paths["captions"])
        every = described.table["captions"].iloc[described.rows(ids)]
        return ["" if texts is None else next(iter(texts), "") for texts in every]

    @cached_property
    def captioned(self) -> pd.DataFrame:
        """image_id and caption: the captions that the study's captioner gives the true test images."""
        return read_table(self.paths["captioned"], {"image_id": "iu", "caption": "OUT"})

    @cached_property
    def source(self) -> Decoded | Prediction:
        path = Path(self.paths["source"])
        return Decoded.open(path) if self.paths["of"] == "decoded" else Prediction.open(path)

    @cached_property
    def test_ids(self) -> np.ndarray:
        """image_id int64 of the test images, ascending: those the subject saw, or all of the test set."""
        if self.cell.subject == ALL:
            return np.array(self.split.test_sets[self.cell.test_set], np.int64)
        return self.recording.test_ids(self.cell.test_set)

    @cached_property
    def training_ids(self) -> np.ndarray:
        """image_id int64 of the images of the training trials of the cell's budget, unique, ascending."""
        return self.recording.training_ids(self.sessions)


@dataclass(frozen=True)
class Made:
    """Result of such a function. ids: image_id of each row.

    arrays: the named arrays of a Decoded; or images, captions, retrieval, responses of a Prediction, as
    `save_prediction` takes them. disclosure: how they were made. facts: further entries of the metadata.
    """

    ids: np.ndarray
    arrays: dict
    disclosure: Disclosure
    facts: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Decoding:
    """Inputs of a decoder's decode function in one cell.

    decoder: folder of the fitted decoder. recording: the subject's. targets: network -> Embeddings, for
    the networks whose outputs it decodes. settings: `decoding` of the method's section in the configuration.
    """

    cell: Cell
    decoder: Path
    recording: Recording
    targets: dict[str, Embeddings]
    settings: dict

    @property
    def test_rows(self) -> np.ndarray:
        """Rows of the recording's trials that are decoded."""
        return self.recording.test_rows(self.cell.test_set)

    @property
    def test_ids(self) -> np.ndarray:
        """image_id int64 of the images of these trials, ascending."""
        return self.recording.test_ids(self.cell.test_set)

    @property
    def test_repeats(self) -> float:
        """Number of trials of a test image: the harmonic mean over images."""
        ids = self.recording.trials["image_id"].to_numpy()[self.test_rows]
        return float(1 / np.mean(1 / np.unique(ids, return_counts=True)[1]))
