"""How near each test image is to the training images of one subject and budget, by true tokens."""

import pandas as pd

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_file
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.decoders.controls import nearest_with_cosine


def main(snakemake) -> None:
    job.start(snakemake)
    recording, embeddings = Recording.open(snakemake.input.recording), Embeddings.open(snakemake.input.embeddings)
    sessions, ids = parse_sessions(snakemake.wildcards.sessions), recording.test_ids()
    tokens = embeddings.tokens[embeddings.rows(ids)]
    nearest, cosine = nearest_with_cosine(tokens, embeddings, recording.training_ids(sessions))
    table = pd.DataFrame({"nsd_id": ids, "nearest": nearest, "cosine": cosine})
    print(table["cosine"].describe().to_string())
    with atomic_file(snakemake.output[0]) as temporary:
        table.assign(subject=recording.metadata["subject"], sessions=sessions).to_parquet(temporary, index=False)


main(snakemake)
