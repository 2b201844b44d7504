"""Measure how near each test image is to the training images of one subject and budget, by true tokens."""

import numpy as np
import pandas as pd

from fmri2img import job
from fmri2img.artifacts.arrays import Rows
from fmri2img.artifacts.atomic import atomic_file
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.metrics.similarity import COPY, nearest_with_cosine


def measure_similarity(recording: Recording, embeddings: Embeddings, sessions: int | float, output: str) -> None:
    """Write the table image_id (test images, ascending), nearest (image_id of a training image), cosine (float64),
    subject, sessions. Print a summary, with a warning that names the test images of which a copy was trained on."""
    ids = np.sort(np.concatenate([recording.test_ids(test_set) for test_set in recording.test_sets]))
    tokens = Rows(embeddings.tokens, embeddings.rows(ids))
    nearest, cosine = nearest_with_cosine(tokens, embeddings, recording.training_ids(sessions))
    table = pd.DataFrame({"image_id": ids, "nearest": nearest, "cosine": cosine})
    print(table["cosine"].describe().to_string())
    copied = table[table["cosine"] >= COPY]
    if len(copied):
        pairs = ", ".join(f"{row.image_id} (as {row.nearest})" for row in copied.itertuples())
        print(
            f"Warning: {len(copied)} of {len(table)} test images have a copy with another image_id among the training "
            f"images (cosine of {COPY} or more), so their scores may be recall: {pairs}"
        )
    with atomic_file(output) as temporary:
        table.assign(subject=recording.metadata["subject"], sessions=sessions).to_parquet(temporary, index=False)


def main(snakemake) -> None:
    measure_similarity(
        Recording.open(snakemake.input.recording),
        Embeddings.open(snakemake.input.embeddings),
        parse_sessions(snakemake.wildcards.sessions),
        snakemake.output[0],
    )


if __name__ == "__main__":
    job.run(main)
