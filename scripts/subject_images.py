"""Control drawn once for all subjects: one subject's test images out of it. Alike at every budget."""

from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.prediction import Prediction, save_prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import rows_of
from fmri2img.job import start


def subject_images(drawn_path: str, recording_path: str, sessions: int | float, output: str) -> None:
    """Write the rows of `drawn_path` that belong to the subject's test images as its Prediction."""
    drawn, recording = Prediction.open(drawn_path), Recording.open(recording_path)
    ids = recording.test_ids(recording.test_sets[0])
    rows = rows_of(ids, drawn.ids, drawn.path)
    metadata = drawn.metadata | {"subject": recording.metadata["subject"], "sessions": sessions}
    captions = None if drawn.captions is None else drawn.captions["caption"].iloc[rows].tolist()
    save_prediction(output, ids, metadata, images=drawn.images[rows], captions=captions)


if __name__ == "__main__":
    start(snakemake)
    subject_images(
        snakemake.input.drawn,
        snakemake.input.recording,
        parse_sessions(snakemake.wildcards.sessions),
        snakemake.output[0],
    )
