"""Recipe of the demo's text-to-image generator, which hears the states of the image-text model's text tower."""

from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from fmri2img.backbones.training.bank import SIDE, precomputed, unseen_scenes
from fmri2img.backbones.training.clip import embed, embed_text
from fmri2img.backbones.training.fidelity import retrieval_top1, two_way_identification
from fmri2img.backbones.training.unet import (
    GUIDANCE,
    INTERFACE,
    build,
    frozen,
    losses,
    noise_schedule,
    pixel_correlation,
    sample,
)
from fmri2img.backbones.training.vae import encoder_digest, latent_shape, to_images, to_latents
from fmri2img.backbones.training.vocabulary import build_tokenizer, encode


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
    tokens = text_tokens(clip, torch.from_numpy(ids.astype(np.int64)).to(device)).cpu().numpy()
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


def train(recipe: dict, bank, work: Path, folder: Path, device, fit, schedule, siblings: Path) -> dict:
    """Train, save into `folder`, and return what the card says: parameters, seconds, notes."""
    clip, vae = frozen(siblings, device)
    bank = bank.thinned(recipe["every"])
    shape = latent_shape(vae)
    latents = precomputed(
        work.parent, "latents", encoder_digest(vae), bank.images, shape, lambda x: to_latents(vae, x, device)
    )
    torch.manual_seed(schedule.seed)
    unet = build(recipe, shape, clip.token_embedding.weight.shape[1])
    start = UNet2DConditionModel.from_pretrained(siblings / recipe["start_from"] / "unet")
    unet.load_state_dict(start.state_dict())
    scheduler = noise_schedule()

    def loss_of(module, rng):
        chosen = np.sort(rng.choice(bank.whole, schedule.batch, replace=False))
        z = torch.from_numpy(latents[chosen].astype(np.float32)).to(device)
        ids = bank.text_ids[chosen, rng.integers(5, size=schedule.batch)].astype(np.int64)
        context = text_tokens(clip, torch.from_numpy(ids).to(device))
        time_ids = torch.from_numpy(bank.time_ids[chosen].astype(np.float32)).to(device)
        return losses(module, scheduler, z, context, time_ids, recipe["token_dropout"])

    fitted = fit(unet, loss_of, schedule, work, device)
    fitted.module.half().save_pretrained(folder / "unet")
    scheduler.save_pretrained(folder / "scheduler")
    heard = "the text tower's states after ln_final at all context positions, padding included"
    return {
        "parameters": sum(p.numel() for p in fitted.module.parameters()),
        "seconds": fitted.seconds,
        "notes": [
            f"encoder_hidden_states: {heard}; all zeros stand for 'no condition' (guidance)",
            *INTERFACE,
        ],
    }
