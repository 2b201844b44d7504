"""Arguments and results of drawing pipelines: from decoded arrays to pictures or captions.

    draw(drawing: Drawing) -> Drawn       `function` of a pipeline in pipelines.yaml, or of a method's own `drawing`

The rule `draw` calls the function and writes its result as a Prediction.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from fmri2img import job
from fmri2img.artifacts.cells import Cell
from fmri2img.artifacts.decoded import Decoded
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.prediction import IDENTITY, Prediction
from fmri2img.artifacts.shards import WHOLE, Shard
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.artifacts.tables import read_table
from fmri2img.backbones.registry import Backbone

BATCH = 64  # a multiple of the batches that pipelines have besides the one of their settings


@dataclass(frozen=True)
class Drawing:
    """Inputs of a drawing pipeline in one cell, or of a shard of its images.

    paths: name of an input -> its file or folder, opened when first used: `decoded`, those that the pipeline reads
    besides, and the predictions that it takes, by role. networks: role -> network. settings: the section of the
    configuration that the method names, with its own values on top. names: the pipeline's name of an array -> its name
    in the Decoded, where they differ. outputs: what the method is scored by; `retrieval` among them asks for the
    decoder's retrieval vectors. samples: pictures of each image that are scored. shard: which of the images are drawn;
    all inputs have these alone.
    """

    cell: Cell
    paths: dict[str, str] = field(repr=False)
    networks: dict[str, Backbone] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    outputs: tuple[str, ...] = ("images",)
    samples: int = 1
    shard: Shard = WHOLE

    def share(self, total: int) -> slice:
        """The shard's rows of `total` images."""
        return self.shard.rows(total, math.lcm(BATCH, self.settings.get("batch", 1)))

    @cached_property
    def decoded(self) -> Decoded:
        decoded = Decoded.open(self.paths["decoded"])
        return decoded.of_rows(self.share(len(decoded.ids)))

    def array(self, name: str) -> np.ndarray:
        """A decoded array float16 (images, ...). Raises UserError where the decoder has none of that name."""
        return self.decoded.array(self.names.get(name, name))

    def taken(self, role: str) -> Prediction:
        """The Prediction of another stage of the same decoder."""
        prediction = Prediction.open(self.paths[role])
        return prediction.of_rows(self.share(len(prediction.ids)))

    @cached_property
    def captions(self) -> pd.DataFrame:
        """image_id and caption: what the study's captioner says of the decoder's tokens."""
        captions = read_table(self.paths["captions"], {"image_id": "iu", "caption": "OUT"})
        return captions.iloc[self.share(len(captions))].reset_index(drop=True)

    @cached_property
    def stimuli(self) -> Stimuli:
        return Stimuli.open(self.paths["stimuli"])

    @cached_property
    def split(self) -> Split:
        return Split.open(self.paths["split"])

    @cached_property
    def ids(self) -> np.ndarray:
        """image_id int64 (images,) of what is drawn, ascending.

        Those of the decoded arrays or of the captions, else all images of the cell's test set.
        """
        if "decoded" in self.paths:
            return self.decoded.ids
        if "captions" in self.paths:
            return self.captions["image_id"].to_numpy(np.int64)
        ids = np.intersect1d(self.stimuli.ids, self.split.test_sets[self.cell.test_set])
        return ids[self.share(len(ids))]

    @property
    def seed(self) -> int:
        """What random numbers are seeded by."""
        return self.cell.noise_seed

    def chosen(self, *keys: str) -> dict[str, Any]:
        """Some of the settings, by name."""
        return {key: self.settings[key] for key in keys}

    def progress(self, total: int, what: str = "images"):
        """A function that takes the number done, and prints it from time to time."""
        return job.progress(what, total)

    def disclosure(self, *roles: str, **changes: Any) -> Disclosure:
        """The decoder's record, with the networks of these roles as what draws, and other changes."""
        return self.decoded.disclosure.but(**drawn_by(*(self.networks[role] for role in roles)), **changes)


@dataclass(frozen=True)
class Drawn:
    """Result of a pipeline: the arrays of a Prediction that it makes, row by row of `ids` (None: those of the Decoded).

    images: uint8 (images, height, width, 3); samples: uint8 (images, further samples, height, width, 3), more pictures
    of each image, which are scored with `images`; captions: one sentence per image; retrieval: float (images,
    dimensions), None for the decoder's own where the method is scored by them. identity: the metadata that say whose
    prediction it is, None for that of the Decoded. facts: further entries of the metadata; a list of integers counts
    images.
    """

    disclosure: Disclosure
    images: np.ndarray | None = None
    samples: np.ndarray | None = None
    captions: list[str] | None = None
    retrieval: np.ndarray | None = None
    ids: np.ndarray | None = None
    identity: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def identity_of(artifact: Decoded | Prediction) -> dict[str, Any]:
    """What its metadata say of subject, budget, seed, split and test set."""
    return {key: artifact.metadata[key] for key in IDENTITY}


def drawn_by(*networks: Backbone) -> dict[str, str]:
    """The disclosure's fields of the networks that draw: their names with revisions, and what they were trained on."""
    return {
        "generator": ", ".join(f"{network.name} ({network.revision})" for network in networks),
        "generator_data": "; ".join(dict.fromkeys(network.trained_on for network in networks)),
    }


def keep_retrieval(drawing: Drawing) -> Drawn:
    """No pictures: the decoder's retrieval vectors alone."""
    return Drawn(drawing.decoded.disclosure, retrieval=drawing.decoded.retrieval)
