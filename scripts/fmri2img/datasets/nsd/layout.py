"""Paths of NSD's files, and the constants of the experiment.

Keys are relative to the root of the bucket `natural-scenes-dataset`; the simulator writes the same keys. Source: the
NSD data manual and the code that exported the files (cvnlab/nsddatapaper).
"""

import os
from pathlib import Path

SESSIONS = {
    "subj01": 40, "subj02": 40, "subj03": 32, "subj04": 30, "subj05": 40, "subj06": 32, "subj07": 40, "subj08": 30,
}  # fmt: skip
RUNS = 12  # of every session
REPEATS = 3  # planned presentations of each image to each subject
BETA_FOLDERS = {"b1": "betas_assumehrf", "b2": "betas_fithrf", "b3": "betas_fithrf_GLMdenoise_RR"}
INT16_PER_PERCENT = 300  # stored int16 = percent signal change x 300
BETA_FORMS = ("hdf5", "nii.gz")  # in which NSD publishes the same betas; the first is preferred
EXPERIMENT_DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
STIMULUS_INFO = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
STIMULI = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
COCO_CAPTIONS = {
    "train2017": "annotations/captions_train2017.json",
    "val2017": "annotations/captions_val2017.json",
}  # from COCO, not from NSD's bucket
COCO_INSTANCES = {
    "train2017": "annotations/instances_train2017.json",
    "val2017": "annotations/instances_val2017.json",
}
COCO_ARCHIVE = "annotations/annotations_trainval2017.zip"
# NSD's region files of every subject: for both hemispheres, and with the prefix "lh." or "rh." for one of them.
ROI_FILES = (
    "nsdgeneral", "prf-visualrois", "prf-eccrois", "floc-bodies", "floc-faces", "floc-places", "floc-words", "streams",
    "Kastner2015", "HCP_MMP1", "visualsulc", "corticalsulc", "fVTC",
)  # fmt: skip
# Labels of the region files: -1 not cortex, 0 cortex outside the region, 1.. as listed.
ROI_LABELS = {
    "nsdgeneral": {"nsdgeneral": (1,)},
    "prf-visualrois": {"V1": (1, 2), "V2": (3, 4), "V3": (5, 6), "hV4": (7,)},
    "floc-bodies": {"EBA": (1,), "FBA": (2, 3)},
    "floc-faces": {"OFA": (1,), "FFA": (2, 3)},
    "floc-places": {"OPA": (1,), "PPA": (2,), "RSC": (3,)},
    "floc-words": {"OWFA": (1,), "VWFA": (2, 3)},
    "streams": {
        "early": (1,), "midventral": (2,), "midlateral": (3,), "midparietal": (4,),
        "ventral": (5,), "lateral": (6,), "parietal": (7,),
    },
}  # fmt: skip

# The two further experiments of NSD's subjects, a session each, and the runs of the first in the order of its betas.
IMAGERY, SYNTHETIC = "nsdimagery", "nsdsynthetic"
IMAGERY_RUNS = (
    "visA", "attA", "imgA_1", "visB", "attB", "imgB_1", "visC", "attC", "imgC_1", "imgA_2", "imgB_2", "imgC_2",
)  # fmt: skip
IMAGERY_TRIALS = 48  # of every run
# Letter that a subject saw -> picture that it stands for. Set A: bars and crosses; B: five photographs of NSD's shared
# images (in the names counted from 1) and a painting; C: concepts, which no one picture shows.
IMAGERY_TARGETS = {
    "A": {
        "H": "bar_000.0deg_450L_43W", "R": "bar_045.0deg_450L_43W", "V": "bar_090.0deg_450L_43W",
        "L": "bar_135.0deg_450L_43W", "P": "crs_000.0deg_450L_43W", "E": "crs_045.0deg_450L_43W",
    },
    "B": {
        "W": "shared0385_nsd28752", "K": "shared0413_nsd30857", "B": "shared0741_nsd53882", "C": "shared0842_nsd61178",
        "D": "shared0907_nsd65873", "T": "shared0000_nsd00000",
    },
    "C": {"S": "stripes", "Z": "zebra", "M": "mammal", "Y": "yellow", "N": "banana", "F": "fruit"},
}  # fmt: skip
PICTURED_SETS = ("A", "B")
IMAGERY_DESIGN = f"nsddata/experiments/{IMAGERY}/designmatrixGLMsingle.mat"
SYNTHETIC_DESIGN = f"nsddata/experiments/{SYNTHETIC}/{SYNTHETIC}_expdesign.mat"
SYNTHETIC_INFO = f"nsddata/experiments/{SYNTHETIC}/nsdsyntheticimageinformation.csv"
SYNTHETIC_STIMULI = f"nsddata_stimuli/stimuli/{SYNTHETIC}/nsdsynthetic_stimuli.hdf5"
SYNTHETIC_SHARED, SYNTHETIC_COLOURED = 220, 64  # images that all subjects saw, and that each saw in its own colours

HEMISPHERES = ("lh.", "rh.")
TAIL_BYTES = 4096
# Of the large files; a session of betas: SESSION_GIGABYTES.
GIGABYTES = {STIMULI: 39.5, COCO_ARCHIVE: 0.25, SYNTHETIC_STIMULI: 0.64}
SESSION_GIGABYTES = 1.1


def func(subject: str, name: str) -> str:
    """Key of a volume in the 1.8 mm functional space, e.g. func("subj01", "brainmask.nii.gz")."""
    return f"nsddata/ppdata/{subject}/func1pt8mm/{name}"


def roi(subject: str, name: str) -> str:
    return func(subject, f"roi/{name}.nii.gz")


def mask_of(name: str) -> tuple[str, tuple[int, ...]]:
    """The region file that a mask is read from, and its labels there; no labels mean all above 0.

    name: a region file ("nsdgeneral", "HCP_MMP1"), or a region of ROI_LABELS ("V1", "FFA"); "lh.V1": of one hemisphere.
    """
    hemisphere = next((prefix for prefix in HEMISPHERES if name.startswith(prefix)), "")
    region = name.removeprefix(hemisphere)
    if region not in ROI_FILES:
        for file, labels in ROI_LABELS.items():
            if region in labels:
                return hemisphere + file, labels[region]
    return name, ()


def to_mni(subject: str) -> str:
    """Key of the map from the MNI152 template to a subject's functional volume."""
    return f"nsddata/ppdata/{subject}/transforms/func1pt8-to-MNI.nii.gz"


def responses(subject: str) -> str:
    return f"nsddata/ppdata/{subject}/behav/responses.tsv"


def last_session(path: str | Path) -> int | None:
    """The session that a responses.tsv ends with, 1-based; None where its last line has none, as in a damaged file.

    Its reader reports what is wrong. This is called whenever the workflow is read, and reads the end of the file alone.
    """
    with open(path, "rb") as file:
        header = file.readline().decode("utf-8-sig", "replace").split("\t")
        file.seek(max(file.tell(), os.path.getsize(path) - TAIL_BYTES))
        last = file.read().decode("utf-8", "replace").strip().rpartition("\n")[2].split("\t")
    found = dict(zip(header, last, strict=False)).get("SESSION", "")
    return int(found) if found.strip().isdecimal() else None


def betas(subject: str, version: str, session: int, extension: str = "hdf5") -> str:
    """Key of one session's betas; session is 1-based."""
    return f"nsddata_betas/ppdata/{subject}/func1pt8mm/{BETA_FOLDERS[version]}/betas_session{session:02d}.{extension}"


def experiment_betas(subject: str, version: str, experiment: str, extension: str = "hdf5") -> str:
    """Key of the betas of IMAGERY or SYNTHETIC."""
    folder = f"{experiment}{BETA_FOLDERS[version]}"
    return f"nsddata_betas/ppdata/{subject}/func1pt8mm/{folder}/betas_{experiment}.{extension}"


def forms(key: str) -> list[str]:
    """The key and, of betas in HDF5, that of the same numbers in NIfTI."""
    stem = key.removesuffix(f".{BETA_FORMS[0]}")
    return [key] if "/betas_" not in key or stem == key else [f"{stem}.{form}" for form in BETA_FORMS]


def ncsnr(subject: str, version: str) -> str:
    return f"nsddata_betas/ppdata/{subject}/func1pt8mm/{BETA_FOLDERS[version]}/ncsnr.nii.gz"


def valid(subject: str, session: int) -> str:
    """Key of the map of voxels that had data in all runs of a session; session is 1-based."""
    return func(subject, f"valid_session{session:02d}.nii.gz")


def experiment_valid(subject: str, experiment: str) -> str:
    """Key of the map of voxels that had data in all runs of IMAGERY or SYNTHETIC."""
    return func(subject, f"valid_{experiment}.nii.gz")


def imagery_responses(subject: str, run: str) -> str:
    """Key of what a subject saw, imagined and answered in a run of IMAGERY_RUNS."""
    return f"nsddata/bdata/{IMAGERY}/{IMAGERY}_{subject}_{run}.tsv"


def imagery_picture(stimulus_set: str, name: str) -> str:
    """Key of a target of IMAGERY_TARGETS, of a set that has pictures."""
    return f"nsddata/experiments/{IMAGERY}/rawtargetimages/set{stimulus_set}/{name}.png"


def coloured_stimuli(subject: str) -> str:
    """Key of the synthetic images in the colours that the subject saw, of equal brightness to it."""
    return f"nsddata_stimuli/stimuli/{SYNTHETIC}/nsdsynthetic_colorstimuli_{subject}.hdf5"


def image_name(image_id: int) -> str:
    """NSD's own name of an image, as in the file names of its shared images: "nsd02951". It counts from 1 (73KID)."""
    return f"nsd{image_id + 1:05d}"
