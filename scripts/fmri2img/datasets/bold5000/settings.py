"""Settings of BOLD5000: the section `bold5000` of a study."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fmri2img.datasets.bold5000 import layout
from fmri2img.datasets.shared_settings import Simulable
from fmri2img.settings import base
from fmri2img.settings.base import Name, NoiseCeiling, Seed, Side, UserPath


class Simulation(base.Settings):
    """The simulated BOLD5000: drawn scenes, all of which each subject sees."""

    seed: Seed = Field(description="Seed of pictures, responses and noise.")
    subjects: Annotated[int, Field(ge=1, le=4)] = Field(2, description="Subjects.")
    sessions: int = Field(3, ge=1, le=100, description="Sessions of each subject.")
    runs_per_session: int = Field(4, ge=1, le=100, description="Runs of a session (BOLD5000: 9 or 10).")
    trials_per_run: int = Field(20, ge=1, le=1000, description="Trials of a run (BOLD5000: 37).")
    repeated: Annotated[int, Field(ge=2, le=10_000)] = Field(
        12, description="Pictures that are shown repeatedly (BOLD5000: 113); all others are shown once."
    )
    repeats: Annotated[int, Field(ge=2, le=100)] = Field(4, description="Presentations of each of them (BOLD5000: 4).")
    voxels: Annotated[int, Field(ge=20, le=100_000)] = Field(160, description="Voxels of each subject, in ten regions.")
    image_size: Side = Field(64, description="Side of a picture, in pixels.")
    ncsnr: NoiseCeiling = Field(0.6, description="Median noise ceiling signal-to-noise ratio of the voxels.")

    @model_validator(mode="after")
    def _some_pictures_are_trained(self) -> "Simulation":
        if self.trials - self.repeated * self.repeats < 2 * self.sessions:
            raise base.WrongKey(
                "repeated",
                f"{self.repeated} pictures, {self.repeats} times each, leave too few of {self.trials} trials for "
                "training; lower it",
            )
        return self

    @property
    def trials(self) -> int:
        return self.sessions * self.runs_per_session * self.trials_per_run


class Betas(base.Settings):
    """Which betas are used and how they are normalised. The choice is written into every recording."""

    version: Name = Field(layout.VERSION, description="GLMsingle's variant, as the file names have it.")
    normalise: Literal["session", "pooled", "global"] = Field(
        "session",
        description="Each voxel is z-scored within each `session`, or `pooled` over all sessions. `global`: one mean "
        "and one deviation for all voxels together, as in MinD-Vis.",
    )
    statistics: Literal["train", "all"] = Field(
        "train",
        description="Mean and deviation come from the training trials only, or from all. MinD-Vis uses all, so its "
        "training trials know of the test trials.",
    )


class Settings(Simulable):
    """BOLD5000, real or simulated."""

    source: Literal["simulated", "copy"] = Field(
        description="`simulated`: generated into `root`. `copy`: your own files in `root`, which is only read. (The "
        "release has no address for single files; the message about a missing file says where to get it.)"
    )
    root: UserPath = Field(
        description="Folder of the data, as published: `BOLD5000_GLMsingle_ROI_betas/` and `BOLD5000_Stimuli/`."
    )
    image_size: Side = Field(256, description="Side to which pictures are resized, in pixels.")
    betas: Betas = Field(Betas(), description=Betas.__doc__)
    simulation: Simulation | None = Field(None, description="Required when the source is `simulated`.")
