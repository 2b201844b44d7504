"""Settings of MOSAIC: the section `mosaic` of a study."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fmri2img.datasets.mosaic import layout
from fmri2img.datasets.shared_settings import S3Bucket, Simulable
from fmri2img.settings import base
from fmri2img.settings.base import Name, NoiseCeiling, Seed, Side, Unique, UserPath, nearest


class Simulation(base.Settings):
    """The simulated MOSAIC: drawn scenes under the names of each dataset's stimuli."""

    seed: Seed = Field(description="Seed of pictures, responses and noise.")
    subjects: Annotated[Unique[Name], Field(min_length=1, max_length=10)] = Field(
        ["sub-01_NSD", "sub-01_BOLD5000"], description="Subjects, by MOSAIC's names."
    )
    training: Annotated[int, Field(ge=20, le=10_000)] = Field(160, description="Training pictures of each dataset.")
    tested: Annotated[int, Field(ge=4, le=1000)] = Field(24, description="Test pictures of each dataset.")
    repeats: int = Field(4, ge=1, le=100, description="Presentations of each test picture.")
    grayordinates: Annotated[int, Field(ge=120, le=layout.GRAYORDINATES)] = Field(
        320, description=f"Vertices and voxels of a trial (MOSAIC: {layout.GRAYORDINATES}). Half of them are visual."
    )
    image_size: Side = Field(64, description="Side of a picture, in pixels.")
    ncsnr: NoiseCeiling = Field(0.6, description="Median noise ceiling signal-to-noise ratio of the vertices.")

    @model_validator(mode="after")
    def _subjects_are_known(self) -> "Simulation":
        for subject in self.subjects:
            if subject not in layout.SUBJECTS:
                raise base.WrongKey("subjects", f"'{subject}' is not one; {nearest(subject, layout.SUBJECTS)}")
        return self


class Bucket(S3Bucket):
    """Where MOSAIC's files are downloaded from."""

    bucket: Name = Field("mosaicfmri", description="The S3 bucket.")
    region: Name = Field("us-east-1", description="Its region.")


class Settings(Simulable):
    """MOSAIC, eight datasets preprocessed alike, real or simulated."""

    source: Literal["simulated", "copy", "download"] = Field(
        description="`simulated`: generated into `root`. `copy`: your own files anywhere below `root`, which is only "
        "read. `download`: what is not there is downloaded into `root`; pictures have to be there."
    )
    root: UserPath = Field(description="Folder of the data, in the layout of MOSAIC's bucket.")
    pictures: UserPath | None = Field(
        None,
        description="Folder of the pictures, which MOSAIC may not distribute: a folder for each dataset in it (`NSD`, "
        "`BOLD5000`, ...), with the files as its authors give them. null: `pictures` in `root`.",
    )
    image_size: Side = Field(256, description="Side to which pictures are cut and resized, in pixels.")
    vertices: Literal["visual", "cortex"] = Field(
        "visual",
        description="The vertices that are used: the 7,894 of visual cortex (groups 1 to 5 of the areas of Glasser et "
        "al. 2016, as in MOSAIC's models), or the 59,412 of the whole cortex.",
    )
    sessions: int = Field(
        1,
        ge=1,
        le=40,
        description="Sessions of equal length that a subject's trials are dealt into at random, for budgets: MOSAIC's "
        "files do not say in which session a trial was.",
    )
    videos: Literal["refused", "middle_frame"] = Field(
        "refused",
        description="Subjects of BMD and HAD saw videos. `middle_frame`: the middle frame stands for the video, as in "
        "MOSAIC's models, so reconstructions are of that frame.",
    )
    terms_accepted: Unique[Literal["NSD"]] = Field(
        [],
        description="Datasets whose own agreement you have signed, of those that have one: `NSD` "
        f"(<{layout.NSD_TERMS[1]}>). Nothing of them is downloaded until then.",
    )
    bucket: Bucket = Field(Bucket(), description=Bucket.__doc__)
    simulation: Simulation | None = Field(None, description="Required when the source is `simulated`.")
