"""Pictures in a folder, found by their names, and cut to squares of one size."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fmri2img.datasets.own_files import visible
from fmri2img.errors import UserError
from fmri2img.reading import readable

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".tif", ".tiff")
BLOCK = 64  # pictures held at once


def find_pictures(folder: str | Path) -> dict[str, Path]:
    """Name without suffix -> path of every picture below `folder`. Raises UserError when there is none."""
    found = {path.stem: path for path in visible(Path(folder).rglob("*")) if path.suffix.lower() in SUFFIXES}
    if not found:
        raise UserError(f"{folder}: no picture in this folder; put the dataset's pictures there")
    return found


def read_picture(path: str | Path, size: int) -> np.ndarray:
    """One picture as uint8 (size, size, 3) RGB: its central square, resized. Raises UserError when it is damaged."""
    with readable(path, "a complete picture", "replace it", "put the picture there"), Image.open(path) as image:
        picture = image.convert("RGB")
    return square(np.asarray(picture), size)


def square(pixels: np.ndarray, size: int) -> np.ndarray:
    """The central square of a picture uint8 (height, width, 3), resized to (size, size, 3)."""
    side = min(pixels.shape[:2])
    top, left = ((n - side) // 2 for n in pixels.shape[:2])
    middle = pixels[top : top + side, left : left + side]
    if side == size:
        return middle
    return np.asarray(Image.fromarray(middle).resize((size, size), Image.Resampling.LANCZOS))


def picture_blocks(paths: Iterable[str | Path], size: int) -> Iterator[np.ndarray]:
    """The pictures in blocks, each uint8 (n, size, size, 3)."""
    block: list[np.ndarray] = []
    for path in paths:
        block.append(read_picture(path, size))
        if len(block) == BLOCK:
            yield np.stack(block)
            block = []
    if block:
        yield np.stack(block)


def as_bytes(pictures: np.ndarray, what: str) -> np.ndarray:
    """Pictures of any number type as uint8 of the same shape: floats are from 0 to 1, or from 0 to 255.

    Raises UserError for values outside these ranges.
    """
    if pictures.dtype == np.uint8:
        return pictures
    lowest, highest = float(pictures.min()), float(pictures.max())
    if not (lowest >= 0 and highest <= 255):
        raise UserError(
            f"{what}: pixels from {lowest:g} to {highest:g} are neither 0 to 1 nor 0 to 255; replace the file"
        )
    scale = 255 if pictures.dtype.kind == "f" and highest <= 1 else 1
    return np.round(pictures * scale).astype(np.uint8)
