"""The generator's ceiling: pictures drawn from the true tokens of a split's test images, once for all subjects."""

import numpy as np

from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.prediction import save_prediction
from fmri2img.artifacts.splits import Split
from fmri2img.backbones.autoencoders import load_autoencoder
from fmri2img.backbones.generators import load_generator
from fmri2img.backbones.registry import Backbone
from fmri2img.generation.unclip import UnclipGenerator
from fmri2img.job import start


def reconstruct_true_tokens(
    embeddings_path: str, split_path: str, generator: Backbone, autoencoder: Backbone, generation: dict, seed: int,
    method: str, origin: str, output: str,
) -> None:  # fmt: skip
    """Write a Prediction of every test image of the split that is in the Embeddings, subject "all", 0 sessions."""
    embeddings, split = Embeddings.open(embeddings_path), Split.open(split_path)
    ids = np.intersect1d(embeddings.ids, split.test_ids)
    unclip = UnclipGenerator(load_generator(generator), load_autoencoder(autoencoder))
    images = unclip.generate(
        embeddings.tokens[embeddings.rows(ids)],
        ids,
        seed,
        **generation,
        progress=lambda done: print(f"{done} of {len(ids)} images", flush=True),
    )
    disclosure = {
        "training_trials": 0,
        "training_subjects": [],
        "trial_averaging": "none",
        "test_averaging": "none: the true image's tokens",
        "transductive": False,
        "samples_per_image": 1,
        "selector": "none",
        "encoder": embeddings.metadata["encoder"],
        "generator": f"{generator.name} ({generator.revision})",
        "origin": origin,
    }
    metadata = {
        "method": method,
        "subject": "all",
        "sessions": 0,
        "seed": seed,
        "split": split.name,
        "split_sha256": split.sha256,
        "encoder": disclosure["encoder"],
        "generation": generation,
        "disclosure": disclosure,
    }
    save_prediction(output, ids, metadata, images=images)


if __name__ == "__main__":
    start(snakemake)
    reconstruct_true_tokens(
        snakemake.input.embeddings,
        snakemake.input.split,
        Backbone(*snakemake.params.generator),
        Backbone(*snakemake.params.autoencoder),
        snakemake.params.generation,
        int(snakemake.wildcards.seed),
        snakemake.params.method,
        snakemake.params.origin,
        snakemake.output[0],
    )
