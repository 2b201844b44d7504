"""Settings of LAION-fMRI: the section `laion_fmri` of a study."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Strict, model_validator

from fmri2img.datasets.laion_fmri import layout
from fmri2img.datasets.shared_settings import S3Bucket, Simulable
from fmri2img.settings import base
from fmri2img.settings.base import Name, NoiseCeiling, Seed, Side, UserPath

Axis = Annotated[int, Field(ge=6, le=256)]


def _of_the_dataset(sessions: dict[str, int]) -> dict[str, int]:
    for subject in sessions:
        if subject not in layout.SUBJECTS:
            raise ValueError(f"{subject} is not one of {', '.join(layout.SUBJECTS)}; rename it")
    return sessions


class Simulation(base.Settings):
    """The simulated LAION-fMRI: its files, names and columns, with few images, trials and voxels."""

    seed: Seed = Field(description="Seed of images, responses and noise.")
    subjects: Annotated[int, Field(ge=1, le=5)] = Field(1, description="Subjects: the first ones of the dataset.")
    sessions: Annotated[int, Field(ge=1, le=30)] = Field(3, description="Sessions of each subject (LAION-fMRI: 30).")
    dims: Annotated[tuple[Axis, Axis, Axis], Strict(False)] = Field(
        (11, 13, 9), description="Voxels along X, Y and Z: three different numbers, so that swapped axes are noticed."
    )
    shared_12rep: Annotated[int, Field(ge=8, le=881)] = Field(
        16, description="Images of LAION and THINGS that all subjects see twelve times (LAION-fMRI: 881)."
    )
    shared_4rep: Annotated[int, Field(ge=2, le=240)] = Field(
        6, description="Images of NSD that all subjects see four times (LAION-fMRI: 240)."
    )
    ood: Annotated[int, Field(ge=9, le=371)] = Field(
        9, description="Out-of-distribution images of nine types that all subjects see four times (LAION-fMRI: 371)."
    )
    unique: Annotated[int, Field(ge=10, le=4712)] = Field(
        70, description="Images of each subject alone, seen four times (LAION-fMRI: 4,712)."
    )
    image_size: Side = Field(64, description="Side of a picture, in pixels (LAION-fMRI: 1,000).")
    width: Annotated[int, Field(ge=4, le=1152)] = Field(24, description="Width of the embeddings (CLIP's: 1,024).")
    ncsnr: NoiseCeiling = Field(0.6, description="Median noise ceiling signal-to-noise ratio of the visual voxels.")

    @model_validator(mode="after")
    def _axes_differ(self) -> "Simulation":
        if len(set(self.dims)) != 3:
            raise base.WrongKey("dims", f"{list(self.dims)} must be three different numbers; change one")
        return self


class Bucket(S3Bucket):
    """Where LAION-fMRI's files come from."""

    bucket: Name = Field("laion-fmri", description="The S3 bucket.")
    region: Name = Field("us-west-2", description="Its region.")
    splits_url: Name = Field(
        "https://raw.githubusercontent.com/ViCCo-Group/LAION-fMRI/main",
        description="The authors' repository, which has the splits (`laion_fmri/splits/data/`).",
    )
    copied: UserPath | None = Field(
        None,
        alias="copy",
        description="A folder with LAION-fMRI files that you already have, in the same layout (`derivatives/`, "
        "`stimuli/`, `laion_fmri/splits/data/`). They are linked into `root` instead of downloaded, and never changed "
        "or deleted. Do not use it as `root` itself: the betas of a session are deleted from `root` once they are "
        "masked.",
    )


class Betas(base.Settings):
    """Which voxels are used and how betas are normalised. The choice is written into every recording."""

    mask: Name = Field(
        layout.GENERAL,
        description="The voxels that are used: those of a region (`laion-general`, `EVC`, `PPA`; `V1`, `V2`, `V3`, "
        "`FFA`, `VWFA` are of their two parts), or of a mask of your own, "
        "`<subject>_space-T1w_res-1pt8_label-<name>_mask.nii.gz` next to those of `bucket.copy`.",
    )
    normalise: Literal["session", "pooled"] = Field(
        "session", description="Each voxel is z-scored within each `session`, or `pooled` over all sessions."
    )
    statistics: Literal["train", "all"] = Field(
        "train", description="Mean and deviation come from the training trials only, or from all."
    )
    noise_ceiling: Literal["12rep", "4rep", "Allrep"] = Field(
        "12rep",
        description="The noise ceiling that `ncsnr` is computed from: of the images with twelve repeats, with four, or "
        "of all. Single-trial `ncsnr` is what their repeats have in common, so it applies to averages of any number.",
    )


class Settings(Simulable):
    """LAION-fMRI, real or simulated."""

    source: Literal["simulated", "bucket"] = Field(
        description="`simulated`: generated locally. `bucket`: downloaded from the public bucket, or linked from a "
        "copy."
    )
    root: UserPath = Field(description="Folder of the data, in the bucket's own layout (`derivatives/`, `stimuli/`).")
    pictures: bool = Field(
        True,
        description=f"Whether you hold the pictures, `{layout.PICTURES}`, which the authors send on request "
        f"(<{layout.FORM}>). Everything else is public: `false` is a study of brain data, public embeddings and "
        "captions.",
    )
    image_size: Side = Field(425, description="Side to which the pictures of 1,000 pixels are resized.")
    pool: Literal["subject", "shared"] = Field(
        "subject",
        description="Whose images a split divides: each subject's own 5,833, or the 1,121 that all subjects saw. What "
        "trains on several subjects needs `shared`, or split `ood`: other splits test an image in one subject and "
        "train on it in another.",
    )
    sessions: Annotated[dict[str, Annotated[int, Field(ge=1, le=layout.SESSIONS)]], AfterValidator(_of_the_dataset)] = (
        Field(
            {},
            description="Subject -> number of its sessions, counted from the first, where fewer are used than there "
            "are: the later ones are not downloaded.",
        )
    )
    betas: Betas = Field(Betas(), description=Betas.__doc__)
    bucket: Bucket = Field(Bucket(), description=Bucket.__doc__)
    simulation: Simulation | None = Field(None, description="Required when the source is `simulated`.")

    @model_validator(mode="after")
    def _a_copy_is_read(self) -> "Settings":
        if self.source == "simulated" and self.bucket.copied:
            raise base.WrongKey(
                "bucket.copy", "is set, but source is 'simulated', which reads no copy; set source to bucket"
            )
        return self

    @model_validator(mode="after")
    def _sessions_are_recorded(self) -> "Settings":
        recorded = self.recorded_sessions
        for subject, number in self.sessions.items():
            if number > recorded.get(subject, 0):
                there = f"{recorded[subject]} sessions" if subject in recorded else "none, because it is not simulated"
                raise base.WrongKey(f"sessions.{subject}", f"{number} is more than there are ({there}); lower it")
        return self

    @property
    def recorded_sessions(self) -> dict[str, int]:
        """Subject -> sessions that are public, or simulated."""
        if self.source == "simulated" and self.simulation is not None:
            return dict.fromkeys(layout.SUBJECTS[: self.simulation.subjects], self.simulation.sessions)
        return dict.fromkeys(layout.SUBJECTS, layout.SESSIONS)
