"""A trained MindEye2 on the test trials: image tokens from the prior, retrieval vectors, low-level latents.

Or, as a control, what its prior draws without a brain: from the null brain tokens that stood in for a share of the
brain responses in training (for guidance, which MindEye2's sampling does without).
"""

import contextlib

import numpy as np
import torch

from fmri2img import job
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.decoded import save_decoded
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.generation.noise import PRIOR, batch_noise
from fmri2img.methods.mindeye2.diffusion import sample, sampling_times, without_brain
from fmri2img.methods.mindeye2.model import MindEye2, load_model


def autocast(device: torch.device):
    """bfloat16 matrix products on a GPU, as in training; float32 on a CPU."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else contextlib.nullcontext()


@torch.inference_mode()
def outputs(model: MindEye2, recording: Recording, rows: np.ndarray, batch: int, device: torch.device) -> dict:
    """Mean over each image's repeats of what the network makes of every single trial.

    rows: test trials. Returns ids int64 (images,) ascending, tokens and projected float32 (images, tokens, width),
    latents float32 (images, channels, side, side) or None. As in MindEye2 the outputs are averaged, not the betas; an
    image with fewer than three repeats counts each of its trials once.
    """
    subject = recording.metadata["subject"]
    ids, image = np.unique(recording.trials["image_id"].to_numpy()[rows], return_inverse=True)
    order = np.argsort(image, kind="stable")
    sums: dict[str, torch.Tensor] = {}
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
    return {"ids": ids.astype(np.int64), "latents": None} | means


@torch.inference_mode()
def prior_tokens(model: MindEye2, brain: torch.Tensor, ids, seed: int, steps: int, batch: int, device) -> np.ndarray:
    """Image tokens float16 (images, tokens, width) that the prior draws, each image with noise of its own."""
    tokens = np.empty(tuple(brain.shape), np.float16)
    calls = len(sampling_times(model.prior.config.timesteps, steps))
    for start in range(0, len(ids), batch):
        part = slice(start, start + batch)
        noises = batch_noise(seed, ids[part], *[tuple(brain.shape[1:])] * calls, stream=PRIOR)
        with autocast(device):
            drawn = sample(model.prior, brain[part].to(device), [noise.to(device) for noise in noises], steps)
        tokens[part] = drawn.cpu().numpy()
        print(f"prior: {min(start + batch, len(ids))} of {len(ids)} images", flush=True)
    return tokens


def main(snakemake) -> None:
    job.start(snakemake)
    wildcards, params = snakemake.wildcards, snakemake.params
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recording, embeddings = Recording.open(snakemake.input.recording), Embeddings.open(snakemake.input.embeddings)
    model, trained = load_model(snakemake.input.decoder)
    model = model.to(device).eval()
    seed = int(wildcards.seed)

    if params.brain:
        found = outputs(model, recording, recording.test_rows(recording.test_sets[0]), params.decoding["batch"], device)
    else:
        ids = recording.test_ids(recording.test_sets[0])
        found = {"ids": ids, "tokens": without_brain(model.prior, len(ids)).cpu(), "projected": None, "latents": None}
    print(f"{len(found['ids'])} test images")
    drawn = prior_tokens(model, found["tokens"], found["ids"], seed, params.decoding["prior_steps"],
                         params.decoding["batch"], device)  # fmt: skip
    metadata = {
        "method": params.method,
        "subject": wildcards.subject,
        "sessions": parse_sessions(wildcards.sessions),
        "seed": seed,
        "split": recording.metadata["split"],
        "split_sha256": recording.metadata["split_sha256"],
        "training": trained,
        "prior": {"steps": params.decoding["prior_steps"], "eta": 1.0, "guidance": 1.0},
        "disclosure": {
            "training_trials": trained["trials"],
            "training_images": trained["images"],
            "training_subjects": trained["training_subjects"],
            "trial_averaging": "single",
            "test_averaging": "mean of outputs over repeats" if params.brain else "none: the prior's null brain tokens",
            "transductive": False,
            "samples_per_image": 1,
            "selector": "none",
            "encoder": f"{embeddings.metadata['encoder']} ({embeddings.metadata['revision']})",
            "origin": params.origin,
        },
    }
    retrieval = found["projected"].flatten(1).numpy() if params.brain else None
    latents = None if found["latents"] is None else found["latents"].numpy()
    save_decoded(snakemake.output[0], found["ids"], metadata, drawn, retrieval, latents)


main(snakemake)
