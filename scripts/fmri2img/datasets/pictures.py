"""Pictures in a folder, found by their names, and made squares of one size."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fmri2img.datasets.own_files import visible
from fmri2img.errors import UserError
from fmri2img.reading import readable

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".tif", ".tiff", ".webp")
BLOCK = 64  # pictures held at once
GREY = 128  # behind transparent pictures, as experiments show them
CROP, PAD = "crop", "pad"


def find_pictures(folder: str | Path) -> dict[str, Path]:
    """Name without suffix -> path of every picture below `folder`. Raises UserError when there is none."""
    found = {path.stem: path for path in visible(Path(folder).rglob("*")) if path.suffix.lower() in SUFFIXES}
    if not found:
        raise UserError(f"{folder}: no picture in this folder; put the dataset's pictures there")
    return found


def read_picture(path: str | Path, size: int, fit: str = CROP, background: int = GREY) -> np.ndarray:
    """One picture as uint8 (size, size, 3) RGB, resized: its central square, or padded to a square.

    fit: "crop" or "pad"; background: the grey of padding and behind transparent pixels. Raises UserError when the file
    is damaged or missing.
    """
    with readable(path, "a complete picture", "replace it", "put the picture there"), Image.open(path) as image:
        pixels = np.asarray(opaque(image, background))
    return square(padded(pixels, background) if fit == PAD else pixels, size)


def opaque(image: Image.Image, background: int) -> Image.Image:
    """A picture of any mode in RGB. Transparent pixels show the background: their own colours are arbitrary."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):  # grey levels that RGB would cut off at 255
        values = np.asarray(image, np.float64)
        top = 255.0 if image.mode == "F" and values.max() <= 255 else 65535.0
        image = Image.fromarray(np.round(np.clip(values, 0, top) / top * 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        above = image.convert("RGBA")
        below = Image.new("RGBA", above.size, (background, background, background, 255))
        return Image.alpha_composite(below, above).convert("RGB")
    return image.convert("RGB")


def padded(pixels: np.ndarray, background: int) -> np.ndarray:
    """A picture uint8 (height, width, 3) in the middle of a square with this grey around it."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    whole = np.full((side, side, 3), background, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    whole[top : top + height, left : left + width] = pixels
    return whole


def square(pixels: np.ndarray, size: int) -> np.ndarray:
    """The central square of a picture uint8 (height, width, 3), resized to (size, size, 3)."""
    side = min(pixels.shape[:2])
    top, left = ((n - side) // 2 for n in pixels.shape[:2])
    middle = pixels[top : top + side, left : left + side]
    if side == size:
        return middle
    return np.asarray(Image.fromarray(middle).resize((size, size), Image.Resampling.LANCZOS))


def picture_blocks(
    paths: Iterable[str | Path], size: int, fit: str = CROP, background: int = GREY
) -> Iterator[np.ndarray]:
    """The pictures in blocks, each uint8 (n, size, size, 3)."""
    block: list[np.ndarray] = []
    for path in paths:
        block.append(read_picture(path, size, fit, background))
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
