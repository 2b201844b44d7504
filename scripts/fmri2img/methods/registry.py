"""Methods of a study, read from the folders that declare them.

A folder's method.yaml states one method, or a family: a decoder, its variants, and the stages of what is drawn from it.
Names follow one grammar, <decoder>[_<variant>][_<stage>], and <method>_<control> for a control of another method.
Nothing else in the project lists methods.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Field, model_validator

from fmri2img import plugins
from fmri2img.artifacts.axes import ALL
from fmri2img.backbones.targets import TARGETS
from fmri2img.errors import UserError
from fmri2img.generation.pipelines import DrawingRecord
from fmri2img.settings.base import PositiveNumber, Settings, WrongKey, matching, nearest, one_of, problem
from fmri2img.yaml_files import read_yaml

Output = Literal["images", "captions", "retrieval", "responses"]
Axis = Literal["subject", "sessions", "seed"]
DEFAULT = "default"  # the variant whose decoder has the folder's own name
LINEAR = "fmri2img.linear.decode:decode"


def _module_and_name(value: str) -> str:
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", value):
        raise ValueError(f"'{value}' does not name a module and what is in it; write module:name")
    return value


Member = Annotated[str, AfterValidator(_module_and_name)]


def _key(value: str) -> str:
    if not re.fullmatch(r"\w+(\.\w+)*", value):
        raise ValueError(f"'{value}' is not a key of the configuration; write it like generation.steps")
    return value


def _dotted(value: str) -> str:
    if not re.fullmatch(r"\w+(\.\w+)+", value):
        raise ValueError(f"'{value}' is neither a value nor a key of the configuration; write it like generation.steps")
    return value


def _above_zero(value: float | str | None) -> float | str | None:
    if isinstance(value, float) and value <= 0:
        raise ValueError(f"{value} is out of range; it must be greater than 0")
    return value


Key = Annotated[str, AfterValidator(_key)]
DottedKey = Annotated[str, AfterValidator(_dotted)]  # where a word without a dot would be a value


class Target(Settings):
    """What is decoded, and the key of the configuration that names the network which gives it."""

    tokens: Key | None = Field(None, description="Image tokens of this network, results/<study>/embeddings.")
    latents: Key | None = Field(None, description="Latents of this autoencoder, results/<study>/latents.")
    size: Annotated[int | Key | None, one_of("a number of pixels or a key of the configuration")] = Field(
        None, description="Side in pixels of the pictures that latents are made of, or its key."
    )
    texts: Key | None = Field(
        None, description="States of captions from this network, the mean over an image's captions."
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_key_is_tokens(cls, value: Any) -> Any:
        return {"tokens": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(getattr(self, kind) is not None for kind in TARGETS) != 1:
            raise ValueError(f"give one of {', '.join(TARGETS)}")
        if (self.size is None) != (self.latents is None):
            raise WrongKey("size", "goes with latents; give both or neither")
        return self


class Penalty(Settings):
    """How the ridge penalty is found: fixed, or the one that predicts held-out training images best."""

    fixed: Annotated[
        float | DottedKey | None, AfterValidator(_above_zero), one_of("a positive number or a key (section.key)")
    ] = Field(None, description="One penalty for all targets, or its key.")
    choose_from: Annotated[list[PositiveNumber] | Key | None, one_of("a list of penalties or its key")] = Field(
        None, description="Penalties to choose from, or their key."
    )
    per: str = Field(
        ALL,
        description="Group of targets that a penalty is chosen for: all, value, or a name of the target's axes "
        "(token, dimension; channel, row, column), or a dotted key.",
    )
    folds: Annotated[int | Key, one_of("a number of folds or its key")] = Field(
        5, description="Folds of the cross-validation, also of the calibration, or their key."
    )

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.fixed is None) == (self.choose_from is None):
            raise ValueError("give one of fixed and choose_from")
        return self


Calibration = Literal["training_images", "test_batch", "none"]
Trials = Literal["single", "averaged"]


class Regression(Settings):
    """One regression. A value with a dot is a key of the configuration that holds the value."""

    array: str = Field(description="Name of the decoded array.")
    target: Target = Field(description="What is decoded: tokens, latents or texts of a network.")
    regions: Annotated[Literal["all"] | list[str] | DottedKey, one_of("all, a list of regions, or a key")] = Field(
        "all", description="Regions of the dataset whose voxels are used."
    )
    penalty: Penalty = Field(description="How the ridge penalty is found.")
    trials: Annotated[Trials | DottedKey, one_of("single, averaged or a key")] = Field(
        "single", description="Whether it is fitted to single trials or to the mean of an image's trials."
    )
    standardised: Annotated[bool | DottedKey, one_of("true, false or a key")] = Field(
        False, description="Whether each voxel is divided by its deviation over the trials, or their means, fitted to."
    )
    calibration: Annotated[Calibration | DottedKey, one_of("training_images, test_batch, none or a key")] = Field(
        "training_images",
        description="How predictions get the mean and spread of true targets: by predictions of held-out training "
        "images, by those of the test images (transductive), or not.",
    )


class Training(Settings):
    pretrained: bool = Field(description="Whether it starts from a network trained on the other subjects.")
    settings: dict = Field({}, description="Settings of the task in addition to the configuration's section.")


class TaskOfStage(Settings):
    """Tasks of a decoder that is pretrained on something else than what it is trained for."""

    pretraining: Member
    finetuning: Member


class Variant(Settings):
    title: str | None = Field(None, description="Added to the family's title after a comma.")
    origin: Literal["faithful", "port"] | None = None
    reference: str | None = None
    training: Training | None = None
    released: str | None = Field(
        None, description="Registry name of its published network, with {subject}, {sessions}."
    )
    stands_for: str | None = Field(
        None, description="Variant that it represents in tables of a study without that variant."
    )
    configured_by: list[str] = []


class Stage(Settings):
    title: str | None = Field(None, description="Added to the title in brackets.")
    kind: Literal["decoder", "stage"] = "stage"
    drawing: DrawingRecord = Field(description="Drawing pipeline, see generation/pipelines.yaml.")
    takes: dict[str, str] = Field({}, description="What the pipeline takes -> stage of the same decoder that makes it.")
    outputs: list[Output]
    configured_by: list[str] = []
    reference: str


class Function(Settings):
    function: Member = Field(description="module:function in the folder; see artifacts/interfaces.py.")
    of: Literal["decoded", "predictions"] | None = Field(None, description="What of another method it is made from.")
    makes: Literal["decoded", "predictions"] = "predictions"
    needs: list[Literal["recording", "embeddings", "stimuli", "captions", "captioned"]] = []
    embeddings: Key = Field("encoder", description="Key of the configuration with the network whose tokens it needs.")


class Analysis(Settings):
    title: str
    sentence: str = Field(description="What its figure shows, for the page and as the figure's text alternative.")


class MethodRecord(Settings):
    """method.yaml of one folder."""

    title: str
    kind: Literal["decoder", "control"]
    origin: Literal["faithful", "port", "control"] = Field(description="Published recipe, its idea, or a control.")
    sentence: str = Field(description="What it does, for tables and pages.")
    reference: str
    task: Annotated[Member | TaskOfStage | None, one_of("module:Class, or one for pretraining and finetuning each")] = (
        Field(None, description="module:Class, the training task of a trained decoder, or one for each stage.")
    )
    decode: Member | None = Field(
        None, description="module:function, test trials -> decoded arrays, of a trained decoder."
    )
    card: Member | None = Field(None, description="module:function, what its card says besides the common facts.")
    linear: list[Regression] = Field([], description="Regressions of a linear decoder.")
    made_by: Function | None = Field(None, description="The function that makes it, of controls and simple decoders.")
    of: str | None = Field(None, description="Method that a control is made from, where it is always the same one.")
    scale: Literal["floor", "ceiling"] | None = Field(None, description="End of the normalised score that it fixes.")
    decodes: list[str] = Field(["tokens"], description="Arrays of its Decoded.")
    retrieval_encoder: str = Field(
        "encoder", description="Key of the configuration with the network whose tokens it retrieves images by."
    )
    drawing: DrawingRecord | None = Field(None, description="Drawing pipeline, of methods without stages.")
    outputs: Annotated[
        list[Output] | Literal["inherited"], one_of("a list of images, captions, retrieval and responses; give one")
    ] = "inherited"
    varies_with: list[Axis] = Field(
        description="Axes on which its outputs depend; one output serves all values of the other axes."
    )
    floors: list[str] = Field([], description="Controls of each of its methods, which fix their floor.")
    controls: list[str] = Field([], description="Controls of its decoder.")
    variants: dict[str, Variant] = {}
    stages: dict[str, Stage] = {}
    analyses: dict[Annotated[str, *matching(r"[a-z][a-z0-9_]*", "lowercase letters, digits and _")], Analysis] = Field(
        {}, description="Figures with a table that rules of its method.smk make, where a study asks for them."
    )
    configured_by: list[str] | Literal["inherited"] = []

    @property
    def of_others(self) -> bool:
        """Whether it is made from the outputs of any other method."""
        return self.made_by is not None and self.made_by.of is not None

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        """What one key says of others: stages and variants that are named exist, and what they need is there."""
        for key in ("outputs", "configured_by"):
            if getattr(self, key) == "inherited" and not self.of_others and not self.stages:
                raise WrongKey(key, "only a control with made_by.of inherits it; list it")
        predicted = self.made_by is not None and self.made_by.makes == "predictions"
        if self.drawing is None and not self.stages and not predicted:
            raise WrongKey("drawing", "missing; name the pipeline that draws what it decodes")
        if self.linear and (self.task or self.made_by):
            raise WrongKey("linear", "a linear decoder has neither a task nor made_by; remove one of them")
        arrays = [regression.array for regression in self.linear]
        if len(set(arrays)) < len(arrays):
            raise WrongKey("linear", f"two regressions have the same array ({', '.join(arrays)}); rename one")
        for name, variant in self.variants.items():
            for key, wanted in (("training", ("task", "decode")), ("released", ("decode",))):
                missing = [one for one in wanted if getattr(variant, key) and not getattr(self, one)]
                if missing:
                    raise WrongKey(missing[0], f"missing; variant '{name}' has {key}, so name it")
            if variant.stands_for and variant.stands_for not in self.variants:
                raise WrongKey(
                    f"variants.{name}.stands_for",
                    f"'{variant.stands_for}' is not a variant; {nearest(variant.stands_for, self.variants)}",
                )
        self._stages_fit()
        return self

    def _stages_fit(self) -> None:
        first = [name for name, stage in self.stages.items() if stage.kind == "decoder"]
        if self.stages and len(first) != 1:
            raise WrongKey("stages", f"{len(first)} of them have kind: decoder; give it to the one that is drawn first")
        for name, stage in self.stages.items():
            for role, taken in stage.takes.items():
                if taken not in self.stages:
                    raise WrongKey(
                        f"stages.{name}.takes.{role}", f"'{taken}' is not a stage; {nearest(taken, self.stages)}"
                    )


@cache
def _record(path: Path) -> MethodRecord:
    try:
        text = read_yaml(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())}); correct the file") from None
    return MethodRecord.read(text, str(path))


def read_methods() -> dict[str, dict]:
    """Name -> entry of every method of all folders, ours and those of registered plug-ins.

    An entry holds title, kind (decoder: its pictures are drawn from what it decodes; stage: a further step on them, or
    a part of them; control), origin, sentence, reference, folder, family (the folder's title), module, outputs,
    varies_with and configured_by; where they apply decoder (whose Decoded it draws from), drawing, takes, of, inherits
    (whether a control has the outputs of the method that it is made from), stage,
    training, released, stands_for, linear, made_by, card, scale (end -> what metrics read). Raises UserError for a
    folder that cannot be used.
    """
    folders = plugins.folders("methods")
    records = {name: _record(folder / "method.yaml") for name, folder in folders.items()}
    entries: dict[str, dict] = {}
    for name, record in records.items():
        if not record.of_others:
            _add(entries, _family(name, record), name)
    for name, record in records.items():
        for key in ("floors", "controls"):
            for control in getattr(record, key):
                found = records.get(control)
                if found is None or not found.of_others:
                    known = [other for other, one in records.items() if one.of_others]
                    raise problem(
                        key,
                        f"'{control}' is not a control of other methods; {nearest(control, known)}",
                        str(folders[name] / "method.yaml"),
                    )
                own = {method: entry for method, entry in entries.items() if entry["folder"] == name}
                _add(entries, _controls(control, found, own), name)
    for entry in entries.values():
        if "of" in entry and entry["of"] not in entries:
            where = str(folders[entry["folder"]] / "method.yaml")
            raise problem("of", f"'{entry['of']}' is not a method; {nearest(entry['of'], entries)}", where)
    return entries


def read_analyses() -> dict[str, dict]:
    """<folder>.<name> -> folder, name, title and sentence of every analysis that a method's folder declares."""
    return {
        f"{folder}.{name}": {"folder": folder, "name": name, "title": entry.title, "sentence": entry.sentence}
        for folder, path in plugins.folders("methods").items()
        for name, entry in _record(path / "method.yaml").analyses.items()
    }


def _add(entries: dict[str, dict], new: dict[str, dict], folder: str) -> None:
    for name, entry in new.items():
        if name in entries:
            where = plugins.folders("methods")[folder] / "method.yaml"
            raise UserError(f"{where}: '{name}' is already a method of folder {entries[name]['folder']}; rename one")
        entries[name] = entry


def _family(name: str, record: MethodRecord) -> dict[str, dict]:
    """Entries of a folder: one, or one for each variant and stage."""
    common: dict[str, Any] = {
        "folder": name,
        "family": record.title,
        "module": f"fmri2img.methods.{name}",
        "sentence": record.sentence,
        "varies_with": list(record.varies_with),
        "retrieval_encoder": record.retrieval_encoder,
    }
    if record.made_by and record.made_by.makes == "predictions":
        common |= {"made_by": _function(record.made_by, common["module"])}
    elif record.made_by or record.stages or (record.drawing and "decoded" in record.drawing.resolved("")["inputs"]):
        arrays = [regression.array for regression in record.linear]
        common |= {"decodes": arrays or list(record.decodes)}
    if record.card:
        common["card"] = f"fmri2img.methods.{name}.{record.card}"
    variants = record.variants or {DEFAULT: Variant()}
    stages: Mapping[str, Stage | None] = record.stages or {"": None}
    found = {}
    for variant_name, variant in variants.items():
        decoder = name if variant_name == DEFAULT else f"{name}_{variant_name}"
        for stage_name, stage in stages.items():
            method = _stage_name(decoder, stage_name)
            kind = stage.kind if stage else record.kind
            title = ", ".join(filter(None, [record.title, variant.title]))
            entry: dict[str, Any] = {
                "title": f"{title} ({stage.title})" if stage and stage.title else title,
                "kind": kind,
                "origin": variant.origin or record.origin,
                "reference": " ".join(
                    filter(None, [record.reference, variant.reference, stage.reference if stage else None])
                ).strip(),
                **common,
                "outputs": list(stage.outputs if stage else record.outputs),
                "configured_by": [*variant.configured_by, *(stage.configured_by if stage else record.configured_by)],
            }
            if "decodes" in common:
                entry["decoder"] = decoder
            drawing = stage.drawing if stage else record.drawing
            if drawing:
                entry["drawing"] = _drawing(drawing, entry, stage, f"stages.{stage_name}" if stage else "", name)
            if kind == "stage":
                base = next(other for other, candidate in record.stages.items() if candidate.kind == "decoder")
                entry |= {"of": _stage_name(decoder, base), "stage": stage_name}
                taken = stage.takes if stage else {}
                entry["takes"] = {role: _stage_name(decoder, other) for role, other in taken.items()}
            elif record.of:
                entry["of"] = record.of
            if kind == "decoder":
                entry |= _decoder(record, variant, common["module"])
            if record.made_by and record.made_by.makes == "decoded":
                entry["made_by"] = _function(record.made_by, common["module"])
            if variant.stands_for:
                other = name if variant.stands_for == DEFAULT else f"{name}_{variant.stands_for}"
                entry["stands_for"] = _stage_name(other, stage_name)
            if record.scale:
                entry["scale"] = {record.scale: read_by(entry["outputs"])}
            found[method] = entry
    return found


def _stage_name(decoder: str, stage: str) -> str:
    return decoder if stage in ("", DEFAULT) else f"{decoder}_{stage}"


def _drawing(drawing: DrawingRecord, entry: dict, stage: Stage | None, key: str, folder: str) -> dict:
    """The pipeline of a method. Raises UserError where it takes what its decoder or its stage does not give."""
    found = drawing.resolved(entry["module"])
    where = str(plugins.folders("methods")[folder] / "method.yaml")
    for array in found["arrays"].values():
        if "decoded" in found["inputs"] and array not in entry.get("decodes", []):
            remedy = nearest(array, entry.get("decodes", []), "it decodes")
            problem_key = f"{key}.drawing".lstrip(".")
            raise problem(problem_key, f"takes the array '{array}', which the decoder does not decode; {remedy}", where)
    taken = stage.takes if stage else {}
    if set(taken) != set(found["takes"]):
        wanted = ", ".join(found["takes"]) or "none"
        raise problem(
            f"{key}.takes".lstrip("."), f"names {', '.join(taken) or 'none'}; the pipeline takes {wanted}", where
        )
    return found


def _decoder(record: MethodRecord, variant: Variant, module: str) -> dict:
    """How a decoder is fitted: one of linear, training and released."""
    if record.linear:
        return {"linear": [regression.model_dump() for regression in record.linear], "decode": LINEAR}
    if variant.released:
        return {"released": variant.released, "decode": f"{module}.{record.decode}"}
    if variant.training:
        training, task = variant.training.model_dump(), record.task
        by_stage = task.to_dict() if isinstance(task, TaskOfStage) else dict.fromkeys(TaskOfStage.model_fields, task)
        tasks = {stage: f"{module}.{member}" for stage, member in by_stage.items()}
        return {"training": training, "task": tasks, "decode": f"{module}.{record.decode}"}
    return {}


def _controls(control: str, record: MethodRecord, methods: dict[str, dict]) -> dict[str, dict]:
    """Entries of a control of each of a folder's methods, or of each of its decoders."""
    made_by = record.made_by
    if made_by is None:
        return {}
    found = {}
    for method, entry in methods.items():
        if entry["kind"] == "control" or (made_by.of == "decoded" and entry["kind"] != "decoder"):
            continue
        source = entry["decoder"] if made_by.of == "decoded" else method
        outputs = entry["outputs"] if record.outputs == "inherited" else record.outputs
        inherited = entry["configured_by"]
        found[f"{source}_{control}"] = {
            "title": f"{entry['title']}, {record.title}",
            "kind": "control",
            "origin": record.origin,
            "reference": record.reference,
            "folder": control,
            "family": record.title,
            "module": f"fmri2img.methods.{control}",
            "sentence": record.sentence,
            "varies_with": [axis for axis in record.varies_with if axis in entry["varies_with"]],
            "outputs": list(outputs),
            "inherits": record.outputs == "inherited",
            "retrieval_encoder": entry["retrieval_encoder"],
            "configured_by": list(inherited if record.configured_by == "inherited" else record.configured_by),
            "of": method,
            "source": source,
            "made_by": _function(made_by, f"fmri2img.methods.{control}"),
        }
        if record.scale:
            found[f"{source}_{control}"]["scale"] = {record.scale: read_by(outputs)}
    return found


def _function(made_by: Function, module: str) -> dict:
    return made_by.model_dump() | {"function": f"{module}.{made_by.function}"}


def read_by(outputs: Sequence[str]) -> list[str]:
    """What metrics read of these outputs: brain correlation is computed from pictures, and repeats serve retrieval."""
    reads = {"images": ["images", "brain"], "responses": ["retrieval"]}
    return [needs for output in outputs for needs in reads.get(output, [output])]
