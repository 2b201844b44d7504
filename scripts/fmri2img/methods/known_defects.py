"""Known defects of a method's released code: each with a switch that reproduces it, as method cards list them."""

from typing import NamedTuple

import pandas as pd

NEITHER = "—"


class Defect(NamedTuple):
    """key: of the study's configuration; released, correct: its values; effect: what the defect does, in a sentence."""

    name: str
    key: str
    released: object
    correct: object
    effect: str


def defects_table(defects: tuple[Defect, ...], section: str, config: dict, published: bool = False) -> pd.DataFrame:
    """One row per defect of the released code: name, key, released, correct, here, reproduced, effect (all text).

    here: the study's value; of a key of several stages, each stage's where they differ. reproduced: yes, no, or NEITHER
    where the study's value is neither the released nor the correct one. published: of a published network, whose
    training does not depend on the study's configuration, the section's part of which then says nothing of it.
    """
    rows = []
    for defect in defects:
        if published and defect.key.startswith(f"{section}."):
            values = [defect.released]
        else:
            values = [_setting(config, key) for key in _expanded(defect.key)]
        here = list(dict.fromkeys(map(_text, values)))
        reproduced = "yes" if defect.released in values else "no" if set(values) == {defect.correct} else NEITHER
        texts = [_text(defect.released), _text(defect.correct), " / ".join(here)]
        rows.append([defect.name, defect.key, *texts, reproduced, defect.effect])
    return pd.DataFrame(rows, columns=["name", "key", "released", "correct", "here", "reproduced", "effect"])


def _expanded(key: str) -> list[str]:
    """The keys that a key with one {a,b} stands for."""
    if "{" not in key:
        return [key]
    before, _, rest = key.partition("{")
    choices, _, after = rest.partition("}")
    return [f"{before}{choice}{after}" for choice in choices.split(",")]


def _setting(config: dict, key: str):
    """The value of a dotted key; None where a section above it is null or missing."""
    value = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(value) -> str:
    """The value of a switch, as YAML writes it."""
    return {None: "none", True: "true", False: "false"}.get(value, value)
