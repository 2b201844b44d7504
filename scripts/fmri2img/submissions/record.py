"""Submissions: anyone's reconstructions with a record of what they are (checks.py opens their files).

A submission is a file submission.yaml (or .json) next to the reconstructions, or the same keys in a configuration;
workflow/schemas/submission.schema.yaml lists them and docs/submissions.md explains them. It has one or several
predictions, each for one subject, training budget and seed. A prediction must cover the test images of its subject. An
incomplete one is refused, because its mean would be over other images than those of all other methods.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from fmri2img.errors import UserError
from fmri2img.paths import expanded
from fmri2img.reading import readable
from fmri2img.submissions.numbering import IMAGE_ID

ASCENDING = "ascending"  # value of `ids` that means the subject's test images by ascending image_id
MOST_ENTRIES = 100_000  # of a record, every use of an alias counted
RECORD_NAMES = ("submission.yaml", "submission.yml", "submission.json")
FILE_KEYS = ("images", "ids", "retrieval", "captions")


@dataclass(frozen=True)
class SubmittedPrediction:
    """One prediction of a submission. files: key of FILE_KEYS -> path, for the files it has; `ids` may be ASCENDING."""

    method: str
    subject: str
    sessions: int | float | str
    seed: int
    files: dict[str, Path | str]
    blend: dict | None
    disclosure: dict
    test_set: str = ""  # the split's first test set if a record names none
    numbering: str = IMAGE_ID  # what numbers mean in lists of ids, names of files and keys of captions

    def record(self) -> dict:
        """Plain values, from which `of` restores it."""
        blend = self.blend and self.blend | {"images": str(self.blend["images"])}
        return asdict(self) | {"files": {key: str(path) for key, path in self.files.items()}, "blend": blend}

    @classmethod
    def of(cls, record: dict) -> "SubmittedPrediction":
        files = {key: path if path == ASCENDING else Path(path) for key, path in record["files"].items()}
        blend = record["blend"] and record["blend"] | {"images": Path(record["blend"]["images"])}
        return cls(**{**record, "files": files, "blend": blend})

    def inputs(self) -> list[str]:
        """Paths of all its files, in posix form."""
        paths = [path for path in self.files.values() if path != ASCENDING]
        return [Path(path).as_posix() for path in [*paths, *([self.blend["images"]] if self.blend else [])]]


def read_record(path: str | Path) -> tuple[dict, Path]:
    """The record of a submission and the folder that its paths are relative to.

    path: the folder of a submission, or its record. Raises UserError when there is none or it is not YAML or JSON.
    """
    path = Path(expanded(str(path)))
    if path.is_dir():
        found = [path / name for name in RECORD_NAMES if (path / name).is_file()]
        if not found:
            raise UserError(f"{path}: holds no {RECORD_NAMES[0]}; write one as described in docs/submissions.md")
        path = found[0]
    parse = json.loads if path.suffix == ".json" else yaml.safe_load
    absent = "give the folder of a submission, or its record"
    with readable(path, "YAML or JSON", "correct it as described in docs/submissions.md", absent):
        record = parse(path.read_text(encoding="utf-8-sig"))
        if _entries(record, {}) > MOST_ENTRIES:
            raise ValueError("its aliases expand beyond all measure")
    if not isinstance(record, dict):
        raise UserError(f"{path}: not a record of a submission; write one as described in docs/submissions.md")
    return record, path.parent


def _entries(value: Any, known: dict[int, int]) -> int:
    """Number of entries of nested lists and tables, where YAML's aliases count as often as they are used."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_entries(part, known) for part in parts)
    return known[id(value)]


def predictions_of(name: str, record: dict, folder: Path, fetched: dict[str, Path]) -> list[SubmittedPrediction]:
    """The predictions of a record that matches the schema.

    folder: base of its relative paths; fetched: directory of each registered entry that its `fetched` may name. Raises
    UserError for an unknown entry.
    """
    found = []
    for entry in (cell for written in record["predictions"] for cell in _cells(written)):
        base, source = folder, entry.get("fetched")
        if source is not None:
            if source not in fetched:
                raise UserError(f"submission {name}: key 'fetched': '{source}' is not in config/backbones.yaml")
            base = fetched[source]
        base = base / expanded(entry.get("folder", ""))
        own = {key: entry[key] for key in FILE_KEYS if key in entry}
        files = {k: v if (k, v) == ("ids", ASCENDING) else base / expanded(v) for k, v in own.items()}
        blend = entry.get("blend") and entry["blend"] | {"images": base / expanded(entry["blend"]["images"])}
        stated = record.get("disclosure", {}) | entry.get("disclosure", {})
        disclosure = {"encoder_data": "not stated", "generator_data": "not stated"} | stated | {"origin": "submission"}
        found.append(
            SubmittedPrediction(
                name,
                entry["subject"],
                entry["sessions"],
                entry["seed"],
                files,
                blend,
                disclosure,
                entry.get("test_set", ""),
                entry.get("numbering", IMAGE_ID),
            )
        )
    return found


def _cells(entry: dict) -> Iterator[dict]:
    """One entry for each subject, budget and seed of an entry of `predictions`, with the values filled into paths."""
    listed = [entry[key] if isinstance(entry[key], list) else [entry[key]] for key in ("subject", "sessions", "seed")]
    for subject, sessions, seed in product(*listed):
        cell = {"subject": subject, "sessions": sessions, "seed": seed}

        def fill(value, cell=cell):
            if isinstance(value, dict):
                return {key: fill(part) for key, part in value.items()}
            if isinstance(value, str):
                for key, part in cell.items():
                    value = value.replace(f"{{{key}}}", str(part))
            return value

        yield {key: fill(value) for key, value in entry.items()} | cell
