"""The images of the simulated NSD, and the tables and annotations of NSD and COCO about them."""

import ast

import numpy as np
import pandas as pd

from fmri2img.datasets.nsd.layout import REPEATS, SESSIONS
from fmri2img.datasets.nsd.simulator.design import Design
from fmri2img.datasets.nsd.simulator.parameters import Simulation, subject_number
from fmri2img.datasets.scene_glyphs import extent
from fmri2img.datasets.scenes import CATEGORIES, Scene, captions, draw, sample_scene

# Category numbers of COCO 2017; "tree" is from COCO-Stuff.
COCO_IDS = {
    "car": 3, "airplane": 5, "bus": 6, "boat": 9, "traffic light": 10, "bench": 15, "bird": 16, "cat": 17, "dog": 18,
    "umbrella": 28, "sports ball": 37, "kite": 38, "bottle": 44, "cup": 47, "banana": 52, "apple": 53, "chair": 62,
    "potted plant": 64, "clock": 85, "vase": 86, "tree": 169,
}  # fmt: skip
VALIDATION_SHARE = 0.1
LONG_SIDE, SHORT_SIDE = 640, 480  # pixels of the uncropped pictures


def scenes(simulation: Simulation) -> list[Scene]:
    """The scene of every image_id."""
    rng = simulation.stream("scenes")
    return [sample_scene(rng) for _ in range(simulation.stimuli)]


def images(simulation: Simulation, drawn: list[Scene]) -> np.ndarray:
    """Pictures, (stimuli, size, size, 3) uint8."""
    return np.stack([draw(scene, simulation.image_size) for scene in drawn])


def information(simulation: Simulation, design: Design) -> pd.DataFrame:
    """The 40 columns of nsd_stim_info_merged.csv (its index is the unnamed 41st).

    Repetitions are 1-based trials, planned for the longest participation even if a subject stopped earlier; 0 means
    never planned.
    """
    rng = simulation.stream("information")
    n = simulation.stimuli
    portrait, cut = rng.random(n) < 0.25, (LONG_SIDE - SHORT_SIDE) / LONG_SIDE
    before = np.round(rng.uniform(0, cut, n) * LONG_SIDE) / LONG_SIDE
    sides = [(b, cut - b, 0, 0) if p else (0, 0, b, cut - b) for b, p in zip(before.tolist(), portrait, strict=True)]
    table = pd.DataFrame(
        {
            "cocoId": np.sort(rng.choice(np.arange(1, 581_929), n, replace=False))[rng.permutation(n)],
            "cocoSplit": np.where(rng.random(n) < VALIDATION_SHARE, "val2017", "train2017"),
            "cropBox": [str(tuple(side)) for side in sides],
            "loss": np.round(rng.uniform(0, 0.4, n), 12),
            "nsdId": np.arange(n),
            "flagged": rng.random(n) < 0.01,
            "BOLD5000": rng.random(n) < 0.02,
            "shared1000": np.isin(np.arange(n), design.shared),
        }
    )
    trials = {subject: np.zeros((n, REPEATS), int) for subject in SESSIONS}
    for subject in SESSIONS:
        trials[subject][design.images[subject]] = design.presentations() + 1
    for subject in SESSIONS:
        table[f"subject{subject_number(subject)}"] = (trials[subject][:, 0] > 0).astype(int)
    for subject in SESSIONS:
        for repeat in range(REPEATS):
            table[f"subject{subject_number(subject)}_rep{repeat}"] = trials[subject][:, repeat]
    return table


def annotations(simulation: Simulation, drawn: list[Scene], table: pd.DataFrame, split: str) -> tuple[dict, dict]:
    """COCO's captions and instances of one split ("train2017" or "val2017"), each ready to be written as JSON."""
    rng = simulation.stream("annotations", split)
    chosen = table[table["cocoSplit"] == split]
    pictures, sentences, objects = [], [], []
    for row in chosen.itertuples():
        top, _, left, right = ast.literal_eval(row.cropBox)
        width, height = (LONG_SIDE, SHORT_SIDE) if left + right else (SHORT_SIDE, LONG_SIDE)
        pictures.append(
            {"id": row.cocoId, "file_name": f"{row.cocoId:012d}.jpg", "width": width, "height": height, "license": 4}
        )
        sentences += [(row.cocoId, text) for text in captions(drawn[row.nsdId], rng)]
        for item in drawn[row.nsdId].objects:
            w, h = (SHORT_SIDE * side for side in extent(item.category, item.size))
            x, y = left * width + SHORT_SIDE * item.x - w / 2, top * height + SHORT_SIDE * item.y - h / 2
            objects.append((row.cocoId, COCO_IDS[item.category], [round(v, 2) for v in (x, y, w, h)]))
    shuffled = [sentences[k] for k in rng.permutation(len(sentences))]  # COCO's captions are not ordered either
    common = {"info": {"description": f"simulated {split}"}, "licenses": [], "images": pictures}
    return (
        common
        | {"annotations": [{"image_id": i, "id": k + 1, "caption": text} for k, (i, text) in enumerate(shuffled)]},
        common
        | {
            "annotations": [
                {"id": k + 1, "image_id": i, "category_id": category, "bbox": box, "iscrowd": 0,
                 "area": round(box[2] * box[3], 2)}
                for k, (i, category, box) in enumerate(objects)
            ],
            "categories": [
                {"supercategory": CATEGORIES[name], "id": number, "name": name} for name, number in COCO_IDS.items()
            ],
        },
    )  # fmt: skip
