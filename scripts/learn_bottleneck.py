"""Learn the directions of a subject's voxel space that predict the image tokens best, from its training responses."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_file
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.linear.bottleneck import bottleneck_directions
from fmri2img.linear.decoder import AVERAGED, LinearDecoder


def main(snakemake) -> None:
    given = snakemake.input
    recording, embeddings = Recording.open(given.recording), Embeddings.open(given.embeddings)
    decoder = LinearDecoder.open(Path(given.decoder) / "tokens")
    rows = recording.training_rows(parse_sessions(snakemake.wildcards.sessions))
    if decoder.metadata["trials"] == AVERAGED:
        image_ids, betas = recording.averaged(rows)
    else:
        image_ids, betas = recording.trials["image_id"].to_numpy()[rows], recording.betas[rows]
    directions = bottleneck_directions(decoder, betas, image_ids, embeddings, snakemake.params.dimensions)
    print(f"{directions.shape[1]} directions of {directions.shape[0]} voxels from {len(rows)} trials")
    arrays = {"directions": np.ascontiguousarray(directions), "centre": decoder.voxel_mean.astype(np.float32)}
    with atomic_file(snakemake.output[0]) as temporary:
        temporary.write_bytes(save(arrays))


if __name__ == "__main__":
    job.run(main)
