"""Brain-Diffuser's settings. Defaults are those of the published recipe, without its calibration on the test images."""

from typing import Annotated, Literal

from pydantic import Field

from fmri2img.settings import base
from fmri2img.settings.base import Name, Network, Positive, PositiveNumber, Share


class Penalties(base.Settings):
    """Penalties of the regressions, of which held-out images choose one for all values of a target."""

    latents: list[PositiveNumber] = Field([50000.0], min_length=1, description="Of the regression to latents.")
    texts: list[PositiveNumber] = Field([100000.0], min_length=1, description="Of the regression to caption states.")
    tokens: list[PositiveNumber] = Field([60000.0], min_length=1, description="Of the regression to image tokens.")


class Generation(base.Settings):
    """How pictures are drawn under both contexts, from the picture of the very deep VAE."""

    steps: Positive = Field(50, description="Steps of the sampler.")
    strength: Share = Field(
        0.75, description="Share of the steps that run, from the noised first picture; at 1 there is no first picture."
    )
    early_noise: bool = Field(
        False,
        description="Noise the first picture as much as the step before the first one that runs expects; true in the "
        "published code (a known defect).",
    )
    text_share: Share = Field(0.4, description="Share of the caption states in every cross-attention.")
    guidance: PositiveNumber = Field(7.5, description="Scale of classifier-free guidance.")
    unconditional: Literal["encoded", "zeros"] = Field(
        "encoded",
        description="Context of the unconditional branch: the encoded empty sentence and grey picture, or zeros.",
    )
    batch: Positive = Field(8, description="Pictures drawn at a time.")


class Settings(base.Settings):
    """Linear decoding of latents, caption states and image tokens, and the networks that draw from them."""

    hierarchy: Annotated[Name, Network("vdvae")] = Field(
        description="The very deep VAE, an entry of config/backbones.yaml."
    )
    latent_size: Positive = Field(64, description="Side in pixels of the pictures that it encodes.")
    encoder: Annotated[Name, Network("open_clip", "clip_projected")] = Field(description="Encoder of image tokens.")
    prompts: Annotated[Name, Network("open_clip", "clip_projected")] = Field(description="Encoder of caption states.")
    generator: Annotated[Name, Network("dual_unet")] = Field(description="Denoising network under two contexts.")
    autoencoder: Annotated[Name, Network("diffusers_vae")] = Field(description="The autoencoder it was trained with.")
    penalties: Penalties = Field(Penalties(), description=Penalties.__doc__)
    folds: int = Field(5, ge=2, description="Folds of the cross-validation, grouped by image.")
    calibration: Literal["training_images", "test_batch", "none"] = Field(
        "training_images",
        description="What brings predictions to mean and spread of true targets; published: test_batch, which looks at "
        "all test images at once.",
    )
    generation: Generation = Field(Generation(), description=Generation.__doc__)
    regions: list[Name] = Field(
        [], description="Regions of the analysis `brain_diffuser.regions`; all of the dataset's if none is listed."
    )
