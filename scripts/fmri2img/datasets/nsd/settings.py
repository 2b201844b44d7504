"""Settings of the Natural Scenes Dataset: the section `nsd` of a study."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Strict, model_validator

from fmri2img.datasets.dataset import PATH_NAME
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.transfer_sets import EXPERIMENT
from fmri2img.datasets.shared_settings import S3Bucket
from fmri2img.settings import base
from fmri2img.settings.base import Name, NoiseCeiling, Positive, Seed, Side, Unique, UserPath, problem

TERMS_FORM = "https://forms.gle/xue2bCdM9LaFNMeb7"
TransferSet = Literal["vision", "imagery", "attention", "synthetic"]
FEWEST_TESTED = 4  # images of a subject, in expectation: scores compare images with one another
SHARED_SHARE = 0.1  # of each simulated subject's images; NSD: 1,000 of 10,000
Trials = Annotated[int, Field(ge=1, le=1000)]  # of a run
Axis = Annotated[int, Field(ge=8, le=256)]


class SimulatedSubject(base.Settings):
    """A simulated subject."""

    sessions: int = Field(ge=1, le=40, description="Recorded sessions.")
    dims: Annotated[tuple[Axis, Axis, Axis], Strict(False)] = Field(
        description="Voxels along X, Y and Z: three different numbers, so that swapped axes are noticed."
    )
    ncsnr: NoiseCeiling = Field(
        description="Median noise-ceiling signal-to-noise ratio of the nsdgeneral voxels, beta version b3."
    )

    @model_validator(mode="after")
    def _axes_differ(self) -> "SimulatedSubject":
        if len(set(self.dims)) != 3:
            raise base.WrongKey("dims", f"{list(self.dims)} must be three different numbers; change one")
        return self


def _in_order(subjects: dict[str, SimulatedSubject]) -> dict[str, SimulatedSubject]:
    for name in subjects:
        if name not in layout.SESSIONS:
            raise ValueError(f"{name} is not one of {', '.join(layout.SESSIONS)}; rename it")
    return dict(sorted(subjects.items()))


def _as_declared(chosen: list[str]) -> list[str]:
    """In one order, so that results do not depend on the order in which they are named."""
    return [name for name in EXPERIMENT if name in chosen]


class SimulationSettings(base.Settings):
    """The simulated NSD."""

    seed: Seed = Field(description="Seed of images, anatomy, responses and noise.")
    stimuli: Positive = Field(description="Rows of nsd_stimuli.hdf5. Some are never shown.")
    image_size: Side = Field(description="Side of a stimulus, in pixels.")
    trials_per_run: Annotated[tuple[Trials, Trials], Strict(False)] = Field(
        description="Stimulus trials of odd and of even runs; a session has 12 runs (NSD: 63 and 62)."
    )
    subjects: Annotated[dict[str, SimulatedSubject], AfterValidator(_in_order)] = Field(
        min_length=1, description="Simulated subjects, by NSD's names."
    )

    @model_validator(mode="after")
    def _stimuli_suffice(self) -> "SimulationSettings":
        if self.stimuli < self.shown:
            raise base.WrongKey(
                "stimuli",
                f"{self.stimuli} is fewer than the {self.shown} images that {len(self.subjects)} subjects see in "
                f"{self.planned_sessions} sessions; raise it",
            )
        fewest = min(subject.sessions for subject in self.subjects.values())
        tested = self.shared * fewest // self.planned_sessions
        if tested < FEWEST_TESTED:
            raise base.WrongKey(
                "trials_per_run",
                f"{list(self.trials_per_run)} leave about {tested} test images to a subject with {fewest} sessions, "
                f"and {FEWEST_TESTED} are needed; raise them, or its sessions",
            )
        return self

    @property
    def trials_per_session(self) -> int:
        return layout.RUNS // 2 * sum(self.trials_per_run)

    @property
    def planned_sessions(self) -> int:
        """Every subject's trial order is planned for the longest participation, as in NSD (40 sessions)."""
        return max(subject.sessions for subject in self.subjects.values())

    @property
    def pool(self) -> int:
        """Images planned for each subject (NSD: 10,000). Twelve runs make the number of trials a multiple of three."""
        return self.trials_per_session * self.planned_sessions // layout.REPEATS

    @property
    def shared(self) -> int:
        """Images planned for every subject (NSD: 1,000)."""
        return round(SHARED_SHARE * self.pool)

    @property
    def shown(self) -> int:
        """Different images planned for any subject."""
        return self.shared + len(self.subjects) * (self.pool - self.shared)


class Bucket(S3Bucket):
    """Where NSD's files come from."""

    terms_accepted: bool = Field(
        False,
        description=f"Set to `true` once you have signed NSD's Data Sharing and Usage Agreement (<{TERMS_FORM}>). "
        "Nothing is downloaded until then.",
    )
    bucket: Name = Field("natural-scenes-dataset", description="The S3 bucket.")
    region: Name = Field("us-east-2", description="Its region.")
    coco_url: Name = Field(
        "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
        description="The archive of COCO's caption files, which NSD does not host.",
    )
    copied: UserPath | None = Field(
        None,
        alias="copy",
        description="A folder with NSD files that you already have, in the same layout. They are linked into `root` "
        "instead of downloaded, and never changed or deleted. Betas may be `.hdf5` or `.nii.gz`, integers as "
        "NSD's or floats. Do not use it as `root` itself: the betas of a session "
        "are deleted from `root` once they are masked, so a run refuses to start when it finds betas that it did not "
        "download.",
    )


class Images(base.Settings):
    """Published test images without recordings. Only submissions can be scored on them."""

    fetched: Name = Field(description="The entry of config/backbones.yaml that is downloaded.")
    pictures: Name = Field(description="The file in it that holds the images.")
    ids: Name = Field(description="The file in it that holds their image_id, ascending, or a mask over all images.")
    captions: Name | None = Field(None, description="The file in it that holds a caption for each image, or null.")
    shared982: Name | None = Field(
        None,
        description="Your own list of the image_id of split `shared982`, in a form that `ids` of a submission may "
        "have, or null where that split is not scored: the published files do not say which images it tests.",
    )


class Betas(base.Settings):
    """Which betas are used and how they are normalised.

    The choice is written into every recording and shown in the report.
    """

    version: Literal["b2", "b3"] = Field(
        "b3", description="`b2`: fitted HRF. `b3`: fitted HRF, GLMdenoise and ridge regression."
    )
    mask: Name = Field(
        "nsdgeneral",
        description="The voxels that are used: those of a region file of NSD (`nsdgeneral`, `HCP_MMP1`; all labels "
        "above 0), of a region (`V1`, `FFA`), of either in one hemisphere (`lh.V1`), or of a region file of your own, "
        "`<name>.nii.gz` next to NSD's in `bucket.copy`.",
    )
    labels: Unique[Positive] = Field(
        [],
        description="Labels of the region file whose voxels are used, such as `[1, 4]` for V1 and V2 of `HCP_MMP1`; "
        "NSD lists the names in `<file>.mgz.ctab`. Empty for all.",
    )
    normalise: Literal["session", "pooled"] = Field(
        "session",
        description="Each voxel is z-scored within each `session`, or `pooled` over all sessions, as the published "
        "betas may have been; then even a small budget is scaled by what was recorded after it. How the published "
        "MindEye2 files were normalised is not documented, so compare variants before you compare numbers.",
    )
    statistics: Literal["train", "all"] = Field(
        "train", description="Mean and deviation come from the training trials only, or from all."
    )


class Settings(base.Settings):
    """The Natural Scenes Dataset, real or simulated."""

    source: Literal["simulated", "bucket", "images"] = Field(
        description="`simulated`: generated locally. `bucket`: downloaded, or linked from a copy. `images`: only "
        "published test images, so that only submissions can be scored (`methods: []`)."
    )
    root: UserPath = Field(
        description="Folder of the data, in NSD's own layout (`nsddata/`, `nsddata_betas/`, `nsddata_stimuli/`, "
        "`annotations/`)."
    )
    simulation: SimulationSettings | None = Field(None, description="Required when the source is `simulated`.")
    bucket: Bucket = Field(Bucket(), description=Bucket.__doc__)
    sessions: dict[Annotated[str, *PATH_NAME], Positive] = Field(
        {},
        description="Subject -> number of its sessions, counted from the first, where your copy has fewer than NSD (an "
        "older release, a trial run), or the subject is your own, scanned and stored as NSD's are.",
    )
    images: Images | None = Field(None, description="Required when the source is `images`.")
    betas: Betas = Field(Betas(), description="Which betas are used and how they are normalised.")
    transfer: Annotated[Unique[TransferSet], AfterValidator(_as_declared)] = Field(
        [],
        description="Further test sets of the study's subjects, from two experiments that nothing is fitted to: "
        "`vision`, `imagery` and `attention` of NSD-Imagery (12 pictures each), `synthetic` of NSD-Synthetic (284 "
        "images). Each experiment adds 1.1 GB of betas a subject to what is downloaded, and every method is scored on "
        "each test set, at every budget and seed. Not with `split: cluster<k>`.",
    )
    transfer_normalise: Literal["published", "session", "training"] = Field(
        "published",
        description="What trials of `transfer` are z-scored by, as their sessions have no training trials: those of "
        "their own run (NSD-Imagery) or session (NSD-Synthetic) as `published`, those of their own `session`, or all "
        "`training` trials of NSD.",
    )
    shared982_sessions: Positive = Field(
        37, description="Sessions that split `shared982` uses; the later ones are held out in NSD."
    )

    @model_validator(mode="after")
    def _source_is_described(self) -> "Settings":
        section = {"simulated": "simulation", "images": "images"}.get(self.source, "bucket")
        if getattr(self, section) is None:
            raise base.WrongKey(section, f"missing; source is '{self.source}', so add the section")
        return self

    @model_validator(mode="after")
    def _transfer_has_recordings(self) -> "Settings":
        if self.transfer and self.source == "images":
            raise base.WrongKey("transfer", "needs recordings, which source 'images' does not have; set it to []")
        return self

    @model_validator(mode="after")
    def _a_copy_is_read(self) -> "Settings":
        if self.source != "bucket" and self.bucket.copied:
            raise base.WrongKey(
                "bucket.copy", f"is set, but source is '{self.source}', which reads no copy; set source to bucket"
            )
        return self

    @model_validator(mode="after")
    def _sessions_are_recorded(self) -> "Settings":
        recorded = self.recorded_sessions
        for subject, number in self.sessions.items():
            if self.source == "simulated" and subject not in recorded:
                raise base.WrongKey(
                    "sessions", f"{subject} is not simulated; add it to simulation.subjects, or remove it"
                )
            if number > recorded.get(subject, number):
                what = f"{number} is more than the {recorded[subject]} sessions of {subject}"
                raise base.WrongKey(f"sessions.{subject}", f"{what}; lower it")
        return self

    @model_validator(mode="after")
    def _labels_are_of_a_file(self) -> "Settings":
        if self.betas.labels and layout.mask_of(self.betas.mask)[1]:
            raise base.WrongKey(
                "betas.labels", f"are of a region file, but mask is the region {self.betas.mask}; use one of both keys"
            )
        return self

    @property
    def recorded_sessions(self) -> dict[str, int]:
        """Subject -> sessions that NSD, or its simulation, has."""
        if self.source == "simulated" and self.simulation is not None:
            return {name: subject.sessions for name, subject in self.simulation.subjects.items()}
        return dict(layout.SESSIONS)


def terms_not_accepted() -> Exception:
    return problem(
        "nsd.bucket.terms_accepted",
        f"is false; read and sign NSD's Data Sharing and Usage Agreement at {TERMS_FORM}, then set it to true",
    )
