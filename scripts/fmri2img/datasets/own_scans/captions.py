"""Captions that people wrote, in a table or as JSON."""

from pathlib import Path

from fmri2img.artifacts.tables import read_json
from fmri2img.datasets.own_scans.pictures import Folder
from fmri2img.datasets.own_scans.tables import REMEDY, read_columns
from fmri2img.errors import UserError

PICTURE, CAPTION = ("picture", "image", "stim_file", "name"), ("caption", "captions", "text")


def read_captions(path: Path, folder: Folder) -> dict[str, list[str]]:
    """Name of a picture -> its captions. Raises UserError when a caption belongs to no picture."""
    if path.suffix.lower() == ".json":
        pairs = [(name, text) for name, texts in read_json(path, REMEDY).items() for text in _texts(path, name, texts)]
    else:
        table = read_columns(path)
        columns = [next((name for name in spellings if name in table), None) for spellings in (PICTURE, CAPTION)]
        if None in columns:
            found = ", ".join(table.columns)
            raise UserError(f"{path}: needs columns picture and caption (columns: {found}); rename them")
        pairs = list(zip(table[columns[0]], table[columns[1]], strict=True))
    wrong = [name for name, _ in pairs if len(folder.meant(name)) != 1]
    if wrong:
        raise UserError(f"{path}: {folder.path} {folder.wrong(wrong[0])} ({len(wrong)} of {len(pairs)} captions)")
    found: dict[str, list[str]] = {}
    for name, text in pairs:
        if text.strip():
            found.setdefault(folder.named(name), []).append(text.strip())
    return found


def _texts(path: Path, name: str, texts: object) -> list[str]:
    listed = [texts] if isinstance(texts, str) else texts
    if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
        raise UserError(f"{path}: '{name}' has neither a caption nor a list of captions; {REMEDY}")
    return listed
