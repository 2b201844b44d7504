"""Settings of Takagi & Nishimoto's decoder and of its encoding analysis."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fmri2img.settings import base
from fmri2img.settings.base import (
    Batch,
    Folds,
    Grid,
    Guidance,
    LatentSide,
    Name,
    Network,
    Penalties,
    Samples,
    Share,
    Steps,
    Unique,
    nearest,
    problem,
)
from fmri2img.settings.checks import check_regions

Level = Annotated[float, Field(ge=0.001, le=1)]


class EncodingSettings(base.Settings):
    """Voxel-wise encoding from components of the diffusion model: z, c, zc and layers of the denoising network."""

    subjects: Unique[Name] | None = Field(None, min_length=1, description="Subjects to analyse; null: the study's.")
    noise_levels: Unique[Level] = Field(
        [0.2, 0.4, 0.6, 0.8, 1.0],
        min_length=1,
        description="Levels to which z is noised before it is denoised under c, as shares of the noise schedule.",
    )
    traced_noise: Level = Field(0.8, description="The level whose denoising steps and layers are analysed.")
    traced_steps: Steps = Field(3, description="Denoising steps of that level to analyse, first to last.")
    steps: Steps = Field(50, description="Denoising steps of the whole schedule.")
    guidance: Guidance = Field(5.0, description="Scale of classifier-free guidance; 1: none, in half the time.")
    grid: Grid = Field(8, description="Activations are averaged to grid x grid positions.")
    batch: Batch = Field(32, description="Pictures at a time.")
    alphas: Penalties = Field(
        [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0],
        min_length=2,
        description="Penalties to choose from for each voxel, in units of a kernel whose diagonal averages 1.",
    )
    folds: Folds = Field(5, description="Folds of the cross-validation over images.")
    permutations: int = Field(
        1000, ge=19, le=100_000, description="Assignments of test images that give the null distribution."
    )
    false_discoveries: Share = Field(0.05, description="Rate of false discoveries among significant voxels.")
    regions: Unique[Name] = Field(
        ["V1", "V2", "V3", "hV4", "ventral", "lateral", "parietal"],
        min_length=1,
        description="Regions of the dataset in the order of the figure, early ones first.",
    )
    early: Unique[Name] = Field(["early"], min_length=1, description="Regions that form early visual cortex.")
    higher: Unique[Name] = Field(
        ["midlateral", "midparietal", "ventral", "lateral", "parietal"],
        min_length=1,
        description="Regions that form higher visual cortex (NSD's midventral region contains hV4).",
    )

    def steps_at(self, noise: float) -> int:
        """How many of the steps run from this level of noise, at least one."""
        return max(1, round(noise * self.steps))

    @property
    def traced_at(self) -> list[int]:
        """Numbers of the analysed denoising steps, from 1, ascending."""
        last = self.steps_at(self.traced_noise)
        count = min(self.traced_steps, last)
        return sorted({round(1 + k * (last - 1) / max(count - 1, 1)) for k in range(count)})

    @model_validator(mode="after")
    def _traced_level_is_made(self) -> "EncodingSettings":
        if self.traced_noise not in self.noise_levels:
            raise base.WrongKey("traced_noise", f"{self.traced_noise:g} is not among noise_levels; add it there")
        runs = [self.steps_at(noise) for noise in self.noise_levels]
        if len(set(runs)) < len(runs):
            raise base.WrongKey("noise_levels", f"two levels run equally many of {self.steps} steps; raise `steps`")
        return self


class GenerationSettings(base.Settings):
    """Image-to-image drawing from decoded latents under decoded text states."""

    steps: Steps = Field(50, description="Denoising steps of the whole schedule (DDIM, eta 0).")
    strength: Level = Field(
        0.8, description="Share of the steps that run on the noised picture of z; 1: pure noise, without z."
    )
    guidance: Guidance = Field(5.0, description="Scale of classifier-free guidance.")
    samples: Samples = Field(
        5, description="Pictures drawn of each image, which differ in their noise; scores are means over them."
    )
    batch: Batch = Field(8, description="Pictures at a time.")
    one_step_noisier: bool = Field(
        False,
        description="Noise to the level of the step before the first that runs, as the released code does.",
    )


class Settings(base.Settings):
    """Takagi & Nishimoto (CVPR 2023), and the variant with decoded captions of their technical report."""

    generator: Annotated[Name, Network("diffusers_unet")] = Field(description="The text-to-image network.")
    autoencoder: Annotated[Name, Network("diffusers_vae")] = Field(description="Its autoencoder, whose latents are z.")
    prompts: Annotated[Name, Network("open_clip", "clip_text", "sdxl_text")] = Field(
        description="Its text encoder, whose states are c."
    )
    captioner: Annotated[Name, Network("git", "blip")] = Field(description="Captioner of the variant with captions.")
    caption_tokens: Annotated[Name, Network("open_clip", "git", "blip")] = Field(
        description="The network whose image tokens the captioner takes; itself, if it has an image encoder."
    )
    latent_size: LatentSide = Field(320, description="Side in pixels of the pictures whose latents are z.")
    z_regions: Unique[Name] = Field(["early"], min_length=1, description="Regions from which z is decoded.")
    c_regions: Unique[Name] = Field(["ventral"], min_length=1, description="Regions from which c is decoded.")
    caption_regions: Unique[Name] = Field(
        ["early", "ventral", "midventral", "midlateral", "lateral", "parietal"],
        min_length=1,
        description="Regions from which the captioner's image tokens are decoded.",
    )
    alphas: Penalties = Field(
        [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6],
        min_length=1,
        description="Penalties of z and c to choose from; the released code has 1e-6 to 1, whose largest is taken.",
    )
    caption_alphas: Penalties = Field(
        [1e4, 2e4, 4e4, 1e5, 1e6], min_length=1, description="Penalties of the captioner's tokens to choose from."
    )
    penalty_per: Literal["all", "value"] = Field(
        "value", description="Whether all targets have one penalty or each has its own, as in the paper."
    )
    folds: Folds = Field(5, description="Folds of the cross-validation over images.")
    calibration: Literal["none", "training_images", "test_batch"] = Field(
        "training_images", description="What gives predictions the mean and spread of true targets; the paper: nothing."
    )
    generation: GenerationSettings = Field(GenerationSettings(), description="How pictures are drawn.")
    encoding: EncodingSettings = Field(EncodingSettings(), description="The encoding analysis.")

    def check(self, study: Any) -> None:
        """Raises UserError for a subject or a region of the analysis that the dataset lacks."""
        if "takagi.encoding" not in study.analyses:
            return
        for subject in self.encoding.subjects or []:
            if subject not in study.available_sessions:
                raise problem(
                    "takagi.encoding.subjects", f"dataset {study.dataset.name} has no subject '{subject}'; "
                    f"{nearest(subject, study.available_sessions)}",
                )  # fmt: skip
        for key in ("regions", "early", "higher"):
            check_regions(study, f"takagi.encoding.{key}", getattr(self.encoding, key))
