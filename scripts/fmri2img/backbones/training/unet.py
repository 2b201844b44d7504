"""Recipes of the demo's two diffusion networks, both diffusers UNet2DConditionModel of the SDXL kind.

`unclip` hears the 64 image tokens by cross-attention, `text2img` the text tower's token states. Both are trained on
latents of the bank with the velocity target (Salimans & Ho 2022) on a schedule with zero terminal signal-to-noise
ratio (Lin et al. 2024), so that sampling starts from pure noise, as in training, and few steps do.
"""

import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from fmri2img.backbones.training.bank import SIDE, precomputed, unseen_scenes
from fmri2img.backbones.training.clip import GRID, embed, embed_text, vision_digest
from fmri2img.backbones.training.fidelity import efficientnet_features, psnr, retrieval_top1, two_way_identification
from fmri2img.backbones.training.vae import encoder_digest, latent_shape, to_images, to_latents
from fmri2img.backbones.training.vocabulary import build_tokenizer, encode

CODE = 256
GUIDANCE = 2.0  # classifier-free guidance that fidelity is measured at, as the demo study samples


def build(recipe: dict, latent: tuple[int, int, int], context_width: int) -> UNet2DConditionModel:
    """UNet for latents (channels, side, side); the first `plain` levels have no attention."""
    channels, plain = recipe["block_out_channels"], recipe["plain"]
    attended = len(channels) - plain
    return UNet2DConditionModel(
        sample_size=latent[1],
        in_channels=latent[0],
        out_channels=latent[0],
        block_out_channels=channels,
        down_block_types=["DownBlock2D"] * plain + ["CrossAttnDownBlock2D"] * attended,
        up_block_types=["CrossAttnUpBlock2D"] * attended + ["UpBlock2D"] * plain,
        layers_per_block=recipe["layers_per_block"],
        attention_head_dim=recipe["heads"],
        norm_num_groups=recipe["norm_num_groups"],
        cross_attention_dim=context_width,
        use_linear_projection=True,
        time_embedding_dim=recipe["time_embedding_dim"],
        addition_embed_type="text_time",
        addition_time_embed_dim=CODE,
        projection_class_embeddings_input_dim=4 * CODE,
    )


def noise_schedule() -> DDIMScheduler:
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )


def velocity(unet, noisy, timesteps, tokens, time_ids):
    """Prediction of the UNet; time_ids (batch, 4): original height and width, crop top and left."""
    added = {"text_embeds": noisy.new_zeros(len(noisy), 0), "time_ids": time_ids}
    return unet(noisy, timesteps, encoder_hidden_states=tokens, added_cond_kwargs=added).sample


def losses(unet, scheduler, latents, tokens, time_ids, dropout: float) -> dict[str, torch.Tensor]:
    """Mean squared error of the velocity at random times; a share `dropout` of scenes has its tokens set to zero."""
    noise = torch.randn_like(latents)
    # Late times are drawn more often: there the picture is decided, and from its tokens alone.
    late = torch.rand(len(latents), device=latents.device).sqrt()
    timesteps = (late * scheduler.config.num_train_timesteps).long().clamp(max=scheduler.config.num_train_timesteps - 1)
    kept = (torch.rand(len(latents), 1, 1, device=latents.device) >= dropout).to(tokens.dtype)
    noisy = scheduler.add_noise(latents, noise, timesteps)
    target = scheduler.get_velocity(latents, noise, timesteps)
    return {"v": (velocity(unet, noisy, timesteps, tokens * kept, time_ids).float() - target).square().mean()}


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


@torch.no_grad()
def sample(unet, scheduler, tokens, latents=None, steps=12, strength=1.0, guidance=1.0, seed=0, batch=100):
    """Latents (n, channels, side, side) float32 drawn for tokens (n, length, width), by DDIM without added noise.

    With `latents` given, they are noised to the share `strength` of the schedule first (img2img).
    """
    device = next(unet.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    side, channels = unet.config.sample_size, unet.config.in_channels
    parts = []
    for start in range(0, len(tokens), batch):
        context = torch.as_tensor(tokens[start : start + batch]).float().to(device)
        n = len(context)
        time_ids = torch.tensor([[SIDE, SIDE, 0, 0]] * n, device=device, dtype=torch.float32)
        scheduler.set_timesteps(steps, device=device)
        times = scheduler.timesteps[steps - max(1, round(steps * strength)) :]
        x = torch.randn(n, channels, side, side, generator=generator).to(device)
        if latents is not None:
            known = torch.as_tensor(latents[start : start + batch]).float().to(device)
            x = scheduler.add_noise(known, x, times[:1].expand(n))
        for t in times:
            v = velocity(unet, x, t, context, time_ids)
            if guidance != 1.0:
                free = velocity(unet, x, t, torch.zeros_like(context), time_ids)
                v = free + guidance * (v - free)
            x = scheduler.step(v, t, x).prev_sample
        parts.append(x.cpu().numpy())
    return np.concatenate(parts)


@torch.no_grad()
def text_tokens(clip, text_ids: torch.Tensor) -> torch.Tensor:
    """Text tower's states after ln_final at every position, padding included: (n, context, width)."""
    x = clip.token_embedding(text_ids) + clip.positional_embedding
    return clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask))


def frozen(siblings: Path, device):
    clip = open_clip.create_model(f"local-dir:{siblings / 'clip'}").to(device).eval().requires_grad_(False)
    vae = AutoencoderKL.from_pretrained(siblings / "vae").float().to(device).eval().requires_grad_(False)
    return clip, vae.to(memory_format=torch.channels_last)


def measure_unclip(unet, scheduler, clip, vae, device, count=300) -> dict:
    _, images, _ = unseen_scenes(count)
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


def pixel_correlation(truth, copies) -> float:
    pairs = zip(truth.reshape(len(truth), -1), copies.reshape(len(copies), -1), strict=True)
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]))


def blurred(images: np.ndarray) -> np.ndarray:
    """Pictures reduced to 8 x 8 and enlarged again: stand-ins for poor reconstructions."""
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.adaptive_avg_pool2d(x, 8)
    large = torch.nn.functional.interpolate(small, size=SIDE, mode="bilinear")
    return large.clamp(0, 255).round().byte().permute(0, 2, 3, 1).numpy()


def measure_text2img(unet, scheduler, clip, vae, device, context, count=200) -> dict:
    _, images, sentences = unseen_scenes(count)
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
    """Train, save into `folder`, and return what the card says: parameters, seconds, fidelity."""
    clip, vae = frozen(siblings, device)
    bank = bank.thinned(recipe["every"])
    latents = precomputed(
        work.parent,
        "latents",
        encoder_digest(vae),
        bank.images,
        latent_shape(vae),
        lambda x: to_latents(vae, x, device),
    )
    by_text = recipe["context"] == "text"
    width = clip.token_embedding.weight.shape[1] if by_text else clip.visual.ln_post.weight.shape[0]
    if not by_text:
        tokens = precomputed(
            work.parent,
            "tokens",
            vision_digest(clip),
            bank.images,
            (GRID * GRID, width),
            lambda x: embed(clip, x, device)[1],
        )
    torch.manual_seed(schedule.seed)
    unet = build(recipe, latent_shape(vae), width)
    if recipe["start_from"]:
        start = UNet2DConditionModel.from_pretrained(siblings / recipe["start_from"] / "unet")
        unet.load_state_dict(start.state_dict())
    scheduler = noise_schedule()

    def loss_of(module, rng):
        chosen = np.sort(rng.choice(bank.whole if by_text else len(latents), schedule.batch, replace=False))
        z = torch.from_numpy(latents[chosen].astype(np.float32)).to(device)
        if by_text:
            ids = bank.text_ids[chosen, rng.integers(5, size=schedule.batch)].astype(np.int64)
            context = text_tokens(clip, torch.from_numpy(ids).to(device))
        else:
            context = torch.from_numpy(tokens[chosen].astype(np.float32)).to(device)
            context = mixed_with_others(context, recipe["token_mixing"])
        time_ids = torch.from_numpy(bank.time_ids[chosen].astype(np.float32)).to(device)
        return losses(module, scheduler, z, context, time_ids, recipe["token_dropout"])

    fitted = fit(unet, loss_of, schedule, work, device)
    fitted.module.half().save_pretrained(folder / "unet")
    scheduler.save_pretrained(folder / "scheduler")
    # The autoencoder's decoder may have been refined since, with the same latents.
    clip, vae = frozen(siblings, device)
    loaded = UNet2DConditionModel.from_pretrained(folder / "unet").float().to(device).eval()
    if by_text:
        fidelity = measure_text2img(loaded, scheduler, clip, vae, device, bank.text_ids.shape[-1])
        heard = "the text tower's states after ln_final at all context positions, padding included"
    else:
        fidelity = measure_unclip(loaded, scheduler, clip, vae, device)
        heard = "the encoder's 64 patch tokens, as they come from the vision tower"
    return {
        "parameters": sum(p.numel() for p in loaded.parameters()),
        "seconds": fitted.seconds,
        "fidelity": fidelity,
        "notes": [
            f"encoder_hidden_states: {heard}; all zeros stand for 'no condition' (guidance)",
            "added_cond_kwargs: text_embeds of width 0; time_ids (original height, width, crop top, left), "
            f"({SIDE}, {SIDE}, 0, 0) for a whole picture",
            "scheduler/: DDIM, velocity prediction, zero terminal SNR, trailing spacing; 10 to 15 steps",
        ],
    }
