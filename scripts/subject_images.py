"""Control drawn once for all subjects: one subject's test images out of it. Alike at every budget."""

from fmri2img import job
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.prediction import Prediction, save_prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import rows_of


def main(snakemake) -> None:
    job.start(snakemake)
    drawn, recording = Prediction.open(snakemake.input.drawn), Recording.open(snakemake.input.recording)
    ids = recording.test_ids()
    rows = rows_of(ids, drawn.ids, drawn.path)
    subject = {
        "subject": recording.metadata["subject"],
        "sessions": parse_sessions(snakemake.wildcards.sessions),
    }
    captions = None if drawn.captions is None else drawn.captions["caption"].iloc[rows].tolist()
    save_prediction(snakemake.output[0], ids, drawn.metadata | subject, images=drawn.images[rows], captions=captions)


main(snakemake)
