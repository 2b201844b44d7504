"""Join the shards of Embeddings, which several jobs have computed."""

from collections.abc import Iterator

import numpy as np

from fmri2img import job
from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.artifacts.shards import not_empty

BLOCK = 256  # images held in memory at a time


def blocks(shards: list[Embeddings]) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """(tokens, joint vectors or None) of BLOCK images at a time, shard after shard."""
    for shard in shards:
        for first in range(0, len(shard.ids), BLOCK):
            rows = slice(first, first + BLOCK)
            yield shard.tokens[rows], None if shard.pooled is None else shard.pooled[rows]


def join_embeddings(paths: list[str], output: str) -> None:
    """Write the Embeddings of all images of the shards, given in their order."""
    shards = [Embeddings.open(path) for path in not_empty(paths)]
    print(f"images of each shard: {', '.join(str(len(shard.ids)) for shard in shards)}")
    ids = np.concatenate([shard.ids for shard in shards])
    save_embeddings(output, ids, blocks(shards), shards[0].metadata)


def main(snakemake) -> None:
    join_embeddings(list(snakemake.input), snakemake.output[0])


if __name__ == "__main__":
    job.run(main)
