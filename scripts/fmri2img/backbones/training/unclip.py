"""Training of an unCLIP generator: a UNet of the SDXL kind learns to draw the picture that image tokens came from.

One recipe for both sizes: config/unclip_demo.yaml (the demo's, on drawn scenes) and config/unclip_sdxl.yaml (the
paper's, on photographs). They differ in the pictures (pictures.py), in the network they start from, and in numbers.
"""

import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import yaml
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel

from fmri2img.backbones.generators import scheduler_from_config
from fmri2img.backbones.registry import Backbone, expect_kind
from fmri2img.backbones.training.bank import unseen_scenes
from fmri2img.backbones.training.clip import embed
from fmri2img.backbones.training.fidelity import efficientnet_features, psnr, retrieval_top1, two_way_identification
from fmri2img.backbones.training.fitting import Fitted, Schedule, fit
from fmri2img.backbones.training.initialisation import initialise_from
from fmri2img.backbones.training.unet import GUIDANCE, build, frozen, losses, pixel_correlation, sample
from fmri2img.backbones.training.vae import to_images
from fmri2img.errors import UserError

TIMESTEPS = ("uniform", "late")


@dataclass(frozen=True)
class Recipe:
    """A recipe file, key by key.

    pictures: see pictures.open_pictures. start: `build` (a network of these sizes, from nothing) or `network` (a
    text-to-image entry of config/backbones.yaml) with `size_columns` and `sample_size` (initialisation.py).
    scheduler: configuration of the diffusers scheduler that is stored with the network and gives the noise schedule
    and the kind of prediction. token_dropout, offset_noise, timesteps: see unet.losses. token_mixing: see
    mixed_with_others. gradient_checkpointing: recompute activations, for less memory. schedule: see Schedule.
    """

    pictures: dict
    start: dict
    scheduler: dict
    token_dropout: float
    token_mixing: float
    offset_noise: float
    timesteps: str
    gradient_checkpointing: bool
    schedule: Schedule

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        """Raises UserError naming the file and the key that is missing, unknown or wrong."""
        if not path.is_file():
            raise UserError(f"{path}: no such recipe file; give the path of config/unclip_demo.yaml with --config")
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
        known = {field.name for field in fields(cls)}
        for key in sorted(known ^ set(record)):
            state = "missing; add it" if key in known else "unknown; remove it"
            raise UserError(f"{path}: key '{key}' is {state}")
        if record["timesteps"] not in TIMESTEPS:
            raise UserError(f"{path}: key 'timesteps': choose one of {', '.join(TIMESTEPS)}")
        unknown = set(record["schedule"]) - {field.name for field in fields(Schedule)}
        if unknown:
            raise UserError(f"{path}: key 'schedule.{min(unknown)}' is unknown; remove it")
        for key in ("steps", "batch", "learning_rate"):
            if key not in record["schedule"]:
                raise UserError(f"{path}: key 'schedule.{key}' is missing; add it")
        return cls(**record | {"schedule": Schedule(**record["schedule"])})


def first_weights(recipe: Recipe, latent: tuple[int, ...], token_width: int, registry: dict[str, Backbone]):
    """The untrained UNet of a recipe. Draws from torch's global generator, seeded with the schedule's seed."""
    torch.manual_seed(recipe.schedule.seed)
    start = recipe.start
    if "build" in start:
        return build(start["build"], latent, token_width)
    if start.get("network") not in registry:
        raise UserError(
            f"recipe: key 'start.network': {start.get('network')!r} is no entry of config/backbones.yaml; register it, "
            "or give 'start.build'"
        )
    backbone = registry[start["network"]]
    expect_kind(backbone, "diffusers_unet")
    folder = backbone.checked_folder() / backbone.record.get("subfolder", "")
    base = UNet2DConditionModel.from_pretrained(folder).float()
    return initialise_from(base, token_width, start.get("size_columns", "sizes"), start.get("sample_size"))


def mixed_with_others(tokens: torch.Tensor, share: float) -> torch.Tensor:
    """Tokens (batch, length, width) of which a share is mixed with those of other scenes in the batch.

    A linear decoder's tokens are weighted sums of training scenes' tokens: part the right scene, part others at random,
    and of the true spread. Conditions are augmented with that error in place of unCLIP's white noise (Ramesh et al.
    2022), so that the generator draws a plausible scene from them. The right scene keeps 0.3 to all of the variance.
    """
    n = len(tokens)
    about = tokens - tokens.mean(dim=0)
    weights = torch.randn(n, n, device=tokens.device).fill_diagonal_(0)
    others = torch.einsum("ij,jtw->itw", weights / weights.norm(dim=1, keepdim=True), about)
    kept = 0.3 + 0.7 * torch.rand(n, 1, 1, device=tokens.device)
    mixed = tokens.mean(dim=0) + kept.sqrt() * about + (1 - kept).sqrt() * others
    return torch.where(torch.rand(n, 1, 1, device=tokens.device) < share, mixed, tokens)


def train(recipe: Recipe, pictures, unet: UNet2DConditionModel, work: Path, log=print) -> Fitted:
    """Train `unet` on `pictures`; checkpoints lie in `work`. A killed run goes on where it was.

    Raises UserError when `work` holds a checkpoint of another recipe.
    """
    noise_levels = DDPMScheduler.from_config(scheduler_from_config(recipe.scheduler).config)
    if recipe.gradient_checkpointing:
        unet.enable_gradient_checkpointing()

    def loss_of(module, rng):
        latents, tokens, time_ids = pictures.batch(rng, recipe.schedule.batch)
        if recipe.token_mixing:
            tokens = mixed_with_others(tokens, recipe.token_mixing)
        return losses(
            module, noise_levels, latents, tokens, time_ids, recipe.token_dropout, recipe.offset_noise, recipe.timesteps
        )

    return fit(unet, loss_of, recipe.schedule, work, pictures.device, log, recipe=asdict(recipe))


def save(folder: Path, unet: UNet2DConditionModel, recipe: Recipe) -> None:
    """unet/ (float16) and scheduler/, as backbones.generators.load_generator reads them."""
    unet.half().save_pretrained(folder / "unet")
    scheduler_from_config(recipe.scheduler).save_pretrained(folder / "scheduler")


def measure(folder: Path, siblings: Path, stream: int, device, count=300) -> dict:
    """Fidelity of the pictures that the demo's network draws from the tokens of unseen scenes."""
    clip, vae = frozen(siblings, device)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").float().to(device).eval()
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    _, images, _ = unseen_scenes(count, stream)
    pooled, tokens = embed(clip, images, device)
    began = time.monotonic()
    copies = to_images(vae, sample(unet, scheduler, tokens, guidance=GUIDANCE), device)
    seconds = (time.monotonic() - began) / count
    redrawn, _ = embed(clip, copies, device)
    features = [efficientnet_features(x) for x in (images, copies)]
    return {
        "two_way_own_encoder": two_way_identification(pooled, redrawn),
        "two_way_efficientnet_lite2": two_way_identification(*features),
        "top1_of_300_own_encoder": retrieval_top1(redrawn, pooled),
        "pixel_correlation": pixel_correlation(images, copies),
        "psnr_db": psnr(images, copies),
        "seconds_per_image": seconds,
        "sampling_steps": 12,
        "guidance": GUIDANCE,
    }
