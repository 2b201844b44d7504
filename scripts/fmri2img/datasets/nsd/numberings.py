"""The numbers that NSD's own tables have for its images, apart from image_id (nsdId)."""

from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.datasets.nsd.design import read_design

KID73, KID10, SHARED, COCO = "73KID", "10KID", "shared1000", "coco_id"


def kid73(ids: np.ndarray) -> dict[int, int]:
    """image_id -> its number in NSD's 73,000 images counted from 1, as in the names of its picture files."""
    return {image_id: image_id + 1 for image_id in ids.tolist()}


def numberings(
    ids: np.ndarray, number: int, design: str | Path, stimulus_info: str | Path
) -> dict[str, dict[int, int]]:
    """Name -> image_id -> number, of the numberings that tell all of `ids` (int64, image_id) apart.

    10KID: the place in the subject's own 10,000 images; shared1000: that among the images which all subjects see; both
    from 1. coco_id: that of the COCO photograph. number: the subject's; design: nsd_expdesign.mat;
    stimulus_info: nsd_stim_info_merged.csv.
    """
    plan = read_design(design)
    own = plan.images[number - 1]
    coco = pd.read_csv(stimulus_info, usecols=["nsdId", "cocoId"]).set_index("nsdId")["cocoId"]
    tables = {
        KID73: kid73(ids),
        KID10: {image_id: place for place, image_id in enumerate(own.tolist(), 1)},
        SHARED: {image_id: place for place, image_id in enumerate(plan.shared.tolist(), 1)},
        COCO: coco.to_dict(),
    }
    wanted = ids.tolist()
    complete = {name: {i: int(table[i]) for i in wanted if i in table} for name, table in tables.items()}
    return {name: table for name, table in complete.items() if len(set(table.values())) == len(wanted)}
