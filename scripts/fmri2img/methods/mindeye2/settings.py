"""MindEye2's settings: the section `mindeye2` of a study, the sizes of a model, and its losses.

Defaults are those of the published models, with known defects of the released code corrected. Torch is not needed here.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fmri2img.networks.settings import ContrastSettings, PriorConfig, SeedGrid, SeedGridSizes, check_low_level
from fmri2img.settings import base
from fmri2img.settings.base import (
    Batch,
    Chance,
    Depth,
    HeldOut,
    LatentSide,
    Name,
    Network,
    Samples,
    Seed,
    Steps,
    Temperature,
    Unique,
    Weight,
    Width,
    problem,
)
from fmri2img.settings.checks import check_released
from fmri2img.training.configuration import Stage, TrainingSettings


class LowLevelHead(SeedGrid):
    """Sizes of the low-level head: a grid of features (the seed grid), enlarged to autoencoder latents."""

    channels: base.Fixed[Width] = Field(
        (32, 64, 128),
        description="Channels of the enlarging blocks, the last block's first. Each block but one doubles the grid.",
    )
    dropout: Chance = Field(0.3, description="Dropout on the seed grid.")


class LowLevelConfig(LowLevelHead, SeedGridSizes):
    """A low-level head with the sizes that follow from its targets."""


class ModelSettings(base.Settings):
    """Sizes of the network. Number and width of the tokens follow from the encoder."""

    hidden: Width = Field(4096, description="Width of the latent that all subjects share.")
    blocks: Depth = Field(4, description="Blocks of the backbone.")
    dropout: Chance = Field(0.15, description="Dropout of the backbone.")
    prior: PriorConfig = Field(PriorConfig(), description=PriorConfig.__doc__)


class ModelConfig(ModelSettings):
    """A whole model, as it is recorded with its weights."""

    hidden: Width = Field(description="Width of the latent that all subjects share.")
    backbone: Literal["as_released", "residual_mlp"] = Field(description="See backbone.py.")
    tokens: Width = Field(description="Tokens of the image encoder.")
    token_width: Width = Field(description="Their width.")
    low_level: LowLevelConfig | None = Field(None, description="Null leaves the low-level head out.")
    prior: PriorConfig | None = Field(None, description="Null leaves the diffusion prior out.")

    @model_validator(mode="after")
    def _time_embedding_is_whole(self) -> "ModelConfig":
        if self.prior and self.token_width % 2:
            raise base.WrongKey("token_width", f"{self.token_width} must be even for the prior's time embedding")
        return self


class LossConfig(ContrastSettings):
    """Weights and temperatures of the losses."""

    prior: Weight = Field(30.0, description="Weight of the diffusion prior's loss.")
    contrast: Weight = Field(1.0, description="Weight of the contrastive loss.")
    low_level: Weight = Field(0.5, description="Weight of the low-level loss.")
    local_contrast: Weight = Field(0.1, description="Weight of the local contrast within the low-level loss.")
    local_temperature: Temperature = Field(0.2, description="Temperature of the local contrast.")
    low_level_every: Batch = Field(
        1,
        description="The low-level losses are computed for every n-th trial of a global batch, to save time; 1 for "
        "all, as published.",
    )
    negatives: Literal["gathered", "local"] = Field(
        "gathered",
        description="`gathered`: samples are compared, and mixed, with those of all processes. `local`: within each "
        "process's share, as in the released code, so that results depend on the number of processes.",
    )
    permutation_offsets: bool = Field(
        True, description="See mixco.mixture_labels; false in the released code (a known defect)."
    )


class LowLevel(base.Settings):
    """The low-level head and what it is trained to predict."""

    autoencoder: Annotated[Name, Network("diffusers_vae")] = Field(description="The autoencoder of its latents.")
    teacher: Annotated[Name, Network("efficientnet_lite_map", "vicregl_convnext")] = Field(
        description="The network whose local features it learns."
    )
    image_size: LatentSide = Field(224, description="Side that images are resized to, in pixels.")
    augmentations: Samples = Field(
        4,
        description="Augmented views of each image for the teacher: cached, and one picked at each step. Published: a "
        "new one at each step.",
    )
    head: LowLevelHead = Field(LowLevelHead(), description=LowLevelHead.__doc__)


class Pretraining(Stage):
    """Training on the other subjects."""

    subjects: Annotated[
        Literal["all"] | Annotated[Unique[Name], Field(min_length=1)],
        base.one_of("all or a list of subjects; give one"),
    ] = Field("all", description="Subjects to pretrain on: `all` others of the dataset, or a list.")
    seed: Seed = Field(0, description="Seed of pretraining, which is done once for all seeds of the study.")
    training: TrainingSettings = Field(
        TrainingSettings(epochs=150, batch=63), description="How the network is pretrained."
    )


class Finetuning(Stage):
    """Training on the subject that is decoded."""

    inherit_adapter_bias: bool = Field(
        False,
        description="True: the subject's adapter starts from the bias of the first pretraining subject, as in the "
        "released code (a known defect).",
    )
    adapter_start: Literal["random", "zeros"] = Field(
        "random",
        description="Weights with which the subject's adapter starts. `random`: as published. `zeros`: an adapter that "
        "is trained on fewer trials than the subject has voxels then keeps no random weights in the directions in "
        "which these trials do not vary, as ridge regression keeps none.",
    )
    training: TrainingSettings = Field(
        TrainingSettings(epochs=150, batch=24), description="How the network is fine-tuned."
    )


class Decoding(base.Settings):
    """From betas to tokens."""

    prior_steps: Steps = Field(20, description="Steps of the diffusion prior.")
    batch: Batch = Field(32, description="Images decoded at a time.")


class Settings(base.Settings):
    """MindEye2. Defects of the released code are switches here, off by default, which each method card lists."""

    model: ModelSettings = Field(ModelSettings(), description=ModelSettings.__doc__)
    low_level: LowLevel | None = Field(None, description="Null leaves the low-level head out.")
    losses: LossConfig = Field(LossConfig(), description=LossConfig.__doc__)
    validation_share: HeldOut = Field(
        0.05,
        description="Share of the training images that are held out to log retrieval on. They are "
        "not used to choose weights. Published: 0, and the test images are monitored.",
    )
    pretraining: Pretraining = Field(Pretraining(), description=Pretraining.__doc__)
    finetuning: Finetuning = Field(Finetuning(), description=Finetuning.__doc__)
    decoding: Decoding = Field(Decoding(), description=Decoding.__doc__)

    def check(self, study: Any) -> None:
        """Raises UserError when the study's encoder, subjects, methods or published networks do not fit."""
        encoder = study.registries["backbones"][study.config["encoder"]]
        sizes = {"backbone": "as_released", "tokens": encoder["tokens"], "token_width": encoder["token_width"]}
        ModelConfig.read(self.model.to_dict() | sizes, key="mindeye2.model")
        self.pretraining.check_processes("mindeye2.pretraining")
        self.finetuning.check_processes("mindeye2.finetuning")
        self._check_pretraining(study)
        self._check_low_level(study)
        self._check_prior_steps()
        check_released(study, "mindeye2", "encoder", study.config["encoder"])

    def _check_pretraining(self, study: Any) -> None:
        entries = [study.registries["methods"][method] for method in study.trained]
        if not any(entry["folder"] == "mindeye2" and entry["training"]["pretrained"] for entry in entries):
            return  # the subjects may be those of another dataset
        key = "mindeye2.pretraining.subjects"
        for subject in [] if self.pretraining.subjects == "all" else self.pretraining.subjects:
            if subject not in study.available_sessions:
                raise problem(key, f"no data for {subject}; available: {', '.join(study.available_sessions)}")
        for target in study.subjects:
            if not study.pretraining_subjects("mindeye2", target):
                raise problem(key, f"no subject is left to pretrain on when decoding {target}; name another subject")

    def _check_prior_steps(self) -> None:
        trained = self.model.prior.timesteps
        if not 2 <= self.decoding.prior_steps < trained:
            raise problem(
                "mindeye2.decoding.prior_steps",
                f"{self.decoding.prior_steps} must be at least 2 and below the {trained} of "
                "mindeye2.model.prior.timesteps",
            )

    def _check_low_level(self, study: Any) -> None:
        if self.low_level is not None:
            check_low_level(study, "mindeye2.low_level", self.low_level, self.low_level.head)
        for method in study.methods if self.low_level is None else []:
            entry = study.registries["methods"][method]
            if entry.get("folder") == "mindeye2" and entry.get("stage") in ("lowlevel", "blended"):
                refined = study.stage_of(method, "refined")
                raise problem("mindeye2.low_level", f"is null, but {method} needs it; set it or use {refined}")
