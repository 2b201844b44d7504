"""BOLD5000's files as others write them: independent of the simulator."""

from pathlib import Path

import numpy as np
from PIL import Image

# Two sessions of two runs of four trials; two pictures are repeated.
SHOWN = [
    ["COCO_train2014_000000000036.jpg", "n01440764_10043.JPEG", "abbey1.jpg", "rep_abbey1.jpg"],
    ["COCO_train2014_000000000110.jpg", "airlock3.jpg", "n01440764_55.JPEG", "n02085620_7.JPEG"],
    ["rep_n01440764_10043.JPEG", "boat_deck12.jpg", "COCO_train2014_000000000999.jpg", "rep_abbey1.jpg"],
    ["n02085620_99.JPEG", "rep_n01440764_10043.JPEG", "atrium5.jpg", "COCO_train2014_000000001000.jpg"],
]
REPEATED = ["abbey1.jpg", "n01440764_10043.JPEG"]
NAMES = [name.removeprefix("rep_") for run in SHOWN for name in run]
VOXELS = {"EarlyVis": (4, 3), "LOC": (2, 2), "OPA": (1, 2), "PPA": (2, 1), "RSC": (1, 1)}


def write_betas(root, subject="CSI1", dtype=np.float64, spell=None, seed=0, folder="py"):
    """Betas of each region; returns all, float64 (trials, 19), in the order of regions, left before right."""
    rng = np.random.default_rng(seed)
    path = Path(root) / "BOLD5000_GLMsingle_ROI_betas" / folder
    path.mkdir(parents=True, exist_ok=True)
    blocks = []
    for region, numbers in VOXELS.items():
        for hemisphere, number in zip(("LH", "RH"), numbers, strict=True):
            block = rng.normal(1, 2, (len(NAMES), number)).astype(dtype)
            name = (spell or {}).get(hemisphere + region, hemisphere + region)
            np.save(path / f"{subject}_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_allses_{name}.npy", block)
            blocks.append(block.astype(np.float64))
    return np.concatenate(blocks, axis=1)


def write_lists(root, subject="CSI1", shown=SHOWN, end="\n", prefix="CSI"):
    stimuli = Path(root) / "BOLD5000_Stimuli"
    for number, names in enumerate(shown):
        session, run = number // 2 + 1, number % 2 + 1
        folder = stimuli / "Stimuli_Presentation_Lists" / subject / f"{subject}_sess{session:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{prefix}_sess{session:02d}_run{run:02d}.txt").write_text(end.join(names) + end, newline="")
        (folder / f"{prefix}_sess{session:02d}_run{run:02d}.mat").write_bytes(b"MATLAB")
    return stimuli


def colour(name):
    return [sum(map(ord, name)) * factor % 256 for factor in (3, 5, 7)]


def write_pictures(root, names=NAMES, arrays=False):
    """The repeated list, labels, and the pictures: files of three folders, or MinD-Vis's dictionary of arrays."""
    stimuli = Path(root) / "BOLD5000_Stimuli"
    scenes = stimuli / "Scene_Stimuli"
    (scenes / "Presented_Stimuli").mkdir(parents=True, exist_ok=True)
    (scenes / "repeated_stimuli_113_list.txt").write_text("\n".join([*REPEATED, "never_shown1.jpg"]))
    (stimuli / "Image_Labels").mkdir(exist_ok=True)
    (stimuli / "Image_Labels/imagenet_final_labels.txt").write_text(
        "n01440764 tench, Tinca tinca\nn02085620 Chihuahua\n"
    )
    pictures = {name: np.full((32, 32, 3), colour(name), np.uint8) for name in names}
    if arrays:
        np.save(scenes / "Presented_Stimuli/img_dict.npy", pictures)
        return
    for name, pixels in pictures.items():
        source = "COCO" if name.startswith("COCO") else "ImageNet" if name.startswith("n0") else "Scene"
        (scenes / "Presented_Stimuli" / source).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(scenes / "Presented_Stimuli" / source / name, "JPEG", quality=95)
