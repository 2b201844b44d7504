"""MindEye1's settings: the section `mindeye1` of a study, the sizes of its networks, and their losses.

Defaults are those of the published networks, with known defects of the released code corrected. Torch is not needed
here.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from fmri2img.networks.settings import ContrastSettings, PriorConfig, SeedGrid, SeedGridSizes, check_low_level
from fmri2img.settings import base
from fmri2img.settings.base import (
    Batch,
    Chance,
    Depth,
    Guidance,
    HeldOut,
    LatentGrid,
    LatentSide,
    Name,
    Network,
    PositiveNumber,
    Samples,
    Steps,
    Temperature,
    Weight,
    Width,
    problem,
)
from fmri2img.settings.checks import check_released
from fmri2img.training.configuration import Stage, TrainingSettings

ENCODERS = ("open_clip", "clip_projected")
REPEATS = 3  # presentations of an image; a step trains on the first, the second or the third of every image


class HighLevelSettings(base.Settings):
    """Sizes of the high-level network. Number and width of the tokens follow from the encoder."""

    hidden: Width = Field(4096, description="Width of the layers.")
    blocks: Depth = Field(4, description="Residual blocks.")
    first_dropout: Chance = Field(0.5, description="Dropout after the first layer.")
    dropout: Chance = Field(0.15, description="Dropout of the residual blocks.")
    projector: Width = Field(2048, description="Hidden width of the projector, which makes tokens for retrieval.")
    prior: PriorConfig = Field(PriorConfig(heads=12, head_width=64), description=PriorConfig.__doc__)
    token_scale: PositiveNumber = Field(
        768**0.5,
        description="Factor on the image tokens that the prior is trained to predict, undone when it is sampled. "
        "Published: the square root of the token width, which gives tokens whose class token has length 1 a variance "
        "of about 1.",
    )


class HighLevelConfig(HighLevelSettings):
    """A high-level network, as it is recorded with its weights."""

    tokens: Width = Field(description="Tokens of the image encoder.")
    token_width: Width = Field(description="Their width.")


class LowLevelNetwork(SeedGrid):
    """Sizes of the low-level network: a trunk as that of the high-level network, then a grid that is enlarged."""

    hidden: Width = Field(4096, description="Width of the layers.")
    blocks: Depth = Field(4, description="Residual blocks.")
    first_dropout: Chance = Field(0.5, description="Dropout after the first layer.")
    dropout: Chance = Field(0.25, description="Dropout of the residual blocks.")
    channels: base.Fixed[Width] = Field(
        (64, 128, 256),
        description="Channels of the enlarging blocks, the last block's first. Each block but one doubles the grid.",
    )


class LowLevelConfig(LowLevelNetwork, SeedGridSizes):
    """A low-level network, as it is recorded with its weights."""

    latent_side: LatentGrid = Field(64, description="Side of the autoencoder's latents.")
    maps_width: Width | None = Field(
        512, description="Width of the local features, which only training uses; null for a network without them."
    )


class LowLevel(base.Settings):
    """The low-level network, what it is trained to predict, and how."""

    autoencoder: Annotated[Name, Network("diffusers_vae")] = Field(description="The autoencoder of its latents.")
    teacher: Annotated[Name, Network("efficientnet_lite_map", "vicregl_convnext")] = Field(
        description="The network whose local features it learns."
    )
    image_size: LatentSide = Field(512, description="Side that images are resized to, in pixels.")
    augmentations: Samples = Field(
        4,
        description="Augmented views of each image for the teacher: cached, and one picked at each step. Published: a "
        "new one at each step.",
    )
    network: LowLevelNetwork = Field(LowLevelNetwork(), description=LowLevelNetwork.__doc__)
    batch: Batch = Field(
        16,
        description="Samples per optimiser step, over all processes. Published: 8, in as many epochs as make twice as "
        "many steps, since the two networks were trained one after the other.",
    )
    rate: PositiveNumber = Field(
        5 / 3, description="Its learning rate, as a multiple of the high-level network's. Published: 5e-4 and 3e-4."
    )
    local_contrast: Weight = Field(0.1, description="Weight of the contrast of local features.")
    local_temperature: Temperature = Field(0.075, description="Temperature of this contrast.")


class LossConfig(ContrastSettings):
    """Weights and temperatures of the high-level losses."""

    prior: Weight = Field(30.0, description="Weight of the diffusion prior's loss.")
    contrast: Weight = Field(1.0, description="Weight of the contrastive loss.")
    negatives: Literal["gathered", "local"] = Field(
        "gathered", description="As for MindEye2; the published network was trained by one process."
    )


class Finetuning(Stage):
    """Training on the subject that is decoded."""

    training: TrainingSettings = Field(
        TrainingSettings(epochs=240, batch=32, clip=0.0), description="How the networks are trained."
    )


class Decoding(base.Settings):
    """From betas to tokens."""

    prior_steps: Steps = Field(
        100, description="Steps of the diffusion prior: all that it was trained with (DDPM), or fewer (DDIM)."
    )
    class_token_norm: bool = Field(
        True, description="Whether the prior's tokens are divided by the length of the first, the class token."
    )
    samples: Samples = Field(16, description="Samples that the prior draws of each image.")
    batch: Batch = Field(8, description="Images decoded at a time.")


class Generation(base.Settings):
    """From tokens and blurry pictures to pictures."""

    steps: Steps = Field(20, description="Steps of the sampler.")
    guidance: Guidance = Field(3.5, description="Scale of classifier-free guidance.")
    strength: Chance = Field(0.85, description="Share of the steps that run, from the blurry picture.")
    samples: Samples = Field(
        16,
        description="Pictures drawn of each image; the one is kept whose image tokens are most similar to the decoded "
        "retrieval vectors. The true image takes no part. 1 keeps the only one.",
    )
    start_pixels: Literal["symmetric", "clip"] = Field(
        "symmetric",
        description="How the autoencoder is given the blurry picture: in -1..1, as it was trained, or normalised with "
        "the mean and deviation of CLIP's pixels, as in the released code (a known defect).",
    )
    batch: Batch = Field(16, description="Pictures drawn at a time.")


class Settings(base.Settings):
    """MindEye1. Defects of the released code are switches here, off by default, which the method card lists."""

    encoder: Annotated[Name, Network(*ENCODERS)] = Field(
        "versatile_diffusion_clip", description="The encoder whose image tokens are decoded."
    )
    generator: Annotated[Name, Network("dual_unet")] = Field(
        "versatile_diffusion_unipc", description="The network that draws pictures under them."
    )
    autoencoder: Annotated[Name, Network("diffusers_vae")] = Field(
        "versatile_diffusion_vae", description="The autoencoder of pictures, blurry and drawn."
    )
    model: HighLevelSettings = Field(HighLevelSettings(), description=HighLevelSettings.__doc__)
    losses: LossConfig = Field(LossConfig(), description=LossConfig.__doc__)
    low_level: LowLevel | None = Field(None, description="Null leaves the low-level network out.")
    image_views: int = Field(
        0,
        ge=0,
        le=100,
        description="Augmented views of each image whose tokens are cached, of which each step picks one; 0 for the "
        "image as it is. Published: a new view at each step.",
    )
    validation_share: HeldOut = Field(
        0.0,
        description="Share of the training images that are held out to log retrieval on. They are not used to choose "
        "weights. Published: 0, and the test images are monitored.",
    )
    finetuning: Finetuning = Field(Finetuning(), description=Finetuning.__doc__)
    decoding: Decoding = Field(Decoding(), description=Decoding.__doc__)
    generation: Generation = Field(Generation(), description=Generation.__doc__)

    def check(self, study: Any) -> None:
        """Raises UserError when the study's methods or published networks do not fit these settings."""
        self.finetuning.check_processes("mindeye1.finetuning")
        trained = self.model.prior.timesteps
        if not 2 <= self.decoding.prior_steps <= trained:
            raise problem(
                "mindeye1.decoding.prior_steps",
                f"{self.decoding.prior_steps} must be at least 2 and at most the {trained} of "
                "mindeye1.model.prior.timesteps",
            )
        if self.low_level is not None:
            check_low_level(study, "mindeye1.low_level", self.low_level, self.low_level.network)
        for method in study.methods if self.low_level is None else []:
            entry = study.registries["methods"][method]
            if entry.get("folder") == "mindeye1" and "latents" in entry.get("drawing", {}).get("arrays", {}).values():
                raise problem("mindeye1.low_level", f"is null, but {method} needs it; set it, or drop {method}")
        check_released(study, "mindeye1", "mindeye1.encoder", self.encoder)
