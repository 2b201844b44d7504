"""The registry of drawing pipelines (pipelines.yaml), and what a method.yaml says of the one that it uses."""

from functools import cache
from typing import Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from fmri2img.paths import LIBRARY
from fmri2img.settings.base import Settings, WrongKey, nearest

FILE = LIBRARY / "generation" / "pipelines.yaml"


class NetworkRole(Settings):
    key: str = Field(description="Key of the configuration that names the network.")
    kinds: list[str] = Field(description="Kinds that the network may have.")


class Pipeline(Settings):
    """One entry; the head of pipelines.yaml says what the keys mean."""

    function: str
    sentence: str
    arrays: list[str] = Field([])
    networks: dict[str, NetworkRole] = Field({})
    settings: str | None = None
    takes: list[str] = Field([])
    inputs: list[Literal["captions", "stimuli", "split"]] = Field([])
    resources: Literal["draw", "decode", "light"] = Field("draw", alias="class")

    @property
    def reads_decoded(self) -> bool:
        """Whether it draws from decoded arrays, and not from other predictions or from the stimuli."""
        return not self.takes and "stimuli" not in self.inputs


class DrawingRecord(Settings):
    """`drawing` of a method.yaml: a pipeline, and what it gets in place of its defaults."""

    pipeline: str | None = Field(None, description="Name in generation/pipelines.yaml.")
    function: str | None = Field(None, description="module:function in the method's folder, of a pipeline of its own.")
    arrays: dict[str, str] | list[str] = Field(
        {}, description="Pipeline's name of an array -> decoded array; a list for a pipeline of its own."
    )
    networks: dict[str, str | NetworkRole] = Field({}, description="Role -> key of the configuration with the network.")
    settings: str | None = Field(None, description="Section of the configuration whose values it gets.")
    samples: str | None = Field(
        None, description="Key of the configuration: pictures of each image that are drawn, of which scores are means."
    )
    values: dict[str, Any] = Field({}, alias="with", description="Settings with these values, on top of the section.")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"pipeline": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_its_pipeline(self) -> Self:
        if (self.pipeline is None) == (self.function is None):
            raise ValueError("give one of pipeline and function")
        if self.function is not None:
            if not isinstance(self.arrays, list):
                raise WrongKey("arrays", "list the decoded arrays that the function takes")
            for role, found in self.networks.items():
                if isinstance(found, str):
                    raise WrongKey(f"networks.{role}", "give the key and the kinds of network that the function takes")
            return self
        known, named = pipelines(), str(self.pipeline)
        if named not in known:
            raise WrongKey("pipeline", f"'{named}' is not a drawing pipeline; {nearest(named, known)}")
        pipeline = known[named]
        for key, given, there in (
            ("arrays", self.arrays, pipeline.arrays),
            ("networks", self.networks, pipeline.networks),
        ):
            for name in given:
                if isinstance(given, list) or name not in there:
                    what = f"pipeline {named} takes no {key[:-1]} '{name}'"
                    raise WrongKey(f"{key}.{name}", f"{what}; {nearest(name, there)}")
        return self

    def resolved(self, module: str) -> dict[str, Any]:
        """The pipeline as the registry of methods holds it. module: of the method's folder, for its own function.

        pipeline (its name, None if it is the folder's own), function, arrays (pipeline's name -> decoded array),
        networks (role -> key, kinds), settings (key of a section), samples (key of a number, None for 1), with, takes,
        inputs, class.
        """
        if self.function is not None:
            own = Pipeline(function=f"{module}.{self.function}", sentence="", arrays=list(self.arrays))
        else:
            own = pipelines()[str(self.pipeline)]
        networks = {role: found.to_dict() for role, found in own.networks.items()}
        for role, chosen in self.networks.items():
            networks[role] = networks.get(role, {}) | ({"key": chosen} if isinstance(chosen, str) else chosen.to_dict())
        changed = self.arrays if isinstance(self.arrays, dict) else {}
        return {
            "pipeline": self.pipeline,
            "function": own.function,
            "arrays": {name: changed.get(name, name) for name in own.arrays},
            "networks": networks,
            "settings": self.settings or own.settings,
            "samples": self.samples,
            "with": self.values,
            "takes": own.takes,
            "inputs": (["decoded"] if own.reads_decoded else []) + list(own.inputs),
            "class": own.resources,
        }


@cache
def pipelines() -> dict[str, Pipeline]:
    """All pipelines by name."""
    entries = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {name: Pipeline.read(entry, str(FILE), name) for name, entry in entries.items()}
