"""The registry of metrics, config/metrics.yaml: families of metrics, written out into one entry for each metric.

A family gives fields, and `variants`: axis -> option -> fields. Each combination of one option an axis is a metric; the
file's head says how its name and texts come about. Imports nothing heavy, since the workflow reads it for every job.
"""

import itertools
from pathlib import Path
from string import Formatter

import yaml

from fmri2img.errors import UserError

TEXTS = ("title", "note", "reference", "warning")
MERGED = ("parameters", "words")  # an option adds to the family's, key by key
DEFAULTS = {"network": None, "layer": None, "range": [0, 1], "higher_is_better": True, "chance": None}


def read_metrics(path: str | Path) -> dict[str, dict]:
    """All metrics of the families in a file: name -> entry, in the order of the file.

    Entries hold title, needs, function, range, higher_is_better, note and reference; network, layer and chance (None by
    default); parameters, unit and warning where there are any. workflow/schemas/metrics.schema.yaml has their types.
    Raises UserError, naming the family, where it has no names, an axis without options, or a {word} that nothing
    gives; and for two metrics of one name.
    """
    families = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(families, dict):
        raise UserError(f"{path}: is not a mapping of families of metrics; restore it from the repository")
    metrics: dict[str, dict] = {}
    for family, fields in families.items():
        for name, entry in _expanded(f"{path}: family '{family}'", fields):
            if name in metrics:
                raise UserError(f"{path}: family '{family}': its metric '{name}' is there already; rename one of them")
            metrics[name] = entry
    return metrics


def _expanded(where: str, family: dict) -> list[tuple[str, dict]]:
    """Name and entry of each metric of a family. where: how messages call it."""
    if not isinstance(family, dict) or not isinstance(family.get("names"), str):
        raise UserError(f"{where}: key 'names' is missing; give the metrics' name, with {{axis}} for each axis")
    fields = {key: value for key, value in family.items() if key not in ("names", "variants")}
    axes = family.get("variants", {})
    for axis, options in axes.items():
        if not isinstance(options, dict) or not all(isinstance(option, dict) for option in options.values()):
            raise UserError(f"{where}: key 'variants.{axis}' is not a mapping of options to their fields")
    found = []
    for chosen in itertools.product(*axes.values()):
        keys = dict(zip(axes, chosen, strict=True))
        entry = DEFAULTS | fields
        for axis, key in keys.items():
            option = axes[axis][key]
            entry |= option | {part: entry.get(part, {}) | option[part] for part in MERGED if part in option}
        words = entry.pop("words", {}) | keys
        entry |= {text: _filled(entry[text], words, f"{where}: key '{text}'") for text in TEXTS if text in entry}
        found.append((_filled(family["names"], keys, f"{where}: key 'names'"), entry))
    return found


def _filled(text: str, words: dict[str, str], where: str) -> str:
    """The text with its words in place, without the space that an empty one leaves at the end."""
    for _, word, _, _ in Formatter().parse(text):
        if word is not None and word not in words:
            raise UserError(f"{where}: nothing gives the word '{{{word}}}'; there are {', '.join(words) or 'none'}")
    return text.format_map(words).strip()
