"""Pictures of NSD, and COCO's annotations of them.

Row r of `imgBrick` is the image with image_id r, already cropped to a square: cropBox of the csv has been applied.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from fmri2img.archives import check_hdf5
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.own_files import renew
from fmri2img.errors import UserError
from fmri2img.integrity import ABSENT
from fmri2img.reading import readable

UNPACK = "download COCO's annotations_trainval2017.zip and unpack it"
BLOCK = 64  # images read at once: 35 MB at 425 x 425
USED = {"annotations", "categories", "id", "image_id", "category_id", "name", "caption"}  # keys of COCO's files


def image_blocks(path: str | Path, ids: np.ndarray) -> Iterator[np.ndarray]:
    """Pixels of ascending `ids` in blocks: uint8 (n, height, width, 3) RGB.

    path: nsd_stimuli.hdf5. Raises UserError when it is truncated, lacks imgBrick or an image; ValueError when ids
    are not ascending and unique (h5py would return them in another order).
    """
    ids = np.asarray(ids, np.int64)
    if (np.diff(ids) <= 0).any():
        raise ValueError("ids must be ascending and unique")
    with readable(path, "a complete HDF5 file", renew(path), ABSENT), h5py.File(path, "r") as file:
        bricks = file.get("imgBrick")
        known = isinstance(bricks, h5py.Dataset) and bricks.ndim == 4
        if not known or bricks.shape[3] != 3 or bricks.dtype != np.uint8:
            raise UserError(f"{path}: no dataset imgBrick of uint8 (images, height, width, 3); {renew(path)}")
        if len(ids) and (ids[0] < 0 or ids[-1] >= len(bricks)):
            raise UserError(f"{path}: holds {len(bricks)} images, but image_id {ids[-1]} was shown; {renew(path)}")
        check_hdf5(path, bricks)
        for start in range(0, len(ids), BLOCK):
            yield bricks[ids[start : start + BLOCK]]


def describe_images(
    stimulus_info: str | Path, captions: dict[str, str | Path], instances: dict[str, str | Path], ids: np.ndarray
) -> pd.DataFrame:
    """The table of Stimuli for the images `ids`, with their coco_id and COCO's captions and categories.

    stimulus_info: nsd_stim_info_merged.csv; captions, instances: cocoSplit ("train2017", "val2017") -> JSON file.
    Captions are in the order of their COCO ids, white space tidied; categories are sorted, and empty for an image in
    which no object was annotated. Raises UserError naming the file that lacks an image or its captions.
    """
    with readable(stimulus_info, "an nsd_stim_info_merged.csv with all images", renew(stimulus_info), ABSENT):
        table = pd.read_csv(stimulus_info, usecols=["nsdId", "cocoId", "cocoSplit"]).set_index("nsdId")
        if not table.index.is_unique:
            raise ValueError("an nsdId appears twice")
        table = table.loc[ids].astype({"cocoId": np.int64})
    said: dict[int, list[str]] = {}
    seen: dict[int, list[str]] = {}
    for split, wanted in table.groupby("cocoSplit", dropna=False)["cocoId"]:
        if split not in captions:
            raise UserError(f"{stimulus_info}: unknown cocoSplit '{split}'; {renew(stimulus_info)}")
        said |= _captions(captions[split], set(wanted))
        seen |= _categories(instances[split], set(wanted))
    return pd.DataFrame(
        {
            "image_id": np.asarray(ids, np.int64),
            "name": [layout.image_name(image_id) for image_id in ids],
            "source": [f"COCO {split}" for split in table["cocoSplit"]],
            "coco_id": table["cocoId"].to_numpy(),
            "captions": [said[image] for image in table["cocoId"]],
            "categories": [seen[image] for image in table["cocoId"]],
            "cluster": None,
        }
    )


def _captions(path: str | Path, wanted: set[int]) -> dict[int, list[str]]:
    found: dict[int, list[tuple[int, str]]] = {}
    with _annotations(path) as content:
        for entry in content["annotations"]:
            if entry["image_id"] in wanted:
                found.setdefault(entry["image_id"], []).append((entry["id"], " ".join(entry["caption"].split())))
        if wanted - found.keys():
            raise UserError(f"{path}: no caption for COCO image {min(wanted - found.keys())}; {renew(path)}")
        return {image: [caption for _, caption in sorted(entries)] for image, entries in found.items()}


def _categories(path: str | Path, wanted: set[int]) -> dict[int, list[str]]:
    found: dict[int, set[str]] = {image: set() for image in wanted}
    with _annotations(path) as content:
        names = {category["id"]: category["name"] for category in content["categories"]}
        for entry in content["annotations"]:
            if entry["image_id"] in found:
                found[entry["image_id"]].add(names[entry["category_id"]])
        return {image: sorted(categories) for image, categories in found.items()}


@contextmanager
def _annotations(path: str | Path) -> Iterator[dict]:
    """Content of one of COCO's JSON files; errors in the block become a UserError that names the file."""

    def only_used(entry: dict) -> dict:
        # Dropped while parsing: the outlines of COCO's 860,000 training objects would fill several gigabytes.
        return {key: value for key, value in entry.items() if key in USED}

    # Not JSON, or not with the keys and values of COCO's.
    with readable(path, "a complete COCO annotation file", renew(path), UNPACK):
        yield json.loads(Path(path).read_text(encoding="utf-8-sig"), object_hook=only_used)
