"""Paths of LAION-fMRI's files, what their names say, and the constants of the experiment.

Keys are relative to the root of the bucket `laion-fmri`; the simulator writes the same keys. The authors' splits are
not in the bucket but in their repository, and have the keys that they have there. Source: the documentation and the
loaders of ViCCo-Group/LAION-fMRI.
"""

import re

SUBJECTS = ("sub-01", "sub-03", "sub-05", "sub-06", "sub-07")
SESSIONS = 30  # of every subject that are public; objects of ses-31 to ses-34 exist, and are refused with 403
RUNS = 12  # of every session
# The end of the name of an image that one subject saw. It counts participants in another order than the subjects do.
OWNERS = {"p01": "sub-01", "p02": "sub-06", "p03": "sub-05", "p04": "sub-03", "p05": "sub-07"}

METADATA = "stimuli/task-images_metadata.csv"
CAPTIONS = "stimuli/task-images_desc-captions.csv"
PICTURES = "stimuli/task-images_stimuli.h5"  # the only file that is not public
EMBEDDINGS = ("CLIP", "DINOv2", "PEcore", "SigLIP2")
BROUGHT = {f"laion_{model.lower()}": model for model in EMBEDDINGS}  # their names in a study
FORM = "https://laion-fmri.hebartlab.com/request"
PICTURES_GIGABYTES = 3.2
EMBEDDINGS_GIGABYTES = 0.05  # of one model
SESSION_GIGABYTES = 1.3  # of betas as they are compressed; uncompressed they are 12.3
SPLIT_FOLDER = "laion_fmri/splits/data"
GREY = 128  # of the screen behind transparent pixels

GLMSINGLE = "derivatives/glmsingle-tedana"
# The folders of a subject's region masks: where they are now, and where they were in May 2026.
REGION_FOLDERS = ("derivatives/rois/{subject}", "derivatives/atlases/{subject}/rois")
CEILING_REPEATS = {"4rep": 4, "12rep": 12, "Allrep": None}  # noise ceilings, and the repeats that each averages

RETINOTOPIC = ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "V3A", "V3B", "hV4", "LO1", "LO2", "TO1", "TO2", "VO1", "VO2",
               "IPS0", "SPCS", "IPCS", "EVC")  # fmt: skip
LOCALISED = ("OFA", "FFA-1", "FFA-2", "pSTS-faces", "EBA", "FBA", "PPA", "OPA", "MPA", "SPL", "VWFA-1", "VWFA-2",
             "mfs-words", "l-objects", "v-objects", "MT", "MST")  # fmt: skip
GENERAL = "laion-general"
SECTORS = ("laion-EVC", "laion-ventral", "laion-lateral", "laion-dorsal")
PUBLISHED = (GENERAL, *SECTORS, *RETINOTOPIC, *LOCALISED)
UNIONS = {"V1": ("V1v", "V1d"), "V2": ("V2v", "V2d"), "V3": ("V3v", "V3d"), "FFA": ("FFA-1", "FFA-2"),
          "VWFA": ("VWFA-1", "VWFA-2")}  # fmt: skip

SHARED, OOD = "shared", "ood"  # a pool, and the split whose test images are the same in all pools
OOD_TYPES = ("cropped", "gabor", "gaudy", "illusion-classic", "illusion-natural", "relations", "selfmade", "shape",
             "unusual")  # fmt: skip
NAME = re.compile(
    r"(?P<set>shared|unique)_(?:(?P<repeats>\d+)rep_)?(?P<source>LAION|THINGS\+?|NSD|OOD)_"
    r"(?P<rest>.+?)(?:_(?P<owner>p\d\d))?\.(?:jpg|jpeg|png)",
    re.IGNORECASE,
)


def ses(session: int) -> str:
    """Name of a session, which counts from 1: ses-01."""
    return f"ses-{session:02d}"


def betas(subject: str, session: int) -> str:
    """Key of one session's single-trial betas."""
    name = f"{subject}_{ses(session)}_task-images_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"
    return f"{GLMSINGLE}/{subject}/{ses(session)}/func/{name}"


def trials(subject: str, session: int) -> str:
    """Key of the table of one session's trials."""
    name = f"{subject}_{ses(session)}_task-images_desc-SingletrialBetas_trials.tsv"
    return f"{GLMSINGLE}/{subject}/{ses(session)}/func/{name}"


def noise_ceiling(subject: str, repeats: str) -> str:
    """Key of a subject's noise ceiling over all sessions; repeats: of CEILING_REPEATS."""
    return f"{GLMSINGLE}/{subject}/{subject}_task-images_space-T1w_desc-Noiseceiling{repeats}_statmap.nii.gz"


def r2mean(subject: str) -> str:
    """Key of the map of explained variance, which is 0 outside of the brain."""
    return f"{GLMSINGLE}/{subject}/{subject}_task-images_space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz"


def embeddings(model: str) -> str:
    return f"stimuli/task-images_desc-{model}_embeddings.h5"


def split(pool: str, name: str) -> str:
    """Key of a published split; pool: a subject, or SHARED."""
    return f"{SPLIT_FOLDER}/{pool}/{name}.json"


def region_list(subject: str) -> str:
    """Key of our list of a subject's region masks, which the bucket does not have: region -> key of its mask."""
    return f"derivatives/regions_{subject}.json"


def region_in(subject: str, key: str) -> str | None:
    """The region whose mask in the grid of the betas a key is, or None.

    Labels have hyphens in the bucket (label-FFA-1) and none in copies that the authors' package downloaded
    (label-FFA1). Masks of another resolution (res-1pt5) are in another grid.
    """
    folder, _, name = key.rpartition("/")
    now, before = (one.format(subject=subject) for one in REGION_FOLDERS)
    if folder.rpartition("/")[0] == now:
        found = re.fullmatch(rf"{subject}_space-T1w_res-1pt8_label-(.+)_mask\.nii\.gz", name)
    elif folder == before:
        found = re.fullmatch(r"(.+)\.nii\.gz", name)
    else:
        return None
    plain = {region.replace("-", ""): region for region in PUBLISHED}
    return plain.get(found[1].replace("-", ""), found[1]) if found else None
