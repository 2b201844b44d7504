"""Decoding with a trained MindEye1: test trials in; image tokens, retrieval vectors and low-level latents out.

The betas of an image's repeats are averaged, the networks are run on the means, and the prior draws image tokens from
the high-level network's.
"""

import contextlib

import numpy as np
import torch
from torch import Tensor

from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.embeddings import disclosed
from fmri2img.artifacts.interfaces import Decoding, Made, number
from fmri2img.generation.noise import PRIOR, batch_noise
from fmri2img.methods.mindeye1.network import MindEye1, load_model
from fmri2img.networks.prior import sample, sample_every_step, sampling_times

TINY = 1e-6  # added to the class token's length


def decode(decoding: Decoding) -> Made:
    """Decode the test trials with trained networks, on a GPU where there is one.

    decoding.settings: settings.Decoding. Arrays: tokens float16 (images, tokens, width); retrieval float32 (images,
    tokens * width); with a low-level network latents float32 (images, channels, side, side); where several samples are
    drawn of an image, candidates float16 (images, samples - 1, tokens, width), the prior's further samples. Facts, for
    the metadata: training (the networks' own metadata) and prior (of the sampler). Raises UserError for a decoder that
    is missing or cannot be read, and for prior_steps that the schedule does not allow.
    """
    settings, recording = decoding.settings, decoding.recording
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, training = load_model(decoding.decoder)
    model = model.to(device).eval()
    ids, betas = recording.averaged(decoding.test_rows)
    arrays, condition = encode(model, betas, settings["batch"], device)
    samples = settings["samples"]
    seed = number(decoding.cell.seed, "seed")
    drawn = np.empty((samples, *condition.shape), np.float16)
    for index in range(samples):
        drawn[index] = prior_tokens(model, condition, ids, seed, index, settings, device)
        print(f"prior: sample {index + 1} of {samples}", flush=True)
    arrays["tokens"] = drawn[0]
    if samples > 1:
        arrays["candidates"] = drawn[1:].swapaxes(0, 1)
    disclosure = Disclosure(
        training_trials=training["trials"],
        training_subjects=training["training_subjects"],
        trial_averaging="single",
        test_averaging="mean of repeats",
        **disclosed(decoding.targets.values()),
    )
    facts = {"steps": settings["prior_steps"], "guidance": 1.0, "samples": samples}
    return Made(ids, arrays, disclosure, {"training": training, "prior": facts})


@torch.inference_mode()
def encode(
    model: MindEye1, betas: np.ndarray, batch: int, device: torch.device
) -> tuple[dict[str, np.ndarray], Tensor]:
    """The networks' outputs for mean betas float32 (images, voxels), `batch` at a time.

    Returns the arrays retrieval and, with a low-level network, latents; and the prior's condition float32 (images,
    tokens, width) on the CPU.
    """
    found: dict[str, list[Tensor]] = {"tokens": [], "projected": [], "latents": []}
    for start in range(0, len(betas), batch):
        part = torch.from_numpy(np.ascontiguousarray(betas[start : start + batch])).to(device)
        with autocast(device):
            encoded = model(part)
        for name, values in encoded._asdict().items():
            if values is not None:
                found[name].append(values.float().cpu())
    arrays = {"retrieval": torch.cat(found["projected"]).flatten(1).numpy()}
    if found["latents"]:
        arrays["latents"] = torch.cat(found["latents"]).numpy()
    return arrays, torch.cat(found["tokens"])


@torch.inference_mode()
def prior_tokens(
    model: MindEye1, condition: Tensor, ids: np.ndarray, seed: int, index: int, settings: dict, device: torch.device
) -> np.ndarray:
    """Image tokens float16 (images, tokens, width): sample number `index` of the prior, given `condition`.

    The noise of an image depends on the seed, its image_id and the number of the sample alone.
    """
    config, steps, batch = model.high_level_config, settings["prior_steps"], settings["batch"]
    every = steps == config.prior.timesteps
    calls = steps if every else len(sampling_times(config.prior.timesteps, steps))
    tokens = np.empty(tuple(condition.shape), np.float16)
    for start in range(0, len(ids), batch):
        part = slice(start, start + batch)
        shapes = [tuple(condition.shape[1:])] * calls
        noises = [noise.to(device) for noise in batch_noise(seed, ids[part], *shapes, stream=PRIOR, sample=index)]
        with autocast(device):
            brain = condition[part].to(device)
            drawn = (
                sample_every_step(model.prior, brain, noises) if every else sample(model.prior, brain, noises, steps)
            )
        drawn = drawn / config.token_scale
        if settings["class_token_norm"]:
            drawn = drawn / (drawn[:, :1].norm(dim=-1, keepdim=True) + TINY)
        tokens[part] = drawn.cpu().numpy()
    return tokens


def autocast(device: torch.device):
    """bfloat16 matrix products on a GPU, as in training; float32 on a CPU."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else contextlib.nullcontext()
