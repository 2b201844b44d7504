"""Submissions: anyone's reconstructions with a record of what they are, checked, and made into Predictions.

A submission is a file submission.yaml (or .json) beside the reconstructions, or the same keys in a configuration;
workflow/schemas/submission.schema.yaml lists them and docs/submissions.md explains them. It holds one or several
predictions, each of one subject, training budget and seed. A prediction must cover the test images of its subject: an
incomplete one is refused, because its mean would be over other images than everybody else's.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import yaml

from fmri2img.artifacts.prediction import DISCLOSURE
from fmri2img.artifacts.submission_files import Pictures, open_pictures, open_rows, read_captions, read_ids
from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.errors import UserError

ASCENDING = "ascending"  # the value of `ids` that stands for the subject's test images by ascending nsd_id
RECORD_NAMES = ("submission.yaml", "submission.yml", "submission.json")
FILE_KEYS = ("images", "ids", "retrieval", "captions")


@dataclass(frozen=True)
class TestImages:
    """The images that one subject is tested on. ids: int64, ascending."""

    subject: str
    split: str
    split_sha256: str
    ids: np.ndarray

    __test__ = False  # not a test case, whatever its name

    def save(self, path: str | Path) -> None:
        write_json(path, asdict(self) | {"ids": self.ids.tolist()})

    @classmethod
    def open(cls, path: str | Path) -> "TestImages":
        record = read_json(path)
        return cls(**record | {"ids": np.array(record["ids"], np.int64)})


@dataclass(frozen=True)
class SubmittedPrediction:
    """One prediction of a submission. files: those of FILE_KEYS that it has, as paths, `ids` possibly ASCENDING."""

    method: str
    subject: str
    sessions: int | float | str
    seed: int
    files: dict[str, Path | str]
    blend: dict | None
    disclosure: dict

    def record(self) -> dict:
        """Plain values, from which `of` makes it again."""
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
    path = Path(path)
    if path.is_dir():
        found = [path / name for name in RECORD_NAMES if (path / name).is_file()]
        if not found:
            raise UserError(f"{path}: holds no {RECORD_NAMES[0]}; write one as docs/submissions.md says")
        path = found[0]
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the folder of a submission, or its record") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not YAML or JSON ({reason}); correct it as docs/submissions.md says") from None
    if not isinstance(record, dict):
        raise UserError(f"{path}: not a record of a submission; write one as docs/submissions.md says")
    return record, path.parent


def predictions_of(name: str, record: dict, folder: Path, fetched: dict[str, Path]) -> list[SubmittedPrediction]:
    """The predictions of a record that fits the schema.

    folder: what its paths are relative to; fetched: directory of each registered entry that it may name by `fetched`.
    Raises UserError for an unknown entry.
    """
    found = []
    for entry in (cell for written in record["predictions"] for cell in _cells(written)):
        base, source = folder, entry.get("fetched")
        if source is not None:
            if source not in fetched:
                raise UserError(f"submission {name}: key 'fetched': '{source}' is not in config/backbones.yaml")
            base = fetched[source]
        base = base / entry.get("folder", "")
        files = {k: v if (k, v) == ("ids", ASCENDING) else base / v for k, v in entry.items() if k in FILE_KEYS}
        blend = entry.get("blend") and entry["blend"] | {"images": base / entry["blend"]["images"]}
        disclosure = record.get("disclosure", {}) | entry.get("disclosure", {}) | {"origin": "submission"}
        found.append(
            SubmittedPrediction(name, entry["subject"], entry["sessions"], entry["seed"], files, blend, disclosure)
        )
    return found


def _cells(entry: dict) -> Iterator[dict]:
    """An entry of `predictions` for each of the subjects, budgets and seeds it lists, their values put into paths."""
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


@dataclass(frozen=True)
class CheckedSubmission:
    """What a submitted prediction's files hold, when nothing is wrong with them. ids: nsd_id of each row."""

    ids: np.ndarray
    images: Pictures | None
    blurry: Pictures | None
    retrieval: np.ndarray | None
    captions: list[str] | None


def check_submission(prediction: SubmittedPrediction, test: TestImages) -> tuple[CheckedSubmission | None, list[str]]:
    """Open and check one prediction against the images it must cover.

    Returns what it holds, or None, and what is wrong with it, a line each.
    """
    problems = list(_disclosure_problems(prediction))
    files, images, blurry, retrieval, captions = prediction.files, None, None, None, None

    def attempt(read):
        try:
            return read()
        except UserError as error:
            problems.append(str(error))
            return None

    if "images" in files:
        images = attempt(lambda: open_pictures(files["images"]))
    if prediction.blend:
        blurry = attempt(lambda: open_pictures(prediction.blend["images"]))
    if "retrieval" in files:
        retrieval = attempt(lambda: read_vectors(files["retrieval"]))
    if "captions" in files:
        captions = attempt(lambda: read_captions(files["captions"]))
    if not {"images", "retrieval", "captions"} & files.keys():
        problems.append(f"submission {prediction.method}: {prediction.subject} has no images, captions or retrieval")
    ids = attempt(lambda: _row_ids(prediction, images, test))
    if ids is not None:
        where = prediction.method if files.get("ids", ASCENDING) == ASCENDING else files["ids"]
        problems += id_problems(ids, test, str(where))
        parts = {"images": images, "retrieval": retrieval, "captions": captions, "blend.images": blurry}
        for key, part in parts.items():
            n = None if part is None else part.n if isinstance(part, Pictures) else len(part)
            if n is not None and n != len(ids):
                path = prediction.blend["images"] if key == "blend.images" else files[key]
                problems.append(f"{path}: {n} rows for {len(ids)} nsd_id; {test.subject} has {len(test.ids)} to test")
            if isinstance(part, Pictures) and part.ids is not None and not np.array_equal(part.ids, ids):
                problems.append(f"{part.path}: its file names are not the nsd_id of the other files in their order")
    for pictures in (images, blurry):
        if pictures is not None:
            attempt(lambda pictures=pictures: all(len(block) for block in pictures.checked()))
    if problems:
        return None, list(dict.fromkeys(problems))
    return CheckedSubmission(ids, images, blurry, retrieval, captions), []


def _disclosure_problems(prediction: SubmittedPrediction) -> Iterator[str]:
    for key, kind in DISCLOSURE.items():
        value = prediction.disclosure.get(key)
        wrong_type = not isinstance(value, kind) or (kind is int and isinstance(value, bool))
        if key not in prediction.disclosure:
            yield f"submission {prediction.method}: key 'disclosure.{key}' is missing ({kind.__name__})"
        elif wrong_type:
            yield f"submission {prediction.method}: key 'disclosure.{key}' must be {kind.__name__}, got {value!r}"


def _row_ids(prediction: SubmittedPrediction, images: Pictures | None, test: TestImages) -> np.ndarray | None:
    named = prediction.files.get("ids")
    if named == ASCENDING:
        return test.ids
    if named is not None:
        return read_ids(named)
    if "images" in prediction.files and images is None:
        return None  # whatever is wrong with the pictures has been said
    if images is not None and images.ids is not None:
        return images.ids
    raise UserError(
        f"submission {prediction.method}: key 'ids' is missing; name a list of nsd_id, or write '{ASCENDING}' if "
        "rows are the subject's test images by ascending nsd_id"
    )


def id_problems(ids: np.ndarray, test: TestImages, where: str) -> list[str]:
    """What keeps `ids` from being each test image exactly once, a line each."""
    unique, counts = np.unique(ids, return_counts=True)
    repeated, missing = unique[counts > 1], np.setdiff1d(test.ids, unique)
    outside = np.setdiff1d(unique, test.ids)
    n, problems = len(test.ids), []
    if len(outside) and np.isin(unique - 1, test.ids).mean() > 0.99 and not np.isin(unique, test.ids).all():
        return [f"{where}: nsd_id counted from 1; subtract 1 from each (NSD's 73KID minus 1)"]
    if len(repeated):
        problems.append(
            f"{where}: nsd_id {repeated[0]} is there more than once ({len(repeated)} are); keep one of each"
        )
    if len(outside):
        problems.append(
            f"{where}: nsd_id {outside[0]} is not a test image of {test.subject} in split {test.split} "
            f"({len(outside)} are not); leave them out"
        )
    if len(missing):
        problems.append(
            f"{where}: nsd_id {missing[0]} is missing; {n - len(missing)} of {n} test images of {test.subject} are "
            "there, and only complete sets are scored"
        )
    return problems


def read_vectors(path: Path) -> np.ndarray:
    """Retrieval vectors: float16 (rows, dimensions), tokens flattened. Raises UserError when they are not finite."""
    rows = open_rows(path)
    if len(rows.shape) < 2 or not rows.dtype.lstrip("b").startswith("float"):
        raise UserError(f"{path}: {rows.dtype} of shape {rows.shape}, expected float (rows, dimensions)")
    vectors = np.empty((rows.shape[0], int(np.prod(rows.shape[1:]))), np.float16)
    start = 0
    for block in rows.blocks():
        with np.errstate(over="ignore"):
            stored = block.reshape(len(block), -1).astype(np.float16)
        if not np.isfinite(stored).all():
            raise UserError(f"{path}: NaN, Inf or values beyond float16 from row {start} on; scale or correct them")
        vectors[start : start + len(block)] = stored
        start += len(block)
    return vectors
