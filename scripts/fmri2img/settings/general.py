"""The sections of a configuration that do not belong to any one dataset or method."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from fmri2img.settings.base import (
    Batch,
    Count,
    Folds,
    Grid,
    Guidance,
    Name,
    Network,
    Penalties,
    Positive,
    Seed,
    Settings,
    Share,
    Side,
    Steps,
    Unique,
    UserPath,
    WrongKey,
    expanded_path,
    matching,
    one_of,
)
from fmri2img.settings.site import SITE

FEWEST_PERMUTATIONS = 19  # with which a p-value can be 0.05
FEATURE_KINDS = ("open_clip", "torchvision", "efficientnet_lite")  # of networks that have layers to read
STUDY_NAME = matching(r"[a-z0-9][a-z0-9_-]{0,63}", "lowercase letters, digits, - and _, at most 64")
SUBMISSION_NAME = matching(r"[a-z][a-z0-9_]{0,63}", "lowercase letters, digits and _, at most 64")
MINUTES = Annotated[str, *matching(r"[1-9][0-9]*min", "a number of minutes as in 10min")]
BUDGET = one_of("a whole number of sessions from 1, minutes as in 10min, or all; give one of them")
Encoder = Annotated[Name, Network("open_clip", "clip_projected", "embeddings")]
Autoencoder = Annotated[Name, Network("diffusers_vae")]
Generator = Annotated[Name, Network("diffusers_unet")]


class ClusterSplit(Settings):
    """How images are grouped into semantic clusters for the splits cluster0, cluster1, ..."""

    clusters: int = Field(
        5, ge=2, le=100, description="Number of clusters (k-means on the encoder's pooled image vectors)."
    )
    seed: Seed = Field(0, description="Seed of the clustering.")


class Generation(Settings):
    """How images are drawn from decoded tokens."""

    steps: Steps = Field(description="Sampler steps.")
    guidance: Guidance = Field(description="Scale of classifier-free guidance; 1 is none.")
    batch: Batch = Field(description="Images drawn at a time.")


class Refinement(Settings):
    """A second generator redraws unrefined images, given their captions; the result is blended with the blurry one."""

    generator: Generator = Field(description="The generator that redraws.")
    prompts: Annotated[Name, Network("open_clip", "clip_projected", "sdxl_text")] = Field(
        description="The text encoder whose states of the caption condition that generator."
    )
    steps: Steps = Field(description="Sampler steps of the whole schedule.")
    start: Count = Field(description="First step that runs; the earlier ones are skipped.")
    guidance: Guidance = Field(description="Scale of classifier-free guidance.")
    batch: Batch = Field(description="Images redrawn at a time.")
    refined_weight: Share = Field(0.75, description="Weight of the refined image in the blend.")
    negative_prompt: str = Field("", description="Text from which the guidance leads away.")

    @model_validator(mode="after")
    def _some_step_is_run(self) -> "Refinement":
        if self.start >= self.steps:
            raise WrongKey("start", f"{self.start} must be below steps ({self.steps}), or no step is run; lower it")
        return self


class Band(Settings):
    """One group of features of the banded ridge regression."""

    network: Annotated[Name, Network(*FEATURE_KINDS)] = Field(description="The network whose features are used.")
    layer: Name = Field(description="A layer that config/backbones.yaml lists for the network.")


class Encoding(Settings):
    """The encoding model behind brain correlation: it predicts betas from images."""

    model: Annotated[Name, Network("gnet", also="banded_ridge")] = Field(
        "banded_ridge",
        description="`banded_ridge` is fitted to each subject's training images. `gnet_multisubject` is the published "
        "network behind MindEye2's Table 3 (NSD subjects, shared images only). Their values are on different scales.",
    )
    grid: Grid = Field(7, description="Side of the grid that feature maps are pooled to (banded ridge).")
    folds: Folds = Field(5, description="Folds of the cross-validation, grouped by image (banded ridge).")
    alphas: Penalties = Field(
        [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0],
        description="Penalties to choose from, for each band (banded ridge).",
    )
    bands: Unique[Band] = Field(min_length=1, description="Networks and layers whose features predict betas.")


class Bottleneck(Settings):
    """`snakemake bottleneck`: score against the number of dimensions between brain and embedding (BrainBits)."""

    methods: Unique[Name] = Field(
        min_length=1,
        description="Methods that get a curve, at the longest budget: linear or trained decoders. "
        "Those for which no images are drawn are left out.",
    )
    directions: Name = Field(description="The linear decoder whose weights the bottleneck's directions come from.")
    dimensions: Unique[Positive] = Field(min_length=1, description="Sizes of the bottleneck.")


class Evaluation(Settings):
    """The sizes at which images are compared."""

    size: Side = Field(256, description="Reconstruction and stimulus are first resized to this side, in pixels.")
    pixel_size: Side = Field(425, description="PixCorr and SSIM are computed at this side, in pixels.")
    antialias: bool = Field(
        True,
        description="Whether pictures that become smaller are filtered first: when they are stored, compared and given "
        "to networks that compare them. Published scores were computed without (torchvision 0.16).",
    )


def _none_or_enough(permutations: int) -> int:
    if permutations and not FEWEST_PERMUTATIONS <= permutations <= 100_000:
        raise ValueError(f"{permutations} is neither 0, for no tests, nor from {FEWEST_PERMUTATIONS} to 100,000")
    return permutations


class Retrieval(Settings):
    """How retrieval is measured."""

    pool: int = Field(
        300, ge=2, le=100_000, description="Images to retrieve from; the whole test set if it is smaller."
    )
    resamples: int = Field(30, ge=1, le=10_000, description="Number of random pools.")


class Statistics(Settings):
    """Confidence intervals, and permutation tests within each subject."""

    resamples: int = Field(2000, ge=100, le=100_000, description="Bootstrap resamples over test images.")
    confidence: float = Field(0.95, gt=0, lt=1, description="Confidence of the intervals.")
    permutations: Annotated[int, AfterValidator(_none_or_enough)] = Field(
        0,
        description="Random assignments of each subject's predictions to its test images, with which its scores are "
        "compared: p = (1 + assignments that score as well) / (1 + permutations). 0 makes no such test; 1000 to 10000 "
        "are usual.",
        json_schema_extra={"minimum": 0, "maximum": 100_000},
    )


def _is_submission(entry: dict[str, Any]) -> dict[str, Any]:
    if "path" not in entry and not {"title", "predictions"} <= set(entry):
        raise ValueError("give the path of a submission, or its title and predictions (docs/submissions.md)")
    return entry | {"path": expanded_path(entry["path"])} if isinstance(entry.get("path"), str) else entry


Submission = Annotated[dict[str, Any], AfterValidator(_is_submission)]


class Shards(Settings):
    """Steps over images that several jobs share. The results are the same, byte for byte."""

    embed: int = Field(
        1,
        ge=1,
        le=1000,
        description="Jobs that share one frozen network's outputs of all stimuli (73,000 images in NSD).",
    )
    draw: int = Field(
        1, ge=1, le=1000, description="Jobs that share the drawing of one method's test images in one cell."
    )


class Basis(Settings):
    """Keys that decide which other sections exist."""

    study: Annotated[str, *STUDY_NAME] = Field(
        description="Name of the study. Results go to `results/<study>/`, logs to `logs/<study>/`."
    )
    plugins: Unique[UserPath] = Field(
        [],
        description="Folders of methods and datasets outside this repository, with a method.yaml or dataset.yaml each.",
    )
    dataset: Name = Field(
        description="A folder of `scripts/fmri2img/datasets/`, or a plug-in. Its settings have a section of that name."
    )
    pools: Unique[Name] = Field(
        [],
        description="Datasets of recordings without pictures (such as the resting state), also with a section of their "
        "name. A method is pretrained on them where its settings name them.",
    )


class General(Basis):
    """A study, except for the settings of its dataset and of its methods."""

    model_config = ConfigDict(defer_build=True)  # only the class with the sections of folders checks anything

    resources: Literal["laptop", "cluster"] = Field(
        "laptop", description="Sizes of jobs (config/resources.yaml): `cluster` for the full data and networks."
    )
    site: UserPath = Field(
        SITE,
        description="The file that describes the cluster (docs/cluster.md), relative to the repository. It need not "
        "exist where jobs run on one machine.",
    )
    shards: Shards = Field(Shards(), description=Shards.__doc__)
    subjects: Unique[Name] = Field(min_length=1, description="Subjects of the study, as the dataset names them.")
    sessions: Unique[Annotated[Positive | Literal["all"] | MINUTES, BUDGET]] = Field(
        min_length=1,
        description="Training budgets in sessions (about an hour each): the first k in the order of recording. `all` "
        "is each subject's own number, `10min` the first sixth of a session. The test set is the same at every budget.",
    )
    seeds: Unique[Seed] = Field(
        min_length=1, description="Every stochastic step runs once per seed. Fix the seeds before the run."
    )
    methods: Unique[Name] = Field(description="Methods to run. A control also needs the method that it controls.")
    retrieval_only: Unique[Name] = Field(
        [], description="Decoders whose images are not drawn, to save time. They are scored by retrieval alone."
    )
    budgets: dict[
        Name, Annotated[Unique[Annotated[Positive | Literal["all"] | MINUTES, BUDGET]], Field(min_length=1)]
    ] = Field(
        {},
        description="Methods that run at fewer budgets than `sessions` lists, to save time: name -> its budgets. What "
        "is made from a method's output, its stages and its controls, follows it unless it is named here itself.",
    )
    submissions: dict[Annotated[str, *SUBMISSION_NAME], Submission] = Field(
        {},
        description="Reconstructions made elsewhere that are scored like the methods: name -> `path` of a submission, "
        "or its record (docs/submissions.md).",
    )
    metrics: Unique[Name] = Field(min_length=1, description="Metrics to compute, entries of config/metrics.yaml.")
    analyses: Annotated[Literal["all"] | Unique[Name], one_of("all or a list of analyses; give one")] = Field(
        "all",
        description="Analyses to make and to show on the page: all that the folders of the study's methods declare, or "
        "some of them by name, `<folder>.<name>`.",
    )
    split: Name = Field(
        description="A split that the dataset declares, or `cluster<k>`: all images of semantic cluster k are tested "
        "and none of them is trained on. The dataset's dataset.yaml says what each holds out; NSD has `shared1000` and "
        "`shared982`."
    )
    test_sets: Annotated[
        Literal["all"] | Annotated[Unique[Name], Field(min_length=1)], one_of("all or a list of test sets; give one")
    ] = Field("all", description="Test sets of the split that are scored.")
    cluster_split: ClusterSplit = Field(ClusterSplit(), description=ClusterSplit.__doc__)
    compare_with: Annotated[str, *STUDY_NAME] | None = Field(
        None,
        description="A previously run study with the same methods on another split. A table and a figure compare "
        "its scores with this study's (config/cluster.yaml).",
    )
    encoder: Encoder = Field(
        description="The image encoder whose tokens are decoded, or embeddings that the dataset brings; from these no "
        "pictures are drawn."
    )
    autoencoder: Autoencoder = Field(description="The autoencoder of the generator.")
    generator: Generator = Field(description="The unCLIP generator that draws images from tokens.")
    captioner: Annotated[Name, Network("git")] = Field(description="The captioner of decoded images.")
    caption_converter: Annotated[Name | None, Network("caption_converter", also="trained")] = Field(
        None,
        description="Maps the encoder's tokens to those that the captioner takes: `trained` (here, on the training "
        "images), an entry of config/backbones.yaml, or null where both are the same.",
    )
    generation: Generation = Field(description=Generation.__doc__)
    refinement: Refinement = Field(description=Refinement.__doc__)
    encoding: Encoding = Field(description=Encoding.__doc__)
    bottleneck: Bottleneck = Field(description=Bottleneck.__doc__)
    evaluation: Evaluation = Field(Evaluation(), description=Evaluation.__doc__)
    retrieval: Retrieval = Field(Retrieval(), description=Retrieval.__doc__)
    statistics: Statistics = Field(Statistics(), description=Statistics.__doc__)
