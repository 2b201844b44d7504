"""Compute the components of the diffusion model for the pictures that one subject was trained and tested on."""

from collections.abc import Iterator

import numpy as np

from fmri2img import job
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.autoencoders import load_autoencoder
from fmri2img.backbones.generators import load_generator
from fmri2img.backbones.prompts import Prompt, load_prompts, unconditional
from fmri2img.backbones.registry import Backbone
from fmri2img.generation.img2img import Refiner
from fmri2img.methods.takagi.components import save_components
from fmri2img.methods.takagi.settings import EncodingSettings
from fmri2img.methods.takagi.traces import Tracer


def blocks(
    tracer: Tracer, stimuli: Stimuli, latents: Embeddings, texts: Embeddings, ids: np.ndarray, size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Components of `size` pictures at a time, with a line of progress."""
    done = job.progress("images", len(ids))
    for start in range(0, len(ids), size):
        block = ids[start : start + size]
        z = np.asarray(latents.tokens[latents.rows(block)], np.float32)
        states = np.asarray(texts.tokens[texts.rows(block)], np.float32)
        yield tracer.trace(stimuli.images[stimuli.rows(block)], z, states)
        done(start + len(block))


def main(snakemake) -> None:
    given, params = snakemake.input, snakemake.params
    settings = EncodingSettings.read(params.settings)
    recording, stimuli = Recording.open(given.recording), Stimuli.open(given.stimuli)
    latents, texts = Embeddings.open(given.latents), Embeddings.open(given.texts)
    ids = np.union1d(recording.training_ids(recording.n_sessions), recording.test_ids(recording.test_sets[0]))
    networks = {role: Backbone(*entry) for role, entry in params.networks.items()}
    generator = load_generator(networks["generator"])
    like = Prompt(np.asarray(texts.tokens[:1], np.float32))
    negative = unconditional(like, "", load_prompts(networks["prompts"]), generator)
    tracer = Tracer(Refiner(generator, load_autoencoder(networks["autoencoder"])), negative, settings, params.seed)
    save_components(
        snakemake.output[0], ids, tracer.members, blocks(tracer, stimuli, latents, texts, ids, settings.batch)
    )


if __name__ == "__main__":
    job.run(main)
