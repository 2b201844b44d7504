"""Control: for every test image, the mean of the training images."""

import numpy as np

from fmri2img import job
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.prediction import save_prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.methods.controls.functions import control_metadata, mean_image, mean_tokens


def main(snakemake) -> None:
    job.start(snakemake)
    recording, stimuli = Recording.open(snakemake.input.recording), Stimuli.open(snakemake.input.stimuli)
    embeddings = Embeddings.open(snakemake.input.embeddings)
    sessions, seed = parse_sessions(snakemake.wildcards.sessions), int(snakemake.wildcards.seed)
    test_ids, training_ids = recording.test_ids(recording.test_sets[0]), recording.training_ids(sessions)

    image = mean_image(stimuli.images, stimuli.rows(training_ids))
    tokens = mean_tokens(embeddings, training_ids).ravel()
    print(f"mean of {len(training_ids)} training images for {len(test_ids)} test images")
    metadata = control_metadata(
        recording, "mean_training_image", sessions, seed, embeddings.label, "none", snakemake.params.origin
    )
    save_prediction(
        snakemake.output[0],
        test_ids,
        metadata,
        images=np.broadcast_to(image, (len(test_ids), *image.shape)),
        retrieval=np.broadcast_to(tokens, (len(test_ids), len(tokens))),
    )


main(snakemake)
