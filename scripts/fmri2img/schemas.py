"""Registries and records that are described by a JSON schema in workflow/schemas.

A schema marks with `prose: true` what only people read: it changes no result, so no job depends on it.
"""

import difflib
from functools import cache
from typing import Any

from fmri2img.errors import UserError
from fmri2img.paths import REPOSITORY
from fmri2img.yaml_files import read_yaml


def check_schema(value: Any, schema_name: str, what: str) -> None:
    """Check `value` against workflow/schemas/<schema_name>.schema.yaml; UserError names the first offending key.

    what: name of the value in the message, e.g. the path of a registry.
    """
    from jsonschema.exceptions import best_match

    error = best_match(_validator(schema_name).iter_errors(value))
    if error is None:
        return
    key = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = next(name for name in error.instance if name not in known)
        near = difflib.get_close_matches(unknown, known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
        raise UserError(f"{what}: unknown key '{key + '.' if key else ''}{unknown}'; {hint}")
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        raise UserError(f"{what}: key '{key + '.' if key else ''}{missing}' is missing; see config/README.md")
    wanted = error.schema.get("description")
    problem = f"{error.instance!r} is not {wanted}" if wanted else error.message
    raise UserError(f"{what}: key '{key}': {problem}; see config/README.md")


def prose_of(schema_name: str) -> set[str]:
    """The keys of a registry's entries that workflow/schemas marks as prose."""
    schema = _schema(schema_name)
    entry = schema["additionalProperties"]
    if "$ref" in entry:
        entry = schema["$defs"][entry["$ref"].rpartition("/")[2]]
    return {key for key, declared in entry["properties"].items() if declared.get("prose")}


def without_prose(registry: dict[str, dict], schema_name: str) -> dict[str, dict]:
    """The entries of a registry as jobs take them."""
    prose = prose_of(schema_name)
    return {name: {key: value for key, value in entry.items() if key not in prose} for name, entry in registry.items()}


@cache
def _validator(schema_name: str):
    from jsonschema import Draft202012Validator

    return Draft202012Validator(_schema(schema_name))


@cache
def _schema(schema_name: str) -> dict:
    path = REPOSITORY / "workflow" / "schemas" / f"{schema_name}.schema.yaml"
    found: dict = read_yaml(path)
    return found
