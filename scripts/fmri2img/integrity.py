"""Size and SHA-256 of every file that a step writes, to find damage later.

A folder's record is <folder>/checksums.json, that of a single file <parent>/.<name>.checksums.json:

    {"files": {"betas.npy": {"bytes": 1234, "sha256": "..."}, ...}}

Records are written by `artifacts.atomic`, together with the files. Whoever opens a file compares its size with the
record; a small file is compared by its hash, which costs less than reading it. `make verify` compares all hashes.
Files without a record, such as a user's own, are not compared.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from fmri2img.errors import UserError

RECORD = "checksums.json"
ABSENT = "run `snakemake` again to make it"  # the remedy of a file that is missing
SMALL = 2**20  # bytes up to which a file is hashed when it is opened


def sha256(path: str | Path) -> str:
    """SHA-256 in hex of one file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_folder(folder: Path) -> None:
    """Write the record of all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / RECORD)
    _write(record_of(folder), {path.relative_to(folder).as_posix(): path for path in files})


def record_file(path: Path, content: Path) -> None:
    """Write the record of the single file `path`, whose content is still in the file `content`."""
    _write(record_of(path), {path.name: content})


def _write(record: Path, files: dict[str, Path]) -> None:
    found = {name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for name, path in files.items()}
    record.write_text(json.dumps({"files": found}, indent=1) + "\n", encoding="utf-8")


def record_of(artifact: Path) -> Path:
    """The file with the record of a folder or of a single file."""
    return artifact / RECORD if artifact.is_dir() else artifact.with_name(f".{artifact.name}.{RECORD}")


def _is_record(path: Path) -> bool:
    return path.name == RECORD or (path.name.startswith(".") and path.name.endswith(f".{RECORD}"))


def _recorded(record: Path) -> dict[str, dict]:
    """Name -> bytes and sha256. Raises UserError for a damaged record."""
    try:
        files: dict[str, dict] = json.loads(record.read_text(encoding="utf-8"))["files"]
        return {name: {"bytes": int(one["bytes"]), "sha256": str(one["sha256"])} for name, one in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{record}: is damaged; {again(record)}") from None


def _expected(path: Path) -> dict | None:
    """What the record says of a file; None where there is no record."""
    single = record_of(path)
    if single.is_file():
        return _recorded(single).get(path.name)
    for folder in path.parents:
        if (folder / RECORD).is_file():
            return _recorded(folder / RECORD).get(path.relative_to(folder).as_posix())
    return None


def again(path: str | Path) -> str:
    """What makes a file of a study again, as the remedy of a message.

    Snakemake makes what is not there, but does not look into the folders that rules write: the folder is to be deleted.
    """
    path = Path(path)
    single = _is_record(path) and path.name != RECORD
    written = path.with_name(path.name[1 : -len(f".{RECORD}")]) if single else _artifact(path)
    return f"delete {written} and run `snakemake` again" if written.exists() else ABSENT


def _artifact(path: Path) -> Path:
    """The folder that a rule wrote and in which the file is, or the file itself."""
    return next((folder for folder in [path, *path.parents] if (folder / RECORD).is_file()), path)


def check(path: str | Path) -> None:
    """Raise UserError when an existing file differs from its record: by its size, and if it is small by its hash.

    A record, which has no record of its own, must be readable.
    """
    path = Path(path)
    if not path.is_file():
        return
    if _is_record(path):
        _recorded(path)
    elif expected := _expected(path):
        problem = _difference(path, expected, whole=expected["bytes"] <= SMALL)
        if problem:
            raise UserError(f"{path}: {problem}; {again(path)}")


def _difference(path: Path, expected: dict, whole: bool) -> str | None:
    """How a file differs from its record. whole: whether its hash is compared too."""
    if not path.is_file():
        return "is missing, although it was written"
    size = path.stat().st_size
    if size != expected["bytes"]:
        return f"is damaged: it has {size} bytes, but {expected['bytes']} were written"
    if whole and sha256(path) != expected["sha256"]:
        return "is damaged: it has its size, but not the content that was written"
    return None


def is_whole(output: Path) -> bool:
    """Whether an artifact has a record, and every file of it its size and, if it is small, its content.

    Raises UserError when the record is damaged.
    """
    record, folder = record_of(output), output if output.is_dir() else output.parent
    files = _recorded(record) if record.is_file() else {}
    return bool(files) and not any(
        _difference(folder / name, expected, whole=expected["bytes"] <= SMALL) for name, expected in files.items()
    )


def damage(output: Path) -> Iterator[str]:
    """All differences between an artifact, a folder or a single file, and its record, a line each.

    Raises FileNotFoundError when it has no record, and UserError when the record is damaged.
    """
    record, folder = record_of(output), output if output.is_dir() else output.parent
    if not record.is_file():
        raise FileNotFoundError(record)
    for name, expected in _recorded(record).items():
        problem = _difference(folder / name, expected, whole=True)
        if problem:
            yield f"{folder / name}: {problem}"
