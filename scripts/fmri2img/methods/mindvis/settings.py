"""MinD-Vis's settings: the section `mindvis` of a study, and the sizes of a model.

Defaults are those of the released code, with its known defects corrected. Torch is not needed here.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fmri2img.settings import base
from fmri2img.settings.base import (
    Batch,
    Depth,
    HeldOut,
    Name,
    Network,
    Positive,
    PositiveNumber,
    Samples,
    Seed,
    Share,
    Steps,
    Unique,
    Width,
    problem,
)
from fmri2img.settings.checks import check_published
from fmri2img.training.configuration import Stage, TrainingSettings

CONTEXT = 77  # context vectors, as many as a text-to-image network has


class EncoderConfig(base.Settings):
    """The encoder of voxel patterns."""

    patch: Width = Field(16, description="Voxels of a patch.")
    width: Width = Field(1024, description="Width of a token.")
    depth: Depth = Field(24, description="Transformer blocks.")
    heads: Depth = Field(16, description="Attention heads.")
    mlp_ratio: float = Field(1.0, ge=0.1, le=64, description="Hidden width of a block's MLP, in widths.")

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "EncoderConfig":
        if self.width % self.heads or self.width % 2:
            raise base.WrongKey("width", f"{self.width} is not an even multiple of heads ({self.heads}); change one")
        return self


class DecoderConfig(base.Settings):
    """The decoder of masked brain modelling, which is not used after it."""

    width: Width = Field(512, description="Width of a token.")
    depth: Depth = Field(8, description="Transformer blocks.")
    heads: Depth = Field(16, description="Attention heads.")

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "DecoderConfig":
        if self.width % self.heads or self.width % 2:
            raise base.WrongKey("width", f"{self.width} is not an even multiple of heads ({self.heads}); change one")
        return self


class ModelConfig(EncoderConfig):
    """The masked autoencoder."""

    mask_ratio: float = Field(0.75, ge=0.05, le=0.95, description="Share of the patches that are removed.")
    decoder: DecoderConfig = Field(DecoderConfig(), description=DecoderConfig.__doc__)

    @property
    def encoder(self) -> EncoderConfig:
        return EncoderConfig(**{key: getattr(self, key) for key in EncoderConfig.model_fields})


class Augmentation(base.Settings):
    """Changes of training samples."""

    zeroed_voxels: Share = Field(
        0.0,
        description="Share of a pattern's voxels that are set to 0, drawn for each sample. The released code means 0.2 "
        "and zeroes none (a known defect).",
    )
    crop_chance: Share = Field(0.5, description="Chance that a training image is cropped.")
    crop: Annotated[float, Field(ge=0.1, le=1)] = Field(0.8, description="Side of the crop, as a share of the image.")


class Pretraining(Stage):
    """Stage A, masked brain modelling on other subjects."""

    subjects: Annotated[Literal["all"] | Unique[Name], base.one_of("all or a list of subjects; give one")] = Field(
        "all", description="Subjects to pretrain on: `all` others of the dataset, or a list, [] for pools alone."
    )
    pools: Unique[Name] = Field(
        [],
        description="Datasets without pictures to pretrain on as well, of those that the study's `pools` lists. "
        "Published: hcp, and the training trials of all subjects of GOD.",
    )
    seed: Seed = Field(0, description="Seed of pretraining, which is done once for all seeds of the study.")
    training: TrainingSettings = Field(
        TrainingSettings(
            epochs=500, batch=100, learning_rate=2.5e-4, weight_decay=0.05, schedule="cosine", warmup_epochs=40,
            precision="fp16", clip=0.8,
        ),
        description="How the masked autoencoder is trained.",
    )  # fmt: skip


class TransductiveTuning(base.Settings):
    """Masked brain modelling on the subject's test trials, without their images."""

    epochs: int = Field(15, ge=1, le=100_000, description="Passes over the test trials and their means.")
    batch: Batch = Field(16, description="Samples of a step.")
    learning_rate: PositiveNumber = Field(5.3e-5, description="Learning rate.")
    weight_decay: base.Weight = Field(0.05, description="Decoupled weight decay.")


class TransductiveSelection(base.Settings):
    """Choice of the training's best epoch by the pictures that it draws of the test images."""

    classifier: Annotated[Name, Network("torchvision", "efficientnet_lite")] = Field(
        "vit_h14", description="The classifier of the n-way accuracy."
    )
    layer: Name = Field("heads.head", description="The classifier's layer of class scores.")
    images: Positive = Field(50, description="Test images, at most, that are drawn at each validation.")


class Finetuning(Stage):
    """Stage B, the doubly conditioned diffusion model."""

    tune_on_test: TransductiveTuning | None = Field(
        None,
        description="Not null: before stage B, the encoder is tuned by masked modelling on the test trials that are "
        "later decoded, as published (a known defect; the disclosure says transductive).",
    )
    select_on_test: TransductiveSelection | None = Field(
        None,
        description="Not null: weights are those of the validation with the best 50-way accuracy on the test set, as "
        "in the released code (a known defect; the disclosure says transductive). Null: those of the last step.",
    )
    training: TrainingSettings = Field(
        TrainingSettings(
            epochs=500, batch=5, learning_rate=5.3e-5, weight_decay=0.01, schedule="constant", warmup_epochs=0,
            precision="fp32", clip=0.5,
        ),
        description="How encoder and generator are trained together.",
    )  # fmt: skip


class Decoding(base.Settings):
    """From betas to autoencoder latents."""

    steps: Steps = Field(250, description="Steps of the generator's scheduler.")
    samples: Samples = Field(
        5, description="Pictures drawn of each image, which differ in their noise; scores are means over them."
    )
    batch: Batch = Field(16, description="Pictures drawn at a time.")


class Settings(base.Settings):
    """MinD-Vis. Defects of the released code are switches here, off by default, which each method card lists."""

    model: ModelConfig = Field(ModelConfig(), description=ModelConfig.__doc__)
    generator: Annotated[Name, Network("diffusers_unet")] = Field(
        "ldm_cin256", description="The diffusion model that is fine-tuned."
    )
    autoencoder: Annotated[Name, Network("diffusers_vae")] = Field(
        "ldm_cin256_vq", description="The autoencoder whose latents it draws."
    )
    time_condition: bool = Field(
        True, description="Whether the brain also conditions the time embedding; without it, cross-attention alone."
    )
    context_spread: PositiveNumber | None = Field(
        None,
        description="Standard deviation over training trials, mean over its values, that the context has when stage B "
        "starts; null, as published: that of random weights. It is small (0.07 in the demo), and a short training does "
        "not raise it enough.",
    )
    position_resizing: Literal["linear", "nearest"] = Field(
        "linear",
        description="How the encoder's positions are resized to a subject with another number of voxels; `nearest` in "
        "the released code (a known defect).",
    )
    augmentation: Augmentation = Field(Augmentation(), description=Augmentation.__doc__)
    validation_share: HeldOut = Field(
        0.05,
        description="Share of the training images that are held out to log losses on. They are not used to choose "
        "weights. Published: 0, and the test images are monitored.",
    )
    pretraining: Pretraining = Field(Pretraining(), description=Pretraining.__doc__)
    finetuning: Finetuning = Field(Finetuning(), description=Finetuning.__doc__)
    decoding: Decoding = Field(Decoding(), description=Decoding.__doc__)

    def check(self, study: Any) -> None:
        """Raises UserError when processes, subjects or the generator do not fit the study."""
        self.pretraining.check_processes("mindvis.pretraining")
        self.finetuning.check_processes("mindvis.finetuning")
        for pool in self.pretraining.pools:
            if pool not in study.pools:
                raise problem("mindvis.pretraining.pools", f"{pool} is not in pools; add it there, or remove it here")
        self._check_pretraining(study)
        for method in study.methods:
            entry = study.registries["methods"][method]
            if entry.get("folder") == "mindvis" and "released" in entry:
                self._check_released(study, method, entry["decoder"])

    def _check_pretraining(self, study: Any) -> None:
        """Where a decoder of the study is pretrained, there is something to pretrain it on."""
        entries = [study.registries["methods"][method] for method in study.trained]
        if not any(entry["folder"] == "mindvis" and entry["training"]["pretrained"] for entry in entries):
            return
        key, chosen = "mindvis.pretraining.subjects", self.pretraining.subjects
        for subject in [] if chosen == "all" else chosen:
            if subject not in study.available_sessions:
                raise problem(key, f"no data for {subject}; available: {', '.join(study.available_sessions)}")
        for target in study.subjects:
            if not study.pretraining_subjects("mindvis", target):
                raise problem(key, f"no subject is left to pretrain on when decoding {target}; name another or a pool")

    def _check_released(self, study: Any, method: str, decoder: str) -> None:
        """Published networks exist for every subject, and fit the data."""
        there = study.registries["backbones"]
        for subject in study.subjects:
            name = study.released_network(decoder, subject, study.available_sessions[subject])
            if name not in there:
                raise problem(
                    "subjects", f"{method} has no published network of {subject}; there are Subject3 of GOD and CSI1"
                )
            check_published(study, "methods", method, name, "drop it and what builds on it")
