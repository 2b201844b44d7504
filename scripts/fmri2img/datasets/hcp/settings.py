"""Settings of the Human Connectome Project: the section `hcp` of a study that names it under `pools`."""

from typing import Literal

from pydantic import Field, model_validator

from fmri2img.datasets.shared_settings import Simulable
from fmri2img.settings import base
from fmri2img.settings.base import PositiveNumber, Seed, UserPath, problem

TERMS = (
    "https://www.humanconnectome.org/study/hcp-young-adult/document/wu-minn-hcp-consortium-open-access-data-use-terms"
)


class Simulation(base.Settings):
    """The simulated resting state: slow fluctuations that neighbouring voxels share."""

    seed: Seed = Field(description="Seed of the fluctuations.")
    subjects: int = Field(3, ge=1, le=2000, description="Subjects.")
    volumes: int = Field(400, ge=1, le=100_000, description="Volumes of a run (HCP: 1,200).")
    voxels: int = Field(60, ge=8, le=100_000, description="Voxels of the first subject; the others have a few more.")


class Settings(Simulable):
    """The resting state of the Human Connectome Project, on which encoders of brain patterns are pretrained."""

    source: Literal["simulated", "copy"] = Field(
        description="`simulated`: generated into `root`. `copy`: your own files in `root`, which is only read."
    )
    root: UserPath = Field(
        description="Folder with a folder for each subject, and in it HCP_visual_voxel.npz: arrays V1, V2, V3 and V4, "
        "(volumes, voxels) each, as MinD-Vis reads them."
    )
    terms_accepted: bool = Field(
        False, description=f"Set to `true` once you have accepted HCP's data use terms (<{TERMS}>)."
    )
    window: PositiveNumber = Field(8.0, description="Seconds over which volumes are averaged to one pattern.")
    repetition_time: PositiveNumber = Field(0.75, description="Seconds from one volume to the next.")
    simulation: Simulation | None = Field(None, description="Required when the source is `simulated`.")

    @model_validator(mode="after")
    def _a_window_holds_a_volume(self) -> "Settings":
        if self.window < self.repetition_time:
            raise base.WrongKey("window", f"{self.window:g} s are shorter than a volume takes; raise it")
        return self

    @property
    def volumes_per_window(self) -> int:
        """Whole volumes in a window: 8 s hold 10 of 0.75 s."""
        return int(self.window // self.repetition_time)


def terms_not_accepted() -> Exception:
    return problem(
        "hcp.terms_accepted", f"is false; read HCP's data use terms at {TERMS}, accept them there, then set it to true"
    )
