"""Ceiling: the captioner's words about one subject's test images. Alike at every budget and seed."""

from fmri2img import job
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.prediction import save_prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import rows_of
from fmri2img.artifacts.tables import read_table
from fmri2img.methods.controls.functions import control_metadata


def main(snakemake) -> None:
    job.start(snakemake)
    given, params, wildcards = snakemake.input, snakemake.params, snakemake.wildcards
    captions, recording = (
        read_table(given.captions, {"image_id": "iu", "caption": "OUT"}),
        Recording.open(given.recording),
    )
    ids, sessions = recording.test_ids(recording.test_sets[0]), parse_sessions(wildcards.sessions)
    metadata = control_metadata(
        recording, "caption_ceiling", sessions, int(wildcards.seed), params.captioner, "none", params.origin
    )
    metadata["disclosure"]["test_averaging"] = "none: the true image"
    rows = rows_of(ids, captions["image_id"].to_numpy(), given.captions)
    save_prediction(snakemake.output[0], ids, metadata, captions=captions["caption"].iloc[rows].tolist())


main(snakemake)
