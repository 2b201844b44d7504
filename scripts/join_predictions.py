"""Join the shards of a Prediction, which several jobs have drawn."""

from itertools import chain
from typing import Any

import numpy as np

from fmri2img import job
from fmri2img.artifacts.arrays import Parts
from fmri2img.artifacts.prediction import Prediction, save_prediction
from fmri2img.artifacts.shards import not_empty


def joined_facts(found: list[Any]) -> Any:
    """One value of the metadata for all shards: their common one, or the sum of what counts images (lists of int)."""
    if all(value == found[0] for value in found) and not _counts(found[0]):
        return found[0]
    if not all(map(_counts, found)):
        raise ValueError(f"the shards' metadata differ: {found}")
    return np.sum(found, axis=0).tolist()


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def join_predictions(paths: list[str], output: str) -> None:
    """Write the Prediction of all images of the shards, given in their order."""
    shards = [Prediction.open(path) for path in not_empty(paths)]
    print(f"images of each shard: {', '.join(str(len(shard.ids)) for shard in shards)}")
    metadata = {key: joined_facts([shard.metadata[key] for shard in shards]) for key in shards[0].metadata}

    def array(name: str) -> Parts | None:
        parts = [getattr(shard, name) for shard in shards]
        return None if parts[0] is None else Parts(parts)

    captions = None
    if shards[0].captions is not None:
        captions = list(chain.from_iterable(shard.captions["caption"] for shard in shards))
    ids = np.concatenate([shard.ids for shard in shards])
    save_prediction(output, ids, metadata, array("images"), captions, array("retrieval"), samples=array("samples"))


def main(snakemake) -> None:
    join_predictions(list(snakemake.input), snakemake.output[0])


if __name__ == "__main__":
    job.run(main)
