"""Decoding with a trained MindEye2: test trials in; image tokens, retrieval vectors and low-level latents out.

The network is run on every single trial and its outputs are averaged over the repeats of an image (not the betas before
it); then the prior draws image tokens from the averaged backbone tokens.
"""

import contextlib

import numpy as np
import torch
from torch import Tensor

from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.embeddings import disclosed
from fmri2img.artifacts.interfaces import Decoding, Made, number
from fmri2img.artifacts.recording import Recording
from fmri2img.errors import UserError
from fmri2img.generation.noise import PRIOR, batch_noise
from fmri2img.methods.mindeye2.network import MindEye2, load_model
from fmri2img.networks.prior import PriorNetwork, sample, sampling_times


def decode(decoding: Decoding) -> Made:
    """Decode the test trials with a trained network, on a GPU where there is one.

    decoding.settings: {"prior_steps": points of the sampler's time grid (prior.sampling_times), "batch": trials, or
    images, at a time}. Arrays: tokens float16 (images, tokens, width); retrieval float32 (images, tokens * width);
    with a low-level head latents float32 (images, channels, side, side). Facts, for the metadata: training (the
    network's own metadata) and prior (of the sampler). Raises UserError for a decoder that is missing or cannot be
    read, and for
    prior_steps that the schedule does not allow.
    """
    return _decoded(decoding, brain=True)


def decode_without_brain(decoding: Decoding) -> Made:
    """The control without brain activity: image tokens that the prior draws from the learned null brain tokens.

    They replaced a share of the brain tokens in training. Arrays: tokens alone. Raises UserError as `decode` does, and
    for a prior that was never trained so.
    """
    return _decoded(decoding, brain=False)


def _decoded(decoding: Decoding, brain: bool) -> Made:
    settings = decoding.settings
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, training = load_model(decoding.decoder)
    model = model.to(device).eval()
    arrays: dict[str, np.ndarray] = {}
    if brain:
        ids, means = mean_outputs(model, decoding.recording, decoding.test_rows, settings["batch"], device)
        condition = means["tokens"]
        arrays["retrieval"] = means["projected"].flatten(1).numpy()
        if "latents" in means:
            arrays["latents"] = means["latents"].numpy()
    else:
        ids = decoding.test_ids
        condition = without_brain(model.prior, len(ids)).cpu()
    steps = settings["prior_steps"]
    arrays["tokens"] = prior_tokens(
        model, condition, ids, number(decoding.cell.seed, "seed"), steps, settings["batch"], device
    )
    disclosure = Disclosure(
        training_trials=training["trials"],
        training_subjects=training["training_subjects"],
        trial_averaging="single",
        test_averaging="mean of outputs over repeats" if brain else "none: the prior's null brain tokens",
        **disclosed(decoding.targets.values()),
    )
    return Made(ids, arrays, disclosure, {"training": training, "prior": {"steps": steps, "eta": 1.0, "guidance": 1.0}})


def without_brain(prior: PriorNetwork, images: int) -> Tensor:
    """Learned null brain tokens, float32 (images, tokens, width): the condition for sampling without brain activity.

    Raises UserError for a prior that was trained without them.
    """
    if prior.config.condition_drop == 0:
        raise UserError(
            "mindeye2.model.prior.condition_drop is 0, so the prior was never trained without brain tokens; set it "
            "above 0, or drop mindeye2_prior_only from `methods`"
        )
    return prior.null_brain.detach().float().expand(images, -1, -1)


@torch.inference_mode()
def mean_outputs(
    model: MindEye2, recording: Recording, rows: np.ndarray, batch: int, device: torch.device
) -> tuple[np.ndarray, dict[str, Tensor]]:
    """The network's outputs for every single trial of `rows`, averaged over the repeats of each image.

    Returns ids int64 (images,) ascending, and by name tokens and projected float32 (images, tokens, width) and, with a
    low-level head, latents float32 (images, channels, side, side), all on the CPU. An image with fewer than three
    repeats counts each of its trials once.
    """
    subject = recording.metadata["subject"]
    ids, image = np.unique(recording.trials["image_id"].to_numpy()[rows], return_inverse=True)
    order = np.argsort(image, kind="stable")
    sums: dict[str, Tensor] = {}
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        betas = torch.from_numpy(np.ascontiguousarray(recording.betas[rows[chosen]])).to(device)
        with autocast(device):
            encoded = model({subject: betas})
        where = torch.from_numpy(image[chosen])
        for name in ("tokens", "projected", "latents"):
            values = getattr(encoded, name)
            if values is not None:
                values = values.float().cpu()
                total = sums.setdefault(name, torch.zeros(len(ids), *values.shape[1:]))
                total.index_add_(0, where, values)
    repeats = torch.from_numpy(np.bincount(image)).float()
    means = {name: total / repeats.reshape(-1, *[1] * (total.ndim - 1)) for name, total in sums.items()}
    return ids.astype(np.int64), means


@torch.inference_mode()
def prior_tokens(
    model: MindEye2, condition: Tensor, ids: np.ndarray, seed: int, steps: int, batch: int, device: torch.device
) -> np.ndarray:
    """Image tokens float16 (images, tokens, width) that the prior draws given `condition`, float32 of that shape.

    The noise of an image depends on the seed and its image_id alone.
    """
    tokens = np.empty(tuple(condition.shape), np.float16)
    calls = len(sampling_times(model.prior.config.timesteps, steps))
    for start in range(0, len(ids), batch):
        part = slice(start, start + batch)
        noises = batch_noise(seed, ids[part], *[tuple(condition.shape[1:])] * calls, stream=PRIOR)
        with autocast(device):
            drawn = sample(model.prior, condition[part].to(device), [noise.to(device) for noise in noises], steps)
        tokens[part] = drawn.cpu().numpy()
        print(f"prior: {min(start + batch, len(ids))} of {len(ids)} images", flush=True)
    return tokens


def autocast(device: torch.device):
    """bfloat16 matrix products on a GPU, as in training; float32 on a CPU."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else contextlib.nullcontext()
