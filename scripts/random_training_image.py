"""Control: for each test image, a training image at random."""

import numpy as np

from fmri2img import job
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.methods.controls.functions import control_metadata, drawn_training_images, save_training_images


def main(snakemake) -> None:
    job.start(snakemake)
    recording, stimuli = Recording.open(snakemake.input.recording), Stimuli.open(snakemake.input.stimuli)
    embeddings = Embeddings.open(snakemake.input.embeddings)
    sessions, seed = parse_sessions(snakemake.wildcards.sessions), int(snakemake.wildcards.seed)
    test_ids, training_ids = recording.test_ids(recording.test_sets[0]), recording.training_ids(sessions)

    drawn = drawn_training_images(test_ids, training_ids, seed)
    print(f"{len(np.unique(drawn))} of {len(training_ids)} training images serve {len(test_ids)} test images")
    metadata = control_metadata(
        recording, "random_training_image", sessions, seed, embeddings.label, "none", snakemake.params.origin
    )
    metadata = metadata | {"drawn": drawn.tolist()}
    save_training_images(snakemake.output[0], test_ids, drawn, stimuli, embeddings, metadata)


main(snakemake)
