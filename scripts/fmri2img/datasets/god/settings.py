"""Settings of Generic Object Decoding: the section `god` of a study."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fmri2img.datasets.god import layout
from fmri2img.datasets.shared_settings import Simulable
from fmri2img.settings import base
from fmri2img.settings.base import Name, NoiseCeiling, Seed, Side, UserPath


class Simulation(base.Settings):
    """The simulated GOD: drawn scenes, of which a class is an object on a background."""

    seed: Seed = Field(description="Seed of pictures, responses and noise.")
    subjects: Annotated[int, Field(ge=1, le=5)] = Field(2, description="Subjects.")
    classes: Annotated[int, Field(ge=1, le=150)] = Field(24, description="Training classes (GOD: 150).")
    pictures_per_class: int = Field(
        8, ge=1, le=100, description="Training pictures of each class, each shown once (GOD: 8)."
    )
    test_classes: Annotated[int, Field(ge=2, le=50)] = Field(
        12, description="Other classes, of which one picture each is tested (GOD: 50)."
    )
    repeats: int = Field(
        6, ge=1, le=100, description="Presentations of each test picture, one in each test run (GOD: 35)."
    )
    training_runs: int = Field(6, ge=1, le=100, description="Training runs (GOD: 24).")
    voxels: Annotated[int, Field(ge=16, le=100_000)] = Field(240, description="Voxels of each subject.")
    image_size: Side = Field(64, description="Side of a picture, in pixels.")
    ncsnr: NoiseCeiling = Field(0.6, description="Median noise ceiling signal-to-noise ratio of the voxels.")


class Betas(base.Settings):
    """How responses are normalised. The choice is written into every recording."""

    normalise: Literal["pooled", "session", "global"] = Field(
        "pooled",
        description="Each voxel is z-scored over all sessions (`pooled`, as in the paper) or within each `session`; "
        "test runs are apart from training runs in GOD, so `session` needs `statistics: all`. `global`: one mean and "
        "one deviation for all voxels together, as in MinD-Vis.",
    )
    statistics: Literal["train", "all"] = Field(
        "train", description="Mean and deviation come from the training trials only, or from all."
    )


class Settings(Simulable):
    """Generic Object Decoding, real or simulated."""

    source: Literal["simulated", "copy", "download"] = Field(
        description="`simulated`: generated into `root`. `copy`: your own files in `root`, which is only read. "
        "`download`: responses are downloaded into `root`; pictures have to be there, except `images_112.npz`."
    )
    root: UserPath = Field(
        description="Folder of the data: Subject1.h5 ... (or sbj_1.npz ...), and the pictures that `images` names."
    )
    files: Literal["bdpy", "npz"] = Field(
        "bdpy",
        description="`bdpy`: the authors' HDF5 files. `npz`: the arrays of SelfSuperReconst that MinD-Vis uses, in "
        "which runs are not recorded, so a subject has one session.",
    )
    images: Name = Field(
        layout.IMAGES,
        description="The pictures in `root`: a .npz with `train_images` and `test_images`, or a folder of ImageNet's "
        f"files (n01443537_22563.JPEG; on request at <{layout.PICTURES_FORM}>).",
    )
    image_size: Side = Field(256, description="Side to which pictures of a folder are resized, in pixels.")
    voxels: Literal["V1", "V2", "V3", "V4", "LVC", "LOC", "FFA", "PPA", "HVC", "VC"] = Field(
        "VC", description="The region whose voxels are used."
    )
    sessions: int = Field(
        3,
        ge=1,
        le=24,
        description="Sessions of equal length that a subject's training runs are divided into, for budgets. (The "
        "published files number runs, not sessions; there are 24 training runs.)",
    )
    betas: Betas = Field(Betas(), description=Betas.__doc__)
    simulation: Simulation | None = Field(None, description="Required when the source is `simulated`.")

    @model_validator(mode="after")
    def _test_sessions_can_be_normalised(self) -> "Settings":
        if self.betas.normalise == "session" and self.betas.statistics == "train":
            raise base.WrongKey(
                "betas.normalise",
                "'session' needs betas.statistics: all, because test sessions have no training trial; or use 'pooled'",
            )
        return self
