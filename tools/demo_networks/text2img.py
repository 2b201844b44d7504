"""Recipe of the demo's text-to-image generator, which takes the states of the image-text model's text tower."""

from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from demo_networks.bank import SIDE, training_bank, unseen_scenes
from demo_networks.clip import embed, embed_text, to_ids
from demo_networks.fidelity import retrieval_top1, two_way_identification
from demo_networks.stages import RecipeTask, settings_of, train_stage, weights_digest, working_device
from demo_networks.unet import (
    GUIDANCE,
    build,
    frozen,
    losses,
    noise_schedule,
    noised,
    packaged,
    pixel_correlation,
    sample,
)
from demo_networks.vae import encoder_digest, latent_shape, latents_of, to_images, to_latents
from demo_networks.vocabulary import build_tokenizer, encode
from fmri2img.training.configuration import TrainingConfig


@torch.no_grad()
def text_tokens(clip, text_ids: torch.Tensor) -> torch.Tensor:
    """Text tower's states after ln_final at every position, padding included: (n, context, width)."""
    x = clip.token_embedding(text_ids) + clip.positional_embedding
    return clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask))


def blurred(images: np.ndarray) -> np.ndarray:
    """Pictures reduced to 8 x 8 and enlarged again: stand-ins for poor reconstructions."""
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.adaptive_avg_pool2d(x, 8)
    large = torch.nn.functional.interpolate(small, size=SIDE, mode="bilinear")
    return large.clamp(0, 255).round().byte().permute(0, 2, 3, 1).numpy()


def measure(folder: Path, siblings: Path, stream: int, device, count=200) -> dict:
    """Does a drawing fit its sentence, and does img2img bring poor pictures nearer to the scene?"""
    clip, vae = frozen(siblings, device)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").float().to(device).eval()
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    context = len(clip.positional_embedding)
    _, images, sentences = unseen_scenes(count, stream)
    rng = np.random.default_rng(0)
    ids = encode(build_tokenizer(), [five[rng.integers(5)] for five in sentences], context)
    tokens = text_tokens(clip, to_ids(ids, device)).cpu().numpy()
    text, (truth, _) = embed_text(clip, ids, device), embed(clip, images, device)
    drawn, _ = embed(clip, to_images(vae, sample(unet, scheduler, tokens, guidance=GUIDANCE), device), device)
    poor = blurred(images)
    start = to_latents(vae, poor, device)
    refined = to_images(vae, sample(unet, scheduler, tokens, latents=start, strength=0.7, guidance=GUIDANCE), device)
    pools = np.split(np.arange(count), count // 100)
    return {
        "text_to_drawing_top1_of_100": float(np.mean([retrieval_top1(text[p], drawn[p]) for p in pools])),
        "text_to_scene_top1_of_100": float(np.mean([retrieval_top1(text[p], truth[p]) for p in pools])),
        "img2img_two_way_before": two_way_identification(truth, embed(clip, poor, device)[0]),
        "img2img_two_way_after": two_way_identification(truth, embed(clip, refined, device)[0]),
        "img2img_pixel_correlation_before": pixel_correlation(images, poor),
        "img2img_pixel_correlation_after": pixel_correlation(images, refined),
    }


class TextToImageTask(RecipeTask):
    """settings: also `siblings`, the folder that holds `clip`, `vae` and the network to start from."""

    def __init__(self, settings: dict, training: TrainingConfig) -> None:
        work, siblings, device = Path(settings["work"]), Path(settings["siblings"]), working_device()
        self.clip, vae = frozen(siblings, device)
        self.bank = training_bank(work, **settings["bank"]).thinned(settings["every"])
        self.latents, self.digest = latents_of(vae, self.bank, work, device), encoder_digest(vae)
        self.levels = noise_schedule()
        torch.manual_seed(training.seed)
        unet = build(settings, latent_shape(vae), self.clip.token_embedding.weight.shape[1])
        start = UNet2DConditionModel.from_pretrained(siblings / settings["start_from"] / "unet")
        unet.load_state_dict(start.state_dict())
        self.start = weights_digest(unet.parameters())
        super().__init__(settings, training, unet)

    def sources(self):
        text = [*self.clip.token_embedding.parameters(), self.clip.positional_embedding]
        text += [*self.clip.transformer.parameters(), *self.clip.ln_final.parameters()]
        return {"latents": self.digest, "text tower": weights_digest(text), "first weights": self.start}

    def draw(self, rng, noise, batch, rows, device):
        chosen = np.sort(rng.choice(self.bank.whole, batch, replace=False))
        latents = torch.from_numpy(self.latents[chosen[rows]].astype(np.float32)).to(device)
        ids = self.bank.text_ids[chosen, rng.integers(5, size=batch)]
        time_ids = torch.from_numpy(self.bank.time_ids[chosen[rows]].astype(np.float32)).to(device)
        drawn = noised(self.levels, latents, batch, rows, noise, self.settings["token_dropout"])
        return drawn | {"text_ids": to_ids(ids[rows], device), "time_ids": time_ids}

    def losses(self, network, text_ids, **noisy):
        return losses(network, self.levels, tokens=text_tokens(self.clip, text_ids), **noisy)

    def save(self, directory, metadata):
        self.network.save_pretrained(directory / "unet")


def train(recipe: dict, bank: dict, work: Path, siblings: Path) -> float:
    """Train the network; returns the seconds it took."""
    settings = settings_of(recipe, bank=bank, work=str(work), siblings=str(siblings))
    return train_stage("demo_networks.text2img:TextToImageTask", settings, recipe["training"], work / "text2img")


def package(recipe: dict, work: Path, siblings: Path, folder: Path) -> dict:
    """Write the network's files into `folder`; returns what the card says of it."""
    states = "the text tower's states after ln_final at all context positions, padding included"
    return packaged(work / "text2img" / "unet", folder, f"{states}; all zeros stand for 'no condition' (guidance)")
