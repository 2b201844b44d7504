"""LAION-fMRI's images: their captions and what their names say (public), and their pixels (behind a form).

`task-images_desc-captions.csv` has one row per caption: image_name, caption_idx (1 is the best), source ("human" or
"ai") and caption. People wrote five captions of each shared image and three of the others; those of a language model
are not used. `task-images_stimuli.h5` has the dataset `images`, the bytes of a JPEG or PNG per row, in the order of the
rows of `task-images_metadata.csv`. Transparent pixels of PNGs show the grey of the screen, as in the scanner.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from PIL import Image

from fmri2img.datasets.laion_fmri import layout
from fmri2img.datasets.laion_fmri.names import read_name
from fmri2img.datasets.own_files import renew
from fmri2img.datasets.pictures import square
from fmri2img.errors import UserError
from fmri2img.integrity import ABSENT
from fmri2img.reading import readable

BLOCK = 64  # pictures held at once


def read_csv(path: str | Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Columns of a CSV file, as text. Raises UserError when it is damaged, or lacks one."""
    with readable(path, "a CSV table", renew(path), ABSENT):
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        lacking = [name for name in columns if name not in table]
        if lacking:
            raise UserError(f"{path}: no column {lacking[0]}; {renew(path)}")
    return table[list(columns)]


def read_captions(path: str | Path) -> dict[str, list[str]]:
    """Image name -> the captions that people wrote, the best first. Raises UserError."""
    table = read_csv(path, ("image_name", "caption_idx", "source", "caption"))
    table = table[(table["source"] == "human") & (table["caption"].str.strip() != "")]
    with readable(path, "a table of captions", renew(path)):
        rank = table["caption_idx"].astype(float)
    ordered = table.assign(rank=rank).sort_values(["image_name", "rank"], kind="stable")
    return ordered.groupby("image_name")["caption"].agg(lambda texts: [text.strip() for text in texts]).to_dict()


def describe_images(names: list[str], image_ids: dict[str, int], captions: dict[str, list[str]]) -> pd.DataFrame:
    """The table of Stimuli for images, ascending by image_id. Raises UserError when one has no caption."""
    names = sorted(names, key=image_ids.__getitem__)
    silent = [name for name in names if not captions.get(name)]
    if silent:
        raise UserError(
            f"{layout.CAPTIONS}: no caption of {silent[0]} by people ({len(silent)} of {len(names)} images have none); "
            "delete the file, so that it is downloaded again, or replace your copy"
        )
    read = [read_name(name) for name in names]
    return pd.DataFrame(
        {
            "image_id": np.array([image_ids[name] for name in names], np.int64),
            "name": names,
            "source": [one.source for one in read],
            "captions": [captions[name] for name in names],
            "categories": [[one.concept] if one.concept else [] for one in read],
            "cluster": None,
            "shared": [one.owner is None for one in read],
        }
    )


def picture_blocks(pictures: str | Path, metadata: str | Path, names: list[str], size: int) -> Iterator[np.ndarray]:
    """Pixels of the named images in order, in blocks uint8 (n, size, size, 3), as they were shown. Raises UserError."""
    rows = {name: row for row, name in enumerate(read_csv(metadata, ("image_name",))["image_name"])}
    missing = [name for name in names if name not in rows]
    if missing:
        raise UserError(f"{metadata}: lacks image {missing[0]} ({len(missing)} of {len(names)}); {renew(metadata)}")
    with readable(pictures, "a complete HDF5 file", renew(pictures), ABSENT), h5py.File(pictures, "r") as file:
        images = file["images"]
        if len(images) != len(rows):
            raise UserError(
                f"{pictures}: {len(images)} pictures, but {metadata} lists {len(rows)}; take both from one release"
            )
        for start in range(0, len(names), BLOCK):
            yield np.stack([decoded(bytes(images[rows[name]]), size) for name in names[start : start + BLOCK]])


def decoded(content: bytes, size: int) -> np.ndarray:
    """A picture as it was shown, uint8 (size, size, 3): transparent pixels over the grey of the screen."""
    with Image.open(io.BytesIO(content)) as image:
        shown = image.convert("RGBA")
        grey = Image.new("RGBA", shown.size, (layout.GREY,) * 3 + (255,))
        pixels = np.asarray(Image.alpha_composite(grey, shown).convert("RGB"))
    return square(pixels, size)
