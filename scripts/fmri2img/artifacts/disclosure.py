"""The disclosure record: the facts about a prediction that decide whether two scores can be compared.

Every Decoded and Prediction has one in its metadata under "disclosure". The defaults describe a prediction that uses no
brain response; every stage changes the fields that it is responsible for and keeps the others.
"""

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmri2img.errors import UserError


@dataclass(frozen=True)
class Disclosure:
    """One record.

    training_trials: number of single trials used in the fit. training_subjects: subjects whose data were used.
    trial_averaging: "single" or "mean" training trials; "none" without training. test_averaging: the test input, e.g.
    "mean of repeats" or "single". transductive: whether statistics of the test set were used. samples_per_image: number
    drawn from the generator. selector: how one of several samples was picked; "none" where all of them are scored.
    encoder, generator: the frozen networks with their revisions. encoder_data, generator_data: on what these were
    trained, because a network that has seen test images or their captions can know them. origin: faithful, port,
    control or submission.
    """

    training_trials: int = 0
    training_subjects: list[str] = dataclasses.field(default_factory=list)
    trial_averaging: str = "none"
    test_averaging: str = "none"
    transductive: bool = False
    samples_per_image: int = 1
    selector: str = "none"
    encoder: str = "none"
    encoder_data: str = "none"
    generator: str = "none"
    generator_data: str = "none"
    origin: str = "control"

    @classmethod
    def of(cls, record: Any, path: str | Path) -> "Disclosure":
        """The record of a metadata file. Raises UserError naming the first key that is missing or of the wrong type."""
        record = record if isinstance(record, dict) else {}
        for name, kind in cls.kinds().items():
            value = record.get(name)
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise UserError(f"{path}: key 'disclosure.{name}' must be of type {kind.__name__}, got {value!r}")
        return cls(**{name: record[name] for name in cls.kinds()})

    @classmethod
    def kinds(cls) -> dict[str, type]:
        """Field -> type of its value."""
        return {name: typing.get_origin(kind) or kind for name, kind in typing.get_type_hints(cls).items()}

    def but(self, **changes: Any) -> "Disclosure":
        """The same record with some fields changed."""
        return dataclasses.replace(self, **changes)

    def record(self) -> dict[str, Any]:
        return dataclasses.asdict(self)
