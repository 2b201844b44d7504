"""What all settings have in common: how a key is declared, how a section is read, and how a wrong value is reported.

A section of the configuration is a class that inherits from `Settings`. Each key is declared once, as a field with its
type, its bounds, its default where there is one, and a sentence that says what it means. The same declaration checks
what a user wrote, fills in defaults, and makes the key table of config/README.md and the JSON schema for editors.

Every problem is one line of the same form: `configuration: key 'a.b': what is wrong; what to do`.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    WrapValidator,
    model_validator,
)

from fmri2img.errors import UserError
from fmri2img.paths import expanded

SHOWN = 80  # characters of a wrong value that a message shows
LISTED = 12  # names that a message lists


class WrongKey(ValueError):
    """Raised in a validator of a section when the problem is one of its keys (dotted), not the whole section."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key


class Settings(BaseModel):
    """Base of all sections: immutable, no unknown keys, no conversion of types ("1" is not 1; 1 is taken for 1.0)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, serialize_by_alias=True)

    @classmethod
    def read(cls, value: Any, where: str = "configuration", key: str = "") -> Self:
        """Check a section as YAML or JSON gives it, and fill in defaults.

        where: what it is a part of, as messages call it; key: the dotted key that it stands under, "" at the top.
        Raises UserError naming the first key that is unknown, missing or wrong.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise _reported(error, where, key) from None

    def to_dict(self) -> dict[str, Any]:
        """The section as `read` takes it: plain dictionaries and lists, defaults filled in."""
        return self.model_dump(mode="json")

    def check(self, study: Any) -> None:
        """Check what depends on other parts of a `fmri2img.study.Study`, which calls this once. Raises UserError."""

    @classmethod
    def known_keys(cls) -> list[str]:
        """Names of the section's keys as a user writes them."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @model_validator(mode="before")
    @classmethod
    def _without_unknown_keys(cls, value: Any) -> Any:
        known = cls.known_keys()
        for key in value if isinstance(value, dict) else []:
            if key not in known:
                raise WrongKey(str(key), f"unknown; {nearest(str(key), known, 'known keys')}")
        return value


@dataclass(frozen=True)
class Network:
    """Annotation of a key that names a frozen network of config/backbones.yaml.

    kinds: those it may have; also: another value that is allowed.
    """

    kinds: tuple[str, ...]
    also: str | None

    def __init__(self, *kinds: str, also: str | None = None) -> None:
        object.__setattr__(self, "kinds", kinds)
        object.__setattr__(self, "also", also)

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema: dict[str, Any] = handler(core_schema)
        return schema | {"x-network": list(self.kinds)}


def networks(settings: Any, key: str = "") -> Iterator[tuple[str, str, Network]]:
    """All networks that settings name: dotted key, name, and which kinds may stand there."""
    if isinstance(settings, Settings):
        for name, field in type(settings).model_fields.items():
            value, below = getattr(settings, name), f"{key}.{field.alias or name}".lstrip(".")
            role = next((item for item in field.metadata if isinstance(item, Network)), None)
            if role is None:
                yield from networks(value, below)
            elif value is not None and value != role.also:
                yield below, value, role
    elif isinstance(settings, dict | list | tuple):
        for part, value in settings.items() if isinstance(settings, dict) else enumerate(settings):
            yield from networks(value, f"{key}.{part}")


def problem(key: str, text: str, where: str = "configuration") -> UserError:
    """The error for a key (dotted). text: "what is wrong; what to do"."""
    return UserError(f"{where}: key '{_one_line(key)}': {_one_line(text)}")


def nearest(name: str, known: Iterable[str], what: str = "there are") -> str:
    """The remedy for a name that is not among the `known` ones: the one it looks like, or what there is."""
    known = list(known)
    near = difflib.get_close_matches(name, known, 1)
    listed = [*known[:LISTED], *([f"{len(known) - LISTED} more"] if len(known) > LISTED else [])]
    return f"did you mean '{near[0]}'?" if near else f"{what}: {', '.join(listed) or 'none'}"


def shown(value: Any) -> str:
    """A value in a message: as YAML writes it, short, in one line."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _reported(error: ValidationError, where: str, key: str) -> UserError:
    """The first problem that pydantic found, in our words."""
    found = error.errors(include_url=False)[0]
    cause = found.get("ctx", {}).get("error")
    path = [
        *([key] if key else []),
        *(str(part) for part in found["loc"] if part != "[key]"),
        *([cause.key] if isinstance(cause, WrongKey) else []),
    ]
    text = _text(found["type"], found["input"], found.get("ctx", {}), found["msg"])
    return problem(".".join(path), text, where) if path else UserError(f"{where}: {text}")


def _text(kind: str, value: Any, context: dict, message: str) -> str:
    if kind in ("value_error", "assertion_error"):
        return _one_line(str(context["error"]))
    if kind == "missing":
        return "missing; add it"
    if kind == "literal_error":
        allowed = re.findall("'([^']*)'", context["expected"])
        return f"{shown(value)} is not one of {', '.join(allowed)}"
    if kind in BOUNDS:
        name, words = BOUNDS[kind]
        return f"{shown(value)} is out of range; it must be {words} {context[name]:.16g}"
    if kind in ("too_short", "string_too_short"):
        short = "is empty" if not value else "is too short"
        return f"{short}; give at least {context['min_length']}"
    if kind == "too_long":
        return f"is too long; give at most {context['max_length']}"
    if kind in TYPES:
        return f"{shown(value)} is not {TYPES[kind]}"
    return f"{shown(value)}: {_one_line(message)}"


BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
    "multiple_of": ("multiple_of", "a multiple of"),
}
TYPES = {
    "int_type": "a whole number; give one, without quotes",
    "float_type": "a number; give one, without quotes",
    "finite_number": "a finite number; give one",
    "string_type": "text; write it in quotes, in a file (--config drops them)",
    "bool_type": "true or false; give one of them",
    "list_type": "a list; write its entries in square brackets",
    "tuple_type": "a list; write its entries in square brackets",
    "dict_type": "a table of keys and values; indent its keys below it",
    "model_type": "a table of keys and values; indent its keys below it",
    "model_attributes_type": "a table of keys and values; indent its keys below it",
}


def _one_line(text: str) -> str:
    return " ".join(text.split())


# ---- kinds of values -------------------------------------------------------------------------------------------------


def matching(pattern: str, what: str) -> tuple[AfterValidator, Any]:
    """Annotations of a text that must match a regular expression as a whole; what: "lowercase letters and digits"."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{shown(value)} is not made of {what}; rename it")
        return value

    return AfterValidator(check), Field(json_schema_extra={"pattern": f"^({pattern})$"})


def one_of(what: str) -> WrapValidator:
    """Annotation of a value that may have several types; what: the whole choice in words."""

    def check(value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            cause = error.errors(include_url=False)[0].get("ctx", {}).get("error")
            raise ValueError(str(cause) if cause else f"{shown(value)} is not {what}") from None

    return WrapValidator(check)


def _unique(values: list) -> list:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{shown(value)} is listed twice; remove one")
    return values


def _filled(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty; give a name")
    return value


def expanded_path(value: str) -> str:
    """A path with ~ and $VARIABLES filled in, for validators. Raises ValueError as `paths.expanded` does UserError."""
    try:
        return expanded(value)
    except UserError as error:
        raise ValueError(str(error)) from None


T = TypeVar("T")
Unique = Annotated[list[T], AfterValidator(_unique), Field(json_schema_extra={"uniqueItems": True})]
Fixed = Annotated[tuple[T, ...], Strict(False), Field(min_length=1, max_length=10)]
Name = Annotated[str, AfterValidator(_filled), Field(json_schema_extra={"minLength": 1})]
UserPath = Annotated[Name, AfterValidator(expanded_path)]  # a file or folder of the user's
# Numbers have bounds on both sides, far outside what methods use: a slip of the keyboard (1e9) is refused at once, and
# not by the machine after hours.
Positive = Annotated[int, Field(ge=1, le=1_000_000)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Batch = Annotated[int, Field(ge=1, le=4096)]
Depth = Annotated[int, Field(ge=1, le=256)]
Folds = Annotated[int, Field(ge=2, le=100)]
Grid = Annotated[int, Field(ge=1, le=64)]
Samples = Annotated[int, Field(ge=1, le=100)]
Side = Annotated[int, Field(ge=16, le=1024)]
LatentGrid = Annotated[int, Field(ge=1, le=256)]  # side of the latents themselves
LatentSide = Annotated[int, Field(ge=16, le=1024, multiple_of=8)]  # of pictures that an autoencoder encodes
Steps = Annotated[int, Field(ge=1, le=1000)]
Width = Annotated[int, Field(ge=1, le=65_536)]
PositiveNumber = Annotated[float, Field(ge=1e-9, le=1e6)]
Guidance = Annotated[float, Field(ge=0, le=100)]
NoiseCeiling = Annotated[float, Field(ge=0.01, le=10)]
Penalty = Annotated[float, Field(ge=1e-6, le=1e12)]
Penalties = Annotated[Unique[Penalty], Field(min_length=1, max_length=100)]
Temperature = Annotated[float, Field(ge=1e-4, le=100)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Share = Annotated[float, Field(ge=0, le=1)]
Chance = Annotated[float, Field(ge=0, lt=1)]
HeldOut = Annotated[float, Field(ge=0, le=0.5)]
