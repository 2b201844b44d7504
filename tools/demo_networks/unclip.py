"""Training of an unCLIP generator: a UNet of the SDXL kind learns to draw the picture that image tokens came from.

One recipe for both sizes: recipes/unclip_demo.yaml (the demo's, on drawn scenes) and recipes/unclip_sdxl.yaml (the
paper's, on photographs). They differ in the pictures (pictures.py), in the network they start from, and in numbers.
The keys of a recipe:

    pictures       see pictures.open_pictures
    start          `build` (a network of these sizes, from nothing) or `network` (a text-to-image entry of
                   config/backbones.yaml) with `size_columns` and `sample_size` (initialisation.py)
    scheduler      configuration of the diffusers scheduler that is stored with the network and gives the noise
                   schedule and the kind of prediction
    token_mixing   share of pictures whose tokens are mixed with others' (mixed_with_others)
    token_dropout, offset_noise, timesteps    see unet.noised
    betas          AdamW's
    training       the engine's keys, with `steps` and `warmup_steps` (stages.engine_configuration)
"""

import json
import time
from pathlib import Path

import torch
import yaml
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel

from demo_networks.bank import unseen_scenes
from demo_networks.clip import GRID, embed
from demo_networks.fidelity import efficientnet_features, psnr, retrieval_top1, two_way_identification
from demo_networks.initialisation import initialise_from
from demo_networks.pictures import ALL, open_pictures
from demo_networks.stages import (
    RecipeTask,
    engine_configuration,
    main_process_first,
    settings_of,
    train_stage,
    working_device,
)
from demo_networks.unet import GUIDANCE, INTERFACE, build, frozen, losses, noised, pixel_correlation, sample
from demo_networks.vae import to_images
from fmri2img.backbones.generators import scheduler_from_config
from fmri2img.backbones.registry import Backbone, expect_kind, load_registry
from fmri2img.errors import UserError
from fmri2img.training.configuration import TrainingConfig

KEYS = (
    "pictures", "start", "scheduler", "token_mixing", "token_dropout", "offset_noise", "timesteps", "betas", "training",
)  # fmt: skip
TIMESTEPS = ("uniform", "late")


def read_recipe(path: Path) -> dict:
    """A recipe file, checked. Raises UserError naming the file and the key that is missing, unknown or wrong."""
    if not path.is_file():
        raise UserError(f"{path}: no such recipe file; give the path of tools/demo_networks/recipes/unclip_demo.yaml")
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in sorted(set(KEYS) ^ set(recipe)):
        state = "missing; add it" if key in KEYS else "unknown; remove it"
        raise UserError(f"{path}: key '{key}' is {state}")
    if recipe["timesteps"] not in TIMESTEPS:
        raise UserError(f"{path}: key 'timesteps': choose one of {', '.join(TIMESTEPS)}")
    try:
        engine_configuration(recipe["training"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return recipe


def first_weights(start: dict, seed: int, latent: tuple[int, ...], token_width: int, registry: dict[str, Backbone]):
    """The untrained UNet of a recipe's `start`. Draws from torch's global generator, seeded with `seed`."""
    torch.manual_seed(seed)
    if "build" in start:
        return build(start["build"], latent, token_width)
    if start.get("network") not in registry:
        raise UserError(
            f"recipe: key 'start.network': {start.get('network')!r} is not an entry of config/backbones.yaml; register "
            "it, or give 'start.build'"
        )
    backbone = registry[start["network"]]
    expect_kind(backbone, "diffusers_unet")
    folder = backbone.checked_folder() / backbone.record.get("subfolder", "")
    base = UNet2DConditionModel.from_pretrained(folder).float()
    return initialise_from(base, token_width, start.get("size_columns", "sizes"), start.get("sample_size"))


def mixed_with_others(tokens: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Tokens (batch, length, width) of which a share is mixed with those of other scenes in the batch.

    A linear decoder's tokens are weighted sums of training scenes' tokens: part the right scene, part others at random,
    and of the true spread. Conditions are augmented with that error in place of unCLIP's white noise (Ramesh et al.
    2022), so that the generator draws a plausible scene from them. The right scene keeps 0.3 to all of the variance.
    """
    n = len(tokens)
    about = tokens - tokens.mean(dim=0)
    random = {"generator": generator, "device": tokens.device}
    weights = torch.randn(n, n, **random).fill_diagonal_(0)
    others = torch.einsum("ij,jtw->itw", weights / weights.norm(dim=1, keepdim=True), about)
    kept = 0.3 + 0.7 * torch.rand(n, 1, 1, **random)
    mixed = tokens.mean(dim=0) + kept.sqrt() * about + (1 - kept).sqrt() * others
    return torch.where(torch.rand(n, 1, 1, **random) < share, mixed, tokens)


class UnclipTask(RecipeTask):
    """settings: also `siblings`, the folder that holds the demo's `clip` and `vae`."""

    def __init__(self, settings: dict, training: TrainingConfig) -> None:
        registry, work, siblings = load_registry(), Path(settings["work"]), Path(settings["siblings"])
        with main_process_first():
            self.pictures = open_pictures(settings["pictures"], siblings, work, working_device(), registry)
        self.levels = DDPMScheduler.from_config(scheduler_from_config(settings["scheduler"]).config)
        latent, width = self.pictures.latent_shape, self.pictures.token_width
        unet = first_weights(settings["start"], training.seed, latent, width, registry)
        if training.activation_checkpointing:
            unet.enable_gradient_checkpointing()
        super().__init__(settings, training, unet)

    def sources(self):
        return self.pictures.sources()

    def draw(self, rng, noise, batch, rows, device):
        mixing = self.settings["token_mixing"]
        # mixing needs the tokens of the whole batch
        latents, tokens, time_ids = self.pictures.batch(rng, batch, ALL if mixing else rows)
        if mixing:
            latents, time_ids = latents[rows], time_ids[rows]
            tokens = mixed_with_others(tokens, mixing, noise)[rows]
        keys = ("offset_noise", "timesteps")
        drawn = noised(
            self.levels, latents, batch, rows, noise, self.settings["token_dropout"],
            **{key: self.settings[key] for key in keys},
        )  # fmt: skip
        return drawn | {"tokens": tokens, "time_ids": time_ids}

    def losses(self, network, **noisy):
        return losses(network, self.levels, **noisy)

    def save(self, directory, metadata):
        self.network.save_pretrained(directory / "unet")


def train(recipe: dict, bank: dict | None, work: Path, siblings: Path) -> float:
    """Train the network; returns the seconds it took. The recipe's `pictures` say which bank, if any."""
    settings = settings_of(recipe, work=str(work), siblings=str(siblings))
    return train_stage("demo_networks.unclip:UnclipTask", settings, recipe["training"], work / "unclip")


def package(recipe: dict, work: Path, siblings: Path, folder: Path) -> dict:
    """Write the network's files and its recipe into `folder`; returns what the demo's card says of it."""
    unet = UNet2DConditionModel.from_pretrained(work / "unclip" / "unet")
    save(folder, unet, recipe)
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n")
    tokens = f"encoder_hidden_states: the encoder's {GRID * GRID} tokens; all zeros stand for 'no condition' (guidance)"
    return {"parameters": sum(p.numel() for p in unet.parameters()), "notes": [tokens, *INTERFACE]}


def save(folder: Path, unet: UNet2DConditionModel, recipe: dict) -> None:
    """unet/ (float16) and scheduler/, as backbones.generators.load_generator reads them."""
    unet.half().save_pretrained(folder / "unet")
    scheduler_from_config(recipe["scheduler"]).save_pretrained(folder / "scheduler")


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
