"""BOLD5000's pictures, their sources and classes."""

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fmri2img.datasets.bold5000 import layout
from fmri2img.datasets.numpy_files import ABSENT, REPLACE
from fmri2img.datasets.own_files import visible
from fmri2img.datasets.pictures import SUFFIXES, as_bytes, picture_blocks, square
from fmri2img.errors import UserError
from fmri2img.reading import readable


def source_of(name: str) -> str:
    """COCO, ImageNet or Scene, which the name shows: COCO_train2014_...jpg, n01440764_1.JPEG, abbey1.jpg."""
    if name.startswith("COCO_"):
        return "COCO"
    return "ImageNet" if re.match(r"n\d{8}_", name) else "Scene"


def read_labels(stimuli: Path) -> dict[str, list[str]]:
    """Synset -> words for it, of the ImageNet pictures; empty when the release's list is not there."""
    path = stimuli / layout.LABELS
    if not path.is_file():
        return {}
    lines = [
        line.strip().partition(" ") for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    ]
    return {synset: [word.strip() for word in words.split(",")] for synset, _, words in lines if words}


def categories(name: str, labels: dict[str, list[str]]) -> list[str]:
    """What a picture shows: the class of an ImageNet picture, the kind of scene; nothing for COCO."""
    source = source_of(name)
    if source == "ImageNet":
        return labels.get(name.partition("_")[0], [])
    scene = re.match(r"[A-Za-z_ ]+", Path(name).stem)
    return [scene[0].strip("_ ")] if source == "Scene" and scene else []


def read_images(stimuli: Path, names: list[str], size: int) -> Iterator[np.ndarray]:
    """Pixels of the named pictures in order, in blocks uint8 (n, size, size, 3).

    They are files below Presented_Stimuli, or the arrays of MinD-Vis's img_dict.npy. Raises UserError when one is
    missing or damaged.
    """
    folder = stimuli / layout.PICTURES
    files = {path.stem: path for path in visible(folder.rglob("*")) if path.suffix.lower() in SUFFIXES}
    lacking = [name for name in names if Path(name).stem not in files]
    if not lacking:
        yield from picture_blocks([files[Path(name).stem] for name in names], size)
        return
    arrays = read_arrays(stimuli / layout.ARRAYS) if (stimuli / layout.ARRAYS).is_file() else {}
    missing = [name for name in names if name not in arrays]
    if missing:
        raise UserError(
            f"{folder}: lacks picture {lacking[0]} ({len(lacking)} of {len(names)} are missing); download "
            f"BOLD5000_Stimuli.zip from {layout.STIMULI_ADDRESS} and unpack it"
        )
    for name in names:
        pixels = np.asarray(arrays[name])
        if pixels.ndim != 3 or pixels.shape[2] != 3:
            raise UserError(f"{stimuli / layout.ARRAYS}: {name} has shape {pixels.shape}, not (height, width, 3)")
        yield square(as_bytes(pixels, f"{stimuli / layout.ARRAYS}: {name}"), size)[None]


class _Arrays(pickle.Unpickler):
    """An unpickler that can make arrays and containers and nothing else, so that a file cannot run code."""

    ALLOWED = ("_reconstruct", "_frombuffer", "scalar", "ndarray", "dtype")

    def find_class(self, module: str, name: str) -> Any:
        if (module.partition(".")[0] == "numpy" and name in self.ALLOWED) or (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it contains {module}.{name}, which is not an array")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Name -> pixels, from an .npy file that holds a pickled dictionary of arrays. Raises UserError."""
    with readable(path, "a dictionary of pictures as NumPy saves it", REPLACE, ABSENT):
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            read(file)
            content = _Arrays(file).load()
        content = content.item() if isinstance(content, np.ndarray) else content
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
    return {str(name): pixels for name, pixels in content.items()}
