"""Control: what the generator draws from the mean of the training images' tokens, which says nothing of a brain."""

import numpy as np

from fmri2img import job
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.prediction import save_prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.backbones.autoencoders import load_autoencoder
from fmri2img.backbones.generators import load_generator
from fmri2img.backbones.registry import Backbone
from fmri2img.generation.unclip import UnclipGenerator
from fmri2img.methods.controls.functions import control_metadata, mean_tokens


def main(snakemake) -> None:
    job.start(snakemake)
    params = snakemake.params
    recording, embeddings = Recording.open(snakemake.input.recording), Embeddings.open(snakemake.input.embeddings)
    sessions, seed = parse_sessions(snakemake.wildcards.sessions), int(snakemake.wildcards.seed)
    test_ids, mean = (
        recording.test_ids(recording.test_sets[0]),
        mean_tokens(embeddings, recording.training_ids(sessions)),
    )
    tokens = np.broadcast_to(mean.astype(np.float16), (len(test_ids), *mean.shape))

    generator, autoencoder = Backbone(*params.generator), Backbone(*params.autoencoder)
    unclip = UnclipGenerator(load_generator(generator), load_autoencoder(autoencoder))
    images = unclip.generate(
        tokens,
        test_ids,
        seed,
        **params.generation,
        progress=lambda done: print(f"{done} of {len(test_ids)} images", flush=True),
    )
    drawn_by = f"{generator.name} ({generator.revision})"
    metadata = control_metadata(recording, "prior_only", sessions, seed, embeddings.label, drawn_by, params.origin)
    save_prediction(
        snakemake.output[0],
        test_ids,
        metadata | {"generation": params.generation},
        images=images,
        retrieval=tokens.reshape(len(test_ids), -1),
    )


main(snakemake)
