"""GOD's pictures: from images_256.npz, or from a folder of ImageNet's files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fmri2img.datasets.god import names
from fmri2img.datasets.god.responses import Pictures
from fmri2img.datasets.numpy_files import open_archive
from fmri2img.datasets.pictures import as_bytes, find_pictures, picture_blocks
from fmri2img.errors import UserError

BLOCK = 64  # pictures converted at once


def pictures_in_order(root: Path, images: str, seen: Pictures | None) -> Pictures:
    """Names of all pictures in the order of the .npz, which is alphabetical.

    root: the dataset's folder; images: the file or folder of pictures in it; seen: those that the recordings name, or
    None for a release that only counts them. Raises UserError when names and pictures do not fit, or a test class is in
    the training set.
    """
    path = root / images
    found: dict[str, list[str]] = {}
    for part, own in (("training", seen and seen.training), ("test", seen and seen.test)):
        listed = names.listed(root, part)
        if own and listed and not set(own) & set(listed):
            listed = None  # a list of classes alone; the recordings name the pictures
        if own and listed is not None and set(own) - set(listed):
            missing = sorted(set(own) - set(listed))[0]
            raise UserError(f"{root}: the list of {part} pictures lacks {missing}, which was shown; replace the list")
        found[part] = listed or own or [f"{part}_{number:04d}" for number in range(_count(path, part))]
    names.check_disjoint(found["training"], found["test"], str(root))
    return Pictures(found["training"], found["test"])


def _count(path: Path, part: str) -> int:
    if path.is_dir():
        raise UserError(
            f"{path}: which of these pictures were shown is not known; put MinD-Vis's imagenet_{part}_label.csv next "
            "to the recordings, or use god.images: images_256.npz"
        )
    with open_archive(path) as arrays:
        return len(arrays[_array(part)])


def _array(part: str) -> str:
    return "train_images" if part == "training" else "test_images"


def read_images(root: Path, images: str, pictures: Pictures, size: int) -> Iterator[np.ndarray]:
    """Pixels of the pictures in order, in blocks uint8 (n, size, size, 3). Raises UserError."""
    path = root / images
    if path.is_dir():
        files = find_pictures(path)
        wanted = [*pictures.training, *pictures.test]
        # ImageNet writes n01443537_22563.JPEG; copies may pad the number (n01443537_022563).
        normal = {_normal(stem): file for stem, file in files.items()}
        lacking = [name for name in wanted if _normal(name) not in normal]
        if lacking:
            raise UserError(
                f"{path}: lacks picture {lacking[0]} ({len(lacking)} of {len(wanted)} are missing); put it there"
            )
        yield from picture_blocks([normal[_normal(name)] for name in wanted], size)
        return
    with open_archive(path) as arrays:
        for part, own in (("training", pictures.training), ("test", pictures.test)):
            pixels = arrays[_array(part)]
            if pixels.ndim != 4 or pixels.shape[3] != 3 or len(pixels) != len(own):
                raise UserError(
                    f"{path}: array '{_array(part)}' has shape {pixels.shape}, not ({len(own)}, height, width, 3): one "
                    f"RGB picture for each {part} picture of the recordings; replace the file"
                )
            whole = as_bytes(pixels, f"{path}: array '{_array(part)}'")
            for start in range(0, len(whole), BLOCK):
                yield whole[start : start + BLOCK]


def _normal(stem: str) -> str:
    synset, _, number = stem.partition("_")
    return f"{synset}_{int(number)}" if number.isdecimal() else stem
