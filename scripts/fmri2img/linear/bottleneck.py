"""Bottleneck between brain and embedding: the k directions of voxel space that predict the tokens best.

How much of the brain does a decoder need? BrainBits (Mayo et al., BrainBits: How much of the brain are generative
reconstruction methods using?, NeurIPS 2024) lets a method use only k linear combinations of the voxels, learned for its
embedding, and plots its score against k. Here the combinations are those of the best linear decoder of rank k, which
has a closed form (reduced-rank ridge regression: Mukherjee & Zhu, Statistical Analysis and Data Mining 4, 612, 2011).
With the readout R (voxels, images) and the tokens E (images, targets) of the full ridge decoder W = R E,

    W_k = W V_k V_k',    V_k: the top k right singular vectors of S^(1/2) W,    S = X'X + alpha I,

and the directions are the columns of B = W V_k. Nothing of the size of the targets is needed: with G = E E' = L L' and
H = R' S R = (image sums of X)' R, both (images, images), the eigenvectors Q of L' H L give B = R L Q.

Directions are ordered and orthonormal, so those of a smaller k are the first ones of a larger k. A restricted recording
holds betas of rank k in place of its own. Any decoder can be fitted to it unchanged, and all that the decoder learns
about the brain passes through these k numbers.
"""

from pathlib import Path

import numpy as np
from scipy import linalg

from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.errors import UserError
from fmri2img.linear.decoder import LinearDecoder, Targets

NEGLIGIBLE = 1e-6  # eigenvalues below this share of the largest one are rounding of float16 tokens
ROW_BLOCK = 2048


def bottleneck_directions(
    decoder: LinearDecoder, betas: np.ndarray, image_ids: np.ndarray, embeddings: Embeddings, dimensions: int
) -> np.ndarray:
    """Orthonormal directions, most predictive first: float32 (voxels, dimensions).

    decoder: fitted to `betas` float32 (trials, voxels) of images `image_ids` int (trials,), with tokens `embeddings`.
    Memory beyond `betas`: five float64 (images, images) matrices, 3.2 GB for 9,000 images. Raises UserError when the
    data span fewer dimensions.
    """
    image = np.searchsorted(decoder.ids, image_ids)
    sums = np.zeros((len(decoder.ids), betas.shape[1]))
    np.add.at(sums, image, betas)
    sums -= np.bincount(image, minlength=len(sums))[:, None] * decoder.voxel_mean
    carried = sums @ decoder.readout.astype(np.float64)

    targets = Targets(embeddings, embeddings.rows(decoder.ids))
    values, vectors = linalg.eigh(targets.gram().astype(np.float64))
    kept = values > NEGLIGIBLE * values[-1]
    root = vectors[:, kept] * np.sqrt(values[kept])
    importance, order = linalg.eigh(root.T @ carried @ root)
    rank = int((importance > NEGLIGIBLE * importance[-1]).sum())
    if dimensions > rank:
        raise UserError(
            f"bottleneck.dimensions: {dimensions} requested, but {len(betas)} training trials of {len(sums)} images "
            "span "
            f"{rank}; lower it"
        )
    loadings = root @ order[:, ::-1][:, :dimensions]
    return linalg.qr(decoder.readout @ loadings, mode="economic")[0].astype(np.float32)


def restrict(recording: Recording, directions: np.ndarray, centre: np.ndarray, path: str | Path) -> None:
    """Write the recording with each beta pattern replaced by its part along `directions` about `centre`.

    directions: float32 (voxels, dimensions), orthonormal; centre: float32 (voxels,), mean of the training trials.
    """
    with Recording.writer(path) as writer:
        betas = writer.betas(*recording.betas.shape)
        for start in range(0, len(betas), ROW_BLOCK):
            rows = slice(start, start + ROW_BLOCK)
            betas[rows] = ((recording.betas[rows] - centre) @ directions) @ directions.T + centre
        metadata = recording.metadata | {"bottleneck": directions.shape[1]}
        writer.finish(recording.trials, recording.voxels, metadata)
