"""Drawing of autoencoder latents with a fine-tuned generator, conditioned on betas, without guidance."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fmri2img.generation.noise import batch_noise
from fmri2img.methods.mindvis.network import DoublyConditioned


@torch.no_grad()
def draw_latents(
    model: DoublyConditioned,
    betas: np.ndarray,
    ids: np.ndarray,
    seed: int,
    steps: int,
    batch: int,
    sample: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Latents float32 (images, channels, side, side) on the model's device.

    betas: float32 (images, voxels), padded to whole patches; ids: image_id, which with the seed and the number of the
    sample fixes an image's noise; steps: of the generator's own scheduler (PLMS for latent diffusion and Stable
    Diffusion).
    """
    source = model.generator
    device, drawn = source.device, []
    for start in range(0, len(ids), batch):
        rows = slice(start, start + batch)
        shape = source.latent_shape
        random = batch_noise(seed, ids[rows], shape, shape, (1,), sample=sample)
        noise, extra, shift = (part.to(device) for part in random)
        timesteps = source.set_timesteps(steps)
        latents = source.initial_latents(noise, extra, shift)
        context, time = model.condition(torch.from_numpy(betas[rows])[:, None].to(device))
        for timestep in timesteps:
            scaled = source.scheduler.scale_model_input(latents, timestep)
            output = model.denoise(scaled, timestep.to(device), context, time)
            latents = source.scheduler.step(output.float(), timestep, latents).prev_sample
        drawn.append(latents)
        progress(min(start + batch, len(ids)))
    return torch.cat(drawn)
