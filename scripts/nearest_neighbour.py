"""Control: for each test image, the training image whose true tokens are nearest to the decoded ones."""

import numpy as np

from fmri2img import job
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.decoded import Decoded
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.prediction import IDENTITY
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.methods.controls.functions import nearest_training_images, save_training_images


def main(snakemake) -> None:
    job.start(snakemake)
    recording, stimuli = Recording.open(snakemake.input.recording), Stimuli.open(snakemake.input.stimuli)
    decoded, embeddings = Decoded.open(snakemake.input.decoded), Embeddings.open(snakemake.input.embeddings)
    rows = recording.training_rows(parse_sessions(snakemake.wildcards.sessions))
    training_ids = np.unique(recording.trials["image_id"].to_numpy()[rows])

    nearest = nearest_training_images(decoded.tokens, embeddings, training_ids)
    print(f"{len(np.unique(nearest))} of {len(training_ids)} training images serve {len(nearest)} test images")
    identity = {key: decoded.metadata[key] for key in IDENTITY} | {"method": "nearest_neighbour"}
    disclosure = decoded.metadata["disclosure"] | {"generator": "none", "origin": snakemake.params.origin}
    metadata = identity | {"disclosure": disclosure, "of": decoded.metadata["method"], "nearest": nearest.tolist()}
    save_training_images(snakemake.output[0], decoded.ids, nearest, stimuli, embeddings, metadata)


main(snakemake)
