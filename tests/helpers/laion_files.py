"""LAION-fMRI's files as others write them: independent of the simulator, after what the authors' loaders read.

Two sessions of one subject in a small grid, with everything in which real files vary: tables with "ses-01" or plain
numbers, trials out of order, NaN in betas and ceilings, a transparent picture, captions out of rank and by a model.
"""

import csv
import gzip
import io
import json
import struct
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

GLM = "derivatives/glmsingle-tedana/sub-03"
SHAPE = (4, 5, 3)
IMAGES = [
    "shared_12rep_LAION_cluster_1003_i0.jpg",
    "shared_12rep_THINGS+_kmeans_222_spring_roll.jpg",
    "shared_4rep_NSD_special100_98.jpg",
    "shared_4rep_OOD_illusion-classic_classic-illusion-03-ebbinghauspositive.png",
    "unique_LAION_initial_cluster_2817_i38_p04.jpg",
    "unique_THINGS_oil_lamp2_p04.jpg",
    "unique_LAION_new_cluster_49_i28_p01.jpg",  # another subject's
]
SHOWN = {1: [0, 1, 0, 2, 3, 4], 2: [5, 4, 3, 2, 1]}  # rows of IMAGES, of each session's trials


def put(root: Path, key: str, content: bytes | str) -> Path:
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def nifti(values: np.ndarray, affine: np.ndarray | None = None) -> bytes:
    """A compressed NIfTI-1 file, its header packed by hand: float32, uint8 or int16, axes as in memory."""
    code, bits = {"f4": (16, 32), "u1": (2, 8), "i2": (4, 16)}[values.dtype.str[1:]]
    affine = np.diag([1.778, 1.778, 1.778, 1]) if affine is None else affine
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, values.ndim, *values.shape, *[1] * (7 - values.ndim))
    struct.pack_into("<2h", header, 70, code, bits)
    struct.pack_into("<8f", header, 76, 1, 1.778, 1.778, 1.778, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)  # where the values begin
    struct.pack_into("<2f", header, 112, 1, 0)
    struct.pack_into("<2h", header, 252, 0, 1)  # the affine in rows, of a scanner's space
    for row in range(3):
        struct.pack_into("<4f", header, 280 + 16 * row, *affine[row])
    header[344:348] = b"n+1\0"
    return gzip.compress(bytes(header) + values.tobytes(order="F"), compresslevel=1)


def betas(session: int) -> np.ndarray:
    """float32 (4, 5, 3, trials), NaN in one voxel, and in one trial of another."""
    values = np.random.default_rng(session).normal(1, 2, (*SHAPE, len(SHOWN[session]))).astype(np.float32)
    values[0, 0, 0] = np.nan
    values[1, 2, 1, 2] = np.nan
    return values


def mask() -> np.ndarray:
    found = np.zeros(SHAPE, np.uint8)
    found[:2, :3] = 1
    return found


def ceiling() -> np.ndarray:
    values = np.zeros(SHAPE, np.float32)
    values[mask() > 0] = np.linspace(5, 60, int(mask().sum()))
    values[0, 1, 0] = np.nan
    return values


def table(rows: list[dict], separator: str = ",") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=separator, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def trial_rows(session: int, plain: bool = False) -> list[dict]:
    rows = [
        {
            "session": session if plain else f"ses-{session:02d}",
            "run": 1 + place // 3 if plain else f"run-{1 + place // 3:02d}",
            "beta_index": place,
            "label": IMAGES[k],
        }
        for place, k in enumerate(SHOWN[session])
    ]
    return rows if plain else rows[::-1]  # rows need not be in the order of the volumes


def pixels(number: int, side: int = 12) -> np.ndarray:
    return np.random.default_rng(100 + number).integers(0, 256, (side, side, 3), dtype=np.uint8)


def picture(number: int) -> bytes:
    """A lossless picture; that of the PNG is half transparent in its left half, and wholly in its right one."""
    file, image = io.BytesIO(), Image.fromarray(pixels(number))
    if IMAGES[number].endswith(".png"):
        alpha = np.zeros((12, 12), np.uint8)
        alpha[:, :6] = 128
        image.putalpha(Image.fromarray(alpha))
    image.save(file, "PNG")  # also under a .jpg name: what counts is the content
    return file.getvalue()


def write(root: Path, plain: bool = False) -> Path:
    """Write the tree; plain: tables with numbers in place of BIDS entities."""
    for session in SHOWN:
        stem = f"{GLM}/ses-{session:02d}/func/sub-03_ses-{session:02d}_task-images"
        put(root, f"{stem}_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz", nifti(betas(session)))
        put(root, f"{stem}_desc-SingletrialBetas_trials.tsv", table(trial_rows(session, plain), "\t"))
    for kind in ("4rep", "12rep", "Allrep"):
        put(root, f"{GLM}/sub-03_task-images_space-T1w_desc-Noiseceiling{kind}_statmap.nii.gz", nifti(ceiling()))
    r2 = np.where(np.arange(60).reshape(SHAPE) < 50, 7, 0).astype(np.float32)
    put(root, f"{GLM}/sub-03_task-images_space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz", nifti(r2))
    regions = {"general/laion-general": mask(), "face/FFA-1": mask() * 0, "retinotopy/V1v": mask() * 0}
    regions["face/FFA-1"][0, 0], regions["retinotopy/V1v"][3] = 1, 1  # the latter is outside of the mask
    for name, values in regions.items():
        category, label = name.split("/")
        name = f"sub-03_space-T1w_res-1pt8_label-{label}_mask.nii.gz"
        put(root, f"derivatives/rois/sub-03/{category}/{name}", nifti(values))
    # What is there besides: another resolution and the surface.
    fine = np.ones((6, 7, 5), np.uint8)
    put(root, "derivatives/rois/sub-03/face/sub-03_space-T1w_res-1pt5_label-FFA-1_mask.nii.gz", nifti(fine))
    put(root, "derivatives/rois/sub-03/face/sub-03_hemi-L_space-fsnative_label-FFA-1_mask.label", "#!ascii\n")
    write_stimuli(root)
    return root


def write_stimuli(root: Path) -> None:
    rows = [4, 0, 6, 2, 1, 3, 5]  # of the pictures, in an order of their own
    listed = [{"image_name": IMAGES[k], "dataset": "any", "participant": "", "unique_or_shared": ""} for k in rows]
    put(root, "stimuli/task-images_metadata.csv", table(listed))
    with h5py.File(root / "stimuli/task-images_stimuli.h5", "w") as file:
        stored = file.create_dataset("images", (len(rows),), h5py.vlen_dtype(np.uint8))
        for row, k in enumerate(rows):
            stored[row] = np.frombuffer(picture(k), np.uint8)
    captions = [
        {"image_name": name, "caption_idx": rank, "source": source, "caption": f"{source} {rank}, {name}"}
        for name in IMAGES
        for rank, source in ((0, "ai"), (3, "human"), (1, "human"), (10, "human"))
    ]
    put(root, "stimuli/task-images_desc-captions.csv", table(captions))
    for model in ("CLIP", "DINOv2"):
        with h5py.File(root / f"stimuli/task-images_desc-{model}_embeddings.h5", "w") as file:
            file["embedding"] = (np.arange(len(IMAGES) * 3).reshape(-1, 3) % 7).astype(np.float16)
            file["image_ids"] = [IMAGES[k].encode() for k in rows]
            file["valid"] = np.array([k != 6 for k in rows])


def split_file(name: str, test: list[str], images: list[str], **changes) -> str:
    """A split in the form of the authors, on one line as some of their files are."""
    train = [one for one in images if one not in test]
    record = {"name": name, "pool": "sub-04 full pool", "splitter": "any", "params": {"seed": 0}}
    record |= {"n_train": len(train), "n_test": len(test)}
    record["variants"] = [{"variant_id": 0, "train_ids": train, "test_ids": test}]
    return json.dumps(record | changes)
