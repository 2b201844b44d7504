"""Ceiling of recall: for each test image, the training image whose true tokens are nearest to its own true tokens."""

import numpy as np

from fmri2img import job
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.methods.controls.functions import control_metadata, nearest_training_images, save_training_images


def main(snakemake) -> None:
    job.start(snakemake)
    recording, stimuli = Recording.open(snakemake.input.recording), Stimuli.open(snakemake.input.stimuli)
    embeddings = Embeddings.open(snakemake.input.embeddings)
    sessions, seed = parse_sessions(snakemake.wildcards.sessions), int(snakemake.wildcards.seed)
    test_ids, training_ids = recording.test_ids(recording.test_sets[0]), recording.training_ids(sessions)

    nearest = nearest_training_images(embeddings.tokens[embeddings.rows(test_ids)], embeddings, training_ids)
    print(f"{len(np.unique(nearest))} of {len(training_ids)} training images serve {len(test_ids)} test images")
    metadata = control_metadata(
        recording, "oracle_nearest_neighbour", sessions, seed, embeddings.label, "none", snakemake.params.origin
    )
    metadata = metadata | {"nearest": nearest.tolist()}
    save_training_images(snakemake.output[0], test_ids, nearest, stimuli, embeddings, metadata)


main(snakemake)
