"""Names of BOLD5000's files below the dataset's folder, and where they are published.

BOLD5000_GLMsingle_ROI_betas/py/CSI1_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_allses_LHEarlyVis.npy   (trials, voxels)
BOLD5000_Stimuli/Stimuli_Presentation_Lists/CSI1/CSI1_sess01/CSI_sess01_run01.txt                a picture a line
BOLD5000_Stimuli/Scene_Stimuli/repeated_stimuli_113_list.txt                                     a picture a line
BOLD5000_Stimuli/Scene_Stimuli/Presented_Stimuli/COCO, ImageNet, Scene                           pictures
BOLD5000_Stimuli/Image_Labels/imagenet_final_labels.txt                                          a class a line
"""

import re
from pathlib import Path

from fmri2img.datasets.own_files import visible

SUBJECTS = ("CSI1", "CSI2", "CSI3", "CSI4")
REGIONS = ("EarlyVis", "LOC", "OPA", "PPA", "RSC")  # in the order in which MinD-Vis concatenates them
HEMISPHERES = ("LH", "RH")
SPELLINGS = {"LO": "LOC", "RRSC": "RSC"}  # as some files of the release have it
VERSION = "TYPED-FITHRF-GLMDENOISE-RR"
BETAS = "BOLD5000_GLMsingle_ROI_betas/py"
STIMULI = "BOLD5000_Stimuli"
LISTS = "Stimuli_Presentation_Lists"
PICTURES = "Scene_Stimuli/Presented_Stimuli"
REPEATED = ("Scene_Stimuli/repeated_stimuli_113_list.txt", f"{PICTURES}/repeated_stimuli_113_list.txt")
ARRAYS = f"{PICTURES}/img_dict.npy"  # MinD-Vis's pictures, 256 x 256
LABELS = "Image_Labels/imagenet_final_labels.txt"

BETAS_ADDRESS = "https://figshare.com/articles/dataset/BOLD5000_Release_2_0/14456124"
STIMULI_ADDRESS = "https://bold5000-dataset.github.io/website/download.html"
ARCHIVES = {  # folder -> the archive that it comes in, and where that is
    BETAS: ("BOLD5000_GLMsingle_ROI_betas.zip", BETAS_ADDRESS),
    STIMULI: ("BOLD5000_Stimuli.zip", STIMULI_ADDRESS),
}
SUBJECT_GIGABYTES = 0.04  # float32 betas of up to 5,254 trials in about 2,000 voxels of five regions


def betas(subject: str, region: str, hemisphere: str, version: str = VERSION) -> str:
    return f"{BETAS}/{subject}_GLMbetas-{version}_allses_{hemisphere}{region}.npy"


def find_betas(root: Path, subject: str, version: str) -> dict[tuple[str, str], Path]:
    """(region, hemisphere) -> file, in the order of REGIONS, left before right; in any folder below `root`."""
    found: dict[tuple[str, str], Path] = {}
    for path in visible(root.rglob(f"{subject}_GLMbetas-{version}_allses_*.npy")):
        name = re.fullmatch(r"(LH|RH)(\w+)", path.stem.rpartition("_allses_")[2])
        region = SPELLINGS.get(name[2], name[2]) if name else None
        if name and region in REGIONS:
            found.setdefault((region, name[1]), path)
    return {key: found[key] for key in ((r, h) for r in REGIONS for h in HEMISPHERES) if key in found}


def session_folders(stimuli: Path, subject: str) -> dict[int, Path]:
    """Number of a session -> folder of its presentation lists, ascending."""
    spellings = (subject, subject.replace("CSI", "CSI0"))
    folders = [path for name in spellings for path in visible((stimuli / LISTS / name).glob("*ses*"))]
    numbered = {int(found[1]): path for path in folders if (found := re.search(r"ses[a-z]*[-_]?(\d+)$", path.name))}
    return dict(sorted(numbered.items()))
