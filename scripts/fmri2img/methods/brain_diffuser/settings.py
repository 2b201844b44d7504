"""Brain-Diffuser's settings. Defaults are those of the published recipe, without its calibration on the test images."""

from typing import Annotated, Any, Literal

from pydantic import Field

from fmri2img.settings import base
from fmri2img.settings.base import Batch, Folds, Guidance, Name, Network, Share, Side, Steps, Unique, one_of
from fmri2img.settings.checks import check_regions


class Penalties(base.Settings):
    """Penalties of the regressions, of which held-out images choose one for all values of a target."""

    latents: base.Penalties = Field([50000.0], description="Of the regression to latents.")
    texts: base.Penalties = Field([100000.0], description="Of the regression to caption states.")
    tokens: base.Penalties = Field([60000.0], description="Of the regression to image tokens.")


class Generation(base.Settings):
    """How pictures are drawn under both contexts, from the picture of the very deep VAE."""

    steps: Steps = Field(50, description="Steps of the sampler.")
    strength: Share = Field(
        0.75, description="Share of the steps that run, from the noised first picture; at 1 there is no first picture."
    )
    early_noise: bool = Field(
        False,
        description="Noise the first picture as much as the step before the first one that runs expects; true in the "
        "published code (a known defect).",
    )
    text_share: Share = Field(0.4, description="Share of the caption states in every cross-attention.")
    guidance: Guidance = Field(7.5, description="Scale of classifier-free guidance.")
    unconditional: Literal["encoded", "zeros"] = Field(
        "encoded",
        description="Context of the unconditional branch: the encoded empty sentence and grey picture, or zeros.",
    )
    batch: Batch = Field(8, description="Pictures drawn at a time.")


class Settings(base.Settings):
    """Linear decoding of latents, caption states and image tokens, and the networks that draw from them."""

    hierarchy: Annotated[Name, Network("vdvae")] = Field(
        description="The very deep VAE, an entry of config/backbones.yaml."
    )
    latent_size: Side = Field(64, description="Side in pixels of the pictures that it encodes.")
    encoder: Annotated[Name, Network("open_clip", "clip_projected")] = Field(description="Encoder of image tokens.")
    prompts: Annotated[Name, Network("open_clip", "clip_projected")] = Field(description="Encoder of caption states.")
    generator: Annotated[Name, Network("dual_unet")] = Field(description="Denoising network under two contexts.")
    autoencoder: Annotated[Name, Network("diffusers_vae")] = Field(description="The autoencoder it was trained with.")
    voxels: Annotated[Literal["all"] | Unique[Name], one_of("all or a list of regions; give one")] = Field(
        "all", description="Regions from whose voxels it decodes; published: all voxels of the mask."
    )
    penalties: Penalties = Field(Penalties(), description=Penalties.__doc__)
    folds: Folds = Field(5, description="Folds of the cross-validation, grouped by image.")
    calibration: Literal["training_images", "test_batch", "none"] = Field(
        "training_images",
        description="What brings predictions to mean and spread of true targets; published: test_batch, which looks at "
        "all test images at once.",
    )
    generation: Generation = Field(Generation(), description=Generation.__doc__)
    regions: Unique[Name] = Field(
        [], description="Regions of the analysis `brain_diffuser.regions`; all of the dataset's if none is listed."
    )

    def check(self, study: Any) -> None:
        """Raises UserError for pictures of a size that the very deep VAE does not take, and regions of no dataset."""
        if "brain_diffuser.regions" in study.analyses:
            check_regions(study, "brain_diffuser.regions", self.regions)
        hierarchy = study.registries["backbones"][self.hierarchy]
        if self.latent_size != hierarchy["vdvae"]["image_size"]:
            taken = hierarchy["vdvae"]["image_size"]
            raise base.problem(
                "brain_diffuser.latent_size", f"{self.hierarchy} takes pictures of {taken} pixels; set it to {taken}"
            )
