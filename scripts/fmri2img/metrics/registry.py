"""The registry of metrics, config/metrics.yaml: families of metrics, expanded into one entry for each metric.

A family has fields and `variants`: axis -> option -> fields. Each combination of one option per axis is a metric; the
head of the file explains its name and texts. This module has no heavy imports, because every job reads the registry.
"""

import itertools
from functools import cache
from pathlib import Path
from string import Formatter

from fmri2img.errors import UserError
from fmri2img.schemas import prose_of
from fmri2img.yaml_files import read_yaml

ADDED = ("parameters", "words")  # an option's entries are added to the family's; its other fields replace the family's
DEFAULTS = {"network": None, "layer": None, "range": [0, 1], "higher_is_better": True, "chance": None}


def read_metrics(path: str | Path) -> dict[str, dict]:
    """All metrics of the families in a file: name -> entry, in the order of the file.

    Entries hold title, needs, function, network, layer, range, higher_is_better, chance, note and reference, and
    parameters, unit and warning where they are given; workflow/schemas/metrics.schema.yaml has their types, and
    `check_schema` compares them with it. Raises UserError that names the family if it has no names, if variants are not
    mappings, if a {word} is not defined, or if two metrics have the same name.
    """
    read = _read(Path(path), Path(path).stat().st_mtime_ns)
    return {name: dict(entry) for name, entry in read.items()}


@cache
def _read(path: Path, changed: int) -> dict[str, dict]:
    """Read once in a process, unless the file has `changed` since (its time in nanoseconds)."""
    metrics: dict[str, dict] = {}
    for family, fields in _mapping(read_yaml(path), str(path)).items():
        where = f"{path}: family '{family}'"
        for name, entry in _expanded(_mapping(fields, where), where):
            if name in metrics:
                raise UserError(f"{where}: its metric '{name}' already exists; give its names another {{axis}}")
            metrics[name] = entry
    return metrics


def _expanded(family: dict, where: str) -> list[tuple[str, dict]]:
    """Name and entry of each metric of a family."""
    if not isinstance(family.get("names"), str):
        raise UserError(f"{where}: key 'names' is missing; give the metrics' names, with {{axis}} for each axis")
    axes = _mapping(family.get("variants", {}), f"{where}: key 'variants'")
    for axis, options in axes.items():
        for key, option in _mapping(options, f"{where}: key 'variants.{axis}'").items():
            _check_added(_mapping(option, f"{where}: key 'variants.{axis}.{key}'"), f"{where}: variants.{axis}.{key}")
    _check_added(family, where)
    found = []
    for keys in itertools.product(*axes.values()):
        chosen = dict(zip(axes, keys, strict=True))
        entry = DEFAULTS | {key: value for key, value in family.items() if key not in ("names", "variants")}
        for axis, key in chosen.items():
            option = axes[axis][key]
            entry |= option | {part: entry.get(part, {}) | option[part] for part in ADDED if part in option}
        words = entry.pop("words", {}) | chosen
        texts = prose_of("metrics") & entry.keys()
        entry |= {text: _filled(entry[text], words, f"{where}: key '{text}'") for text in texts}
        found.append((_filled(family["names"], chosen, f"{where}: key 'names'"), entry))
    return found


def _mapping(value: object, where: str) -> dict:
    if not isinstance(value, dict):
        raise UserError(f"{where} is not a mapping; the head of config/metrics.yaml explains the format")
    return value


def _check_added(fields: dict, where: str) -> None:
    for part in ADDED:
        _mapping(fields.get(part, {}), f"{where}: key '{part}'")


def _filled(text: str, words: dict[str, str], where: str) -> str:
    """The text with its words filled in, without the trailing space that an empty word leaves."""
    try:
        used = [word for _, word, _, _ in Formatter().parse(text) if word is not None]
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: '{text}' is not a text with {{words}} ({error}); correct it") from error
    for word in used:
        if word not in words:
            raise UserError(f"{where}: the word '{{{word}}}' is not defined; defined are {', '.join(words) or 'none'}")
    return text.format_map(words).strip()


def is_scored(method: dict, metric: dict) -> bool:
    """Whether a method makes what a metric reads (registry entries).

    Brain correlation is computed from pictures. Responses to repeats replace pictures and retrieval vectors, except in
    scores relative to a noise ceiling.
    """
    needs = metric["needs"]
    if "responses" in method["outputs"] and needs in ("retrieval", "brain"):
        return needs == "retrieval" or not metric["parameters"]["normalised"]
    return ("images" if needs == "brain" else needs) in method["outputs"]
