"""Names of GOD's files below the dataset's folder, and where they are published.

Two releases of the same recordings are read. `bdpy`: the authors' HDF5 files, one per subject, in the format of their
library bdpy. `npz`: the arrays that WeizmannVision/SelfSuperReconst published and MinD-Vis uses.
"""

BDPY, NPZ = "bdpy", "npz"
SUBJECTS = tuple(f"Subject{number}" for number in range(1, 6))
EARLY, HIGHER = ("V1", "V2", "V3", "V4"), ("LOC", "FFA", "PPA")
UNIONS = {"LVC": EARLY, "HVC": HIGHER, "VC": (*EARLY, *HIGHER)}
REGIONS = (*EARLY, "LVC", *HIGHER, "HVC", "VC")
IMAGES = "images_256.npz"  # MinD-Vis; SelfSuperReconst has images_112.npz
LISTS = {  # part -> lists of its pictures in the order of the .npz, where a release has one
    "training": ("imagenet_training_label.csv", "imageID_training.csv"),
    "test": ("imagenet_testing_label.csv", "imageID_test.csv"),
}

FIGSHARE = {
    "Subject1": 24080120,
    "Subject2": 24080123,
    "Subject3": 24080126,
    "Subject4": 24080129,
    "Subject5": 24080132,
}
WEIZMANN = "https://github.com/WeizmannVision/SelfSuperReconst/releases/download/v1"
ADDRESSES = {f"{name}.h5": f"https://ndownloader.figshare.com/files/{number}" for name, number in FIGSHARE.items()}
ADDRESSES |= {name: f"{WEIZMANN}/{name}" for name in ("images_112.npz", *(f"sbj_{k}.npz" for k in range(1, 6)))}
GIGABYTES = {BDPY: 0.13, NPZ: 0.1}  # of a subject, roughly: 3,450 samples of 4,650 voxels in 64 bits; 3,000 trials
PICTURES_FORM = "https://forms.gle/ujvA34948Xg49jdn9"
MIND_VIS = "https://figshare.com/s/94cd778e6afafb00946e"


def responses(subject: str, files: str) -> str:
    """File of one subject's responses: Subject1.h5, or sbj_1.npz."""
    return f"{subject}.h5" if files == BDPY else f"sbj_{subject.removeprefix('Subject')}.npz"
