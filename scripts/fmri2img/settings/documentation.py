"""Documents generated from the declared keys: the tables of config/README.md and docs/cluster.md, and the JSON schema
for editors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fmri2img import plugins
from fmri2img.paths import REPOSITORY
from fmri2img.settings.configuration import configuration_of
from fmri2img.settings.site import Site

README, SCHEMA = REPOSITORY / "config" / "README.md", REPOSITORY / "config" / "schema.json"
CLUSTER = REPOSITORY / "docs" / "cluster.md"
BEGIN, END = "<!-- keys: begin (scripts/write_settings_docs.py) -->", "<!-- keys: end -->"


def documents() -> dict[Path, str]:
    """Path -> what should be in it."""
    configuration = configuration_of(*plugins.folders("datasets"))
    schema = configuration.model_json_schema()
    return {
        README: _with_table(README, schema),
        CLUSTER: _with_table(CLUSTER, Site.model_json_schema()),
        SCHEMA: json.dumps(_of_a_study(schema), indent=1, ensure_ascii=False) + "\n",
    }


def _with_table(path: Path, schema: dict[str, Any]) -> str:
    """A page with its table of keys, between the marks."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{key_table(schema)}{END}{rest.partition(END)[2]}"


def key_table(schema: dict[str, Any]) -> str:
    """A Markdown table of every key: values, default, meaning."""
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    rows += ["| " + " | ".join(row) + " |" for row in _rows(schema, schema["$defs"])]
    return "\n".join(rows) + "\n"


def _rows(section: dict, definitions: dict, above: str = "", default: Any = None) -> Iterator[tuple[str, ...]]:
    for name, key in section["properties"].items():
        dotted = f"{above}{name}"
        inner, ours = _section(key, definitions), key.get("default")
        if isinstance(default, dict) and name in default:
            ours = default[name]
        given = "default" in key or (isinstance(default, dict) and name in default)
        meaning = " ".join((key.get("description") or (inner or {}).get("description", "")).split())
        if inner is None:
            yield f"`{dotted}`", _values(key, definitions), _code(ours) if given else "", meaning
        else:
            optional = "section or null" if _is_nullable(key) else "section"
            yield f"`{dotted}`", optional, "null" if given and ours is None else "", meaning
            yield from _rows(inner, definitions, f"{dotted}.", ours)
        for entry in _entries(key, definitions):
            part = "<name>" if "additionalProperties" in key or "patternProperties" in key else "<n>"
            yield from _rows(entry, definitions, f"{dotted}.{part}.")


def _section(key: dict, definitions: dict) -> dict | None:
    """The section that a key holds, None for a plain value."""
    for choice in [key, *key.get("anyOf", [])]:
        if "$ref" in choice:
            found: dict = definitions[choice["$ref"].rpartition("/")[2]]
            return found
    return None


def _entries(key: dict, definitions: dict) -> list[dict]:
    """The section that each entry of a list or table holds."""
    inner = key.get("items") or key.get("additionalProperties")
    return [found for found in [_section(inner, definitions)] if found] if isinstance(inner, dict) else []


def _is_nullable(key: dict) -> bool:
    return {"type": "null"} in key.get("anyOf", [])


def _values(key: dict, definitions: dict) -> str:
    """What a key may hold, in words."""
    if "x-network" in key:
        plain = {name: value for name, value in key.items() if name != "x-network"}
        return _values(plain, definitions).replace("text", f"network ({' or '.join(key['x-network'])})")
    if "anyOf" in key:
        return " or ".join(_values(choice, definitions) for choice in key["anyOf"])
    if "const" in key:
        return _code(key["const"])
    if "enum" in key:
        return ", ".join(map(_code, key["enum"]))
    kind = key.get("type")
    if kind == "array":
        return f"list of {_plural(key, definitions)}"
    if kind in ("integer", "number"):
        return " ".join(["whole number" if kind == "integer" else "number", *_bounds(key)])
    return {"string": "text", "boolean": "`true`, `false`", "null": "null", "object": "table"}[str(kind)]


def _plural(key: dict, definitions: dict) -> str:
    if "prefixItems" in key:
        return f"{len(key['prefixItems'])} {_values(key['prefixItems'][0], definitions)}"
    if _section(key["items"], definitions):
        return "sections"
    return _values(key["items"], definitions)


def _bounds(key: dict) -> list[str]:
    words = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    # The bound of a seed is that of the random generators and would only distract.
    return [f"{sign} {key[bound]:g}" for bound, sign in words.items() if bound in key and key[bound] != 2**32]


def _code(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`" if not isinstance(value, str) or not value else f"`{value}`"


def _of_a_study(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a file that is laid over another one: no key is required, and titles are left out."""

    def stripped(value: Any) -> Any:
        if isinstance(value, list):
            return [stripped(item) for item in value]
        if not isinstance(value, dict):
            return value
        kept = {key: item for key, item in value.items() if not (key == "required" and isinstance(item, list))}
        kept = {key: item for key, item in kept.items() if not (key == "title" and isinstance(item, str))}
        return {key: stripped(item) for key, item in kept.items()}

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A study", **stripped(schema)}
