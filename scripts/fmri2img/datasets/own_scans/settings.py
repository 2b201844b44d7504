"""Settings of scans of your own: the section `own_scans` of a study. `make dataset` writes one; docs/your-own-scans.md
explains it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from fmri2img.datasets.dataset import CORPUS, PATH_NAME, Licence, Sizes
from fmri2img.datasets.own_scans.layout import check_pattern
from fmri2img.settings import base
from fmri2img.settings.base import Name, Positive, Seed, Share, Side, Unique, UserPath

HELD_OUT = "held_out"
Pattern = Annotated[Name, AfterValidator(check_pattern)]
Grey = Annotated[int, Field(ge=0, le=255)]
PATTERN = "below `root`, with {subject}, {session} and {run} where paths differ by them, and * for anything in a name"


class Betas(base.Settings):
    """Betas of single trials, such as GLMsingle's, and how they are normalised."""

    files: Pattern = Field(
        description=f"Their files, {PATTERN}. `.npy`, HDF5 (`.hdf5`, `.h5`), MATLAB (`.mat`) or NIfTI, of (X, Y, Z, "
        "trials) or (voxels, trials); trials may also come first. With {session}, a file for each session, else one "
        "for all."
    )
    variable: Name | None = Field(
        None, description="The array in an HDF5 or MATLAB file; by default `betasmd`, `modelmd` or `betas`."
    )
    of: Literal["pictures", "events"] = Field(
        "pictures",
        description="Which events have a beta: those that show a picture (`pictures`), or all events of the tables, "
        "blanks too, which are then left out (`events`).",
    )
    normalise: Literal["session", "pooled"] = Field(
        "session", description="Each voxel is z-scored within each `session`, or `pooled` over all sessions."
    )
    statistics: Literal["train", "all"] = Field(
        "train", description="Mean and deviation come from the training trials only, or from all."
    )


class Events(base.Settings):
    """Tables of events as in BIDS: a row for each event, with `onset` in seconds from the start of the run."""

    files: Pattern = Field(
        description=f"Their files, {PATTERN}; tabs or commas between columns. Without {{session}} or {{run}} in the "
        "path, columns `session` and `run` say which an event belongs to; without either there is one."
    )
    picture: Name = Field("stim_file", description="The column that names the picture of an event, by its file name.")
    blanks: Unique[str] = Field(
        ["n/a", "", "blank", "fixation", "rest", "null", "baseline"],
        description="Values of that column that mean that no picture was shown, in any case.",
    )


class Voxels(base.Settings):
    """Which voxels are used, and the regions that they belong to."""

    mask: Pattern | None = Field(
        None,
        description="The mask, below `root`, with {subject} where subjects have one each: 1 inside, 0 outside, on the "
        "grid of the betas; NIfTI or `.npy`. Without, all voxels that have values are used.",
    )
    regions: dict[Name, Pattern] = Field(
        {}, description="Name of a region -> its file, as the mask. V1, V2, V3 and hV4 are scored under these names."
    )
    order: Literal["C", "F"] = Field(
        "C",
        description="Of betas (voxels, trials): whether they list the voxels of the mask as NumPy does (`C`, the last "
        "axis fastest) or as MATLAB does (`F`).",
    )


class Pictures(base.Settings):
    """The pictures that were shown."""

    folder: Name = Field(description="Their folder below `root`. Its own folders are the sources of the pictures.")
    size: Side = Field(256, description="Side to which they are resized, in pixels.")
    fit: Literal["crop", "pad"] = Field(
        "crop", description="What becomes of a picture that is not square: its middle is used, or its sides are filled."
    )
    background: Grey = Field(
        128, description="The grey behind transparent pictures, and at padded sides; as in the experiment, 0 to 255."
    )
    sources: dict[Name, Unique[Annotated[str, *CORPUS]]] = Field(
        {},
        description="Folder in it -> public collections that its pictures are from (`laion2b`, `things`; none: []), as "
        "in `training_data` of config/backbones.yaml. Two or more: scores are also reported by source, with the "
        "networks that were trained on it.",
    )
    captions: Name | None = Field(
        None,
        description="File below `root` with captions that people wrote: a table with columns `picture` and `caption`, "
        "or JSON, name -> caption or captions.",
    )


class HeldOut(base.Settings):
    """Which pictures are tested and never trained on: those of lists, or by a rule."""

    rule: Literal["listed", "repeated", "random"] = Field(
        description="`listed`: those of `lists`. `repeated`: those that a subject saw `repeats` times or more. "
        "`random`: a `share` of those that all subjects saw, or of all if none is shared."
    )
    lists: dict[Annotated[str, *PATH_NAME], Name] = Field(
        {}, description="Name of a test set -> a file below `root` with a picture in each line."
    )
    repeats: Annotated[int, Field(ge=2, le=1000)] = Field(2, description="Of rule `repeated`.")
    share: Share = Field(0.1, description="Of rule `random`.")
    seed: Seed = Field(0, description="Of rule `random`.")

    @model_validator(mode="after")
    def _lists_are_of_the_rule(self) -> "HeldOut":
        if (self.rule == "listed") != bool(self.lists):
            what = "is empty, but rule is 'listed'; name a file" if not self.lists else f"are not read by {self.rule}"
            raise base.WrongKey("lists", what if not self.lists else f"{what}; remove them, or set rule to listed")
        return self

    @property
    def test_sets(self) -> list[str]:
        return list(self.lists) or [HELD_OUT]


class Settings(base.Settings):
    """Scans of your own: betas, tables of events and a folder of pictures (docs/your-own-scans.md)."""

    root: UserPath = Field(description="Folder of the files, which is only read.")
    sessions: dict[Annotated[str, *PATH_NAME], Positive] = Field(
        min_length=1, description="Subject, as {subject} in the paths -> number of its sessions."
    )
    betas: Betas = Field(description=Betas.__doc__)
    events: Events = Field(description=Events.__doc__)
    voxels: Voxels = Field(Voxels(), description=Voxels.__doc__)
    pictures: Pictures = Field(description=Pictures.__doc__)
    held_out: HeldOut = Field(description=HeldOut.__doc__)
    title: Name = Field("Own scans", description="What tables and the page call the data.")
    reference: Name | None = Field(None, description="The publication to cite.")
    simulated: bool = Field(False, description="Whether responses are computed rather than measured.")
    licence: Licence | None = Field(None, description="The licence of the results; by default it is not stated.")
    sizes: Sizes | None = Field(None, description="Rough sizes, as `make dataset` counts them, to estimate disk space.")
