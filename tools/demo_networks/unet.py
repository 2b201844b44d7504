"""What the demo's diffusion networks share: all are diffusers UNet2DConditionModel of the SDXL kind.

By cross-attention, `unclip` (unclip.py) takes the 64 image tokens, `text2img` (text2img.py) the text tower's token
states, and `joint2img` (joint2img.py) one joint vector. They are trained with the velocity target (Salimans & Ho 2022)
on a schedule with zero terminal signal-to-noise ratio (Lin et al. 2024), so that sampling starts from pure noise, as in
training, and few steps do.
"""

from pathlib import Path

import numpy as np
import open_clip
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from demo_networks.bank import SIDE

CODE = 256
INTERFACE = (
    "added_cond_kwargs: text_embeds of width 0; time_ids (original height, width, crop top, left), "
    f"({SIDE}, {SIDE}, 0, 0) for a whole picture",
    "scheduler/: DDIM, velocity prediction, zero terminal SNR, trailing spacing; 10 to 15 steps",
)
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


def packaged(trained: Path, folder: Path, condition: str) -> dict:
    """Write a trained network, as float16, and its schedule into `folder`; returns what the card says of it.

    condition: what its encoder_hidden_states are.
    """
    unet = UNet2DConditionModel.from_pretrained(trained)
    unet.half().save_pretrained(folder / "unet")
    noise_schedule().save_pretrained(folder / "scheduler")
    parameters = sum(parameter.numel() for parameter in unet.parameters())
    return {"parameters": parameters, "notes": [f"encoder_hidden_states: {condition}", *INTERFACE]}


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


def predict(unet, noisy, timesteps, tokens, time_ids):
    """Prediction of the UNet; time_ids (batch, 4): original height and width, crop top and left."""
    added = {"text_embeds": noisy.new_zeros(len(noisy), 0), "time_ids": time_ids}
    return unet(noisy, timesteps, encoder_hidden_states=tokens, added_cond_kwargs=added).sample


def noised(
    scheduler, latents, batch: int, rows: slice, generator, dropout: float, offset_noise=0.0, timesteps="late"
) -> dict[str, torch.Tensor]:
    """Latents with noise at random times, and what the UNet is to predict: the noise or the velocity.

    latents: (pictures, channels, height, width), the pictures at `rows` of a batch of `batch`; what is random is drawn
    from `generator` for the whole batch. scheduler: one that adds noise in the variance-preserving way (DDPM or DDIM);
    its prediction_type decides the target. dropout: share of pictures whose tokens are set to zero, for guidance.
    offset_noise: size of a random shift of each channel that is part of the noise, so that the network learns to move
    a picture's mean colour as well. timesteps: "uniform", or "late" to draw late times more often: with strong
    schedules the picture is decided there, and from its tokens alone.

    Returns noisy and target, both like latents; times int64 (pictures,); kept bool (pictures, 1, 1), False where tokens
    are set to zero.
    """
    random = {"generator": generator, "device": latents.device}
    noise = torch.randn(batch, *latents.shape[1:], **random)
    if offset_noise:
        noise = noise + offset_noise * torch.randn(batch, latents.shape[1], 1, 1, **random)
    drawn, kept = torch.rand(batch, **random), torch.rand(batch, 1, 1, **random) >= dropout
    noise, drawn = noise[rows], drawn[rows]
    last = scheduler.config.num_train_timesteps - 1
    times = ((drawn.sqrt() if timesteps == "late" else drawn) * (last + 1)).long().clamp(max=last)
    velocity = scheduler.config.prediction_type == "v_prediction"
    target = scheduler.get_velocity(latents, noise, times) if velocity else noise
    return {"noisy": scheduler.add_noise(latents, noise, times), "target": target, "times": times, "kept": kept[rows]}


def losses(unet, scheduler, noisy, target, times, kept, tokens, time_ids) -> dict[str, torch.Tensor]:
    """Mean squared error of what the UNet predicts for `noised` latents.

    tokens: (pictures, length, width); time_ids: (pictures, 4).
    """
    name = "v" if scheduler.config.prediction_type == "v_prediction" else "epsilon"
    predicted = predict(unet, noisy, times, tokens * kept.to(tokens.dtype), time_ids)
    return {name: (predicted.float() - target).square().mean()}


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
            v = predict(unet, x, t, context, time_ids)
            if guidance != 1.0:
                free = predict(unet, x, t, torch.zeros_like(context), time_ids)
                v = free + guidance * (v - free)
            x = scheduler.step(v, t, x).prev_sample
        parts.append(x.cpu().numpy())
    return np.concatenate(parts)


def frozen(siblings: Path, device):
    clip = open_clip.create_model(f"local-dir:{siblings / 'clip'}").to(device).eval().requires_grad_(False)
    vae = AutoencoderKL.from_pretrained(siblings / "vae").float().to(device).eval().requires_grad_(False)
    return clip, vae.to(memory_format=torch.channels_last)


def pixel_correlation(truth, copies) -> float:
    pairs = zip(truth.reshape(len(truth), -1), copies.reshape(len(copies), -1), strict=True)
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]))
