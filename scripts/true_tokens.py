"""Control: what the generator makes of the true tokens of one subject's test images. Alike at every budget."""

import numpy as np

from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.prediction import Prediction, save_prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import rows_of
from fmri2img.job import start


def true_tokens(drawn_path: str, recording_path: str, sessions: int | float, output: str) -> None:
    """Write the rows of `drawn_path` that belong to the subject's test images as its Prediction."""
    drawn, recording = Prediction.open(drawn_path), Recording.open(recording_path)
    ids = np.unique(recording.trials["nsd_id"].to_numpy()[recording.test_rows()])
    metadata = drawn.metadata | {"subject": recording.metadata["subject"], "sessions": sessions}
    save_prediction(output, ids, metadata, images=drawn.images[rows_of(ids, drawn.ids, drawn.path)])


if __name__ == "__main__":
    start(snakemake)
    true_tokens(
        snakemake.input.drawn,
        snakemake.input.recording,
        parse_sessions(snakemake.wildcards.sessions),
        snakemake.output[0],
    )
