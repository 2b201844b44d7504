"""Decoding with a trained MinD-Vis: the mean betas of a test image in, latents that the fine-tuned generator draws out.

The generator is a part of the trained decoder, because its cross-attention is; so it draws here, and the frozen
autoencoder makes pictures of the latents later.
"""

import numpy as np
import torch

from fmri2img import job
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.interfaces import Decoding, Made, number
from fmri2img.errors import UserError
from fmri2img.methods.mindvis.masked import padded
from fmri2img.methods.mindvis.network import load_model
from fmri2img.methods.mindvis.sampling import draw_latents


def decode(decoding: Decoding) -> Made:
    """Arrays: latents float32 (images, channels, side, side), and where several samples of an image are drawn, samples
    (images, samples - 1, channels, side, side): the further ones. Facts: training (the network's metadata) and sampler.

    decoding.settings: steps of the scheduler, samples of an image, and images per batch. Raises UserError for a decoder
    that is missing or cannot be read, or that is of a recording with another number of voxels.
    """
    recording, settings = decoding.recording, decoding.settings
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, record = load_model(decoding.decoder, device)
    subject, voxels = recording.metadata["subject"], recording.betas.shape[1]
    if record["voxels"].get(subject) != voxels:
        has = ", ".join(f"{count} voxels of {name}" for name, count in record["voxels"].items())
        raise UserError(f"{recording.path}: has {voxels} voxels of {subject}, but {decoding.decoder} decodes {has}")
    ids, betas = recording.averaged(decoding.test_rows)
    betas, seed = padded(betas, model.patches * model.config.patch), number(decoding.cell.seed, "seed")
    samples = settings["samples"]
    drawn = []
    for sample in range(samples):
        progress = job.progress(f"images of sample {sample + 1} of {samples}", len(ids))
        latents = draw_latents(model, betas, ids, seed, settings["steps"], settings["batch"], sample, progress)
        drawn.append(latents.cpu().numpy())
    arrays = {"latents": drawn[0]} | ({"samples": np.stack(drawn[1:], axis=1)} if samples > 1 else {})
    training = record["metadata"]
    tuned, selected = training["tuned_on_test"], training["selected_on_test"]
    disclosure = Disclosure(
        training_trials=training["trials"],
        training_subjects=training["training_subjects"],
        trial_averaging="single",
        test_averaging="mean of repeats",
        transductive=tuned or selected,
        samples_per_image=samples,
        selector="weights with the best accuracy on the test set" if selected else "none",
    )
    sampler = {
        "steps": settings["steps"],
        "scheduler": type(model.generator.scheduler).__name__,
        "guidance": 1.0,
        "samples": samples,
    }
    return Made(ids, arrays, disclosure, {"training": training, "sampler": sampler})
