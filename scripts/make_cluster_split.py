"""Make a split that holds out one whole semantic cluster of images -> cluster<k>.json."""

import numpy as np
from sklearn.cluster import KMeans

from fmri2img import job
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.splits import Split
from fmri2img.errors import UserError


def cluster_split(embeddings: Embeddings, clusters: int, seed: int, held_out: int) -> Split:
    """Split whose test images are cluster `held_out` of a k-means of the pooled image embeddings.

    Clusters are numbered by decreasing size (then by their smallest image_id). Raises UserError when the encoder has no
    pooled vector, or the cluster does not exist.
    """
    if embeddings.pooled is None:
        raise UserError(
            f"{embeddings.path}: no pooled.npy; cluster splits need an encoder that has a joint image-text vector"
        )
    if held_out >= clusters:
        raise UserError(f"split: cluster{held_out} requested, but cluster_split.clusters is {clusters}")
    points = np.asarray(embeddings.pooled, np.float64)
    labels = KMeans(clusters, n_init=10, random_state=seed).fit_predict(points)
    members = [embeddings.ids[labels == label] for label in range(clusters)]
    members.sort(key=lambda ids: (-len(ids), ids[0]))
    name = f"cluster{held_out}"
    return Split(
        name,
        f"test: cluster {held_out} of {clusters} of a k-means (seed {seed}) of the pooled image embeddings",
        {name: members[held_out].tolist()},
    )


def main(snakemake) -> None:
    split = cluster_split(
        Embeddings.open(snakemake.input.embeddings),
        snakemake.params.clustering["clusters"],
        snakemake.params.clustering["seed"],
        int(snakemake.wildcards.cluster),
    )
    split.save(snakemake.output[0])
    print(f"{split.name}: {len(split.test_ids)} test images, {split.sha256}")


if __name__ == "__main__":
    job.run(main)
