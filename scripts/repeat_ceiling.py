"""Ceiling: the brain's response to one presentation of each test image beside those to its others, undecoded."""

import numpy as np

from fmri2img import job
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.prediction import save_prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.methods.controls.functions import control_metadata, repeat_responses


def main(snakemake) -> None:
    job.start(snakemake)
    recording = Recording.open(snakemake.input.recording)
    ids, responses = repeat_responses(recording)
    print(f"{len(ids)} test images, {np.isnan(responses).any(axis=(1, 2)).sum()} of them shown once and left out")
    sessions, seed = parse_sessions(snakemake.wildcards.sessions), int(snakemake.wildcards.seed)
    metadata = control_metadata(recording, "repeat_ceiling", sessions, seed, "none", "none", snakemake.params.origin)
    metadata["disclosure"]["test_averaging"] = "one presentation against the mean of the others"
    save_prediction(snakemake.output[0], ids, metadata, responses=responses)


main(snakemake)
