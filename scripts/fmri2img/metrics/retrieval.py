"""Top-1 retrieval between brain responses and images, by cosine, in pools drawn from the test set.

The two directions are named after what is retrieved, as in the text of MindEye2 (Scotti et al. 2024):

    retrieval_image   given a brain response, pick its image
    retrieval_brain   given an image, pick the brain response to it

MindEye2's code computes the first as "bwd" and the second as "fwd", and its tables print "fwd" under Image and "bwd"
under Brain, so a published "Image" number must be compared with retrieval_brain here.
"""

import numpy as np

from fmri2img.metrics.similarity import TIE, chance_of_best, cosines

POOL_SEED = 42  # the same pools for every method, budget and seed, so that they cause no differences


def retrieval_image(
    truth: np.ndarray, decoded: np.ndarray, pool: int, resamples: int, ways: int | None = None
) -> np.ndarray:
    """Given each decoded vector, is its image the most similar of the pool?

    truth, decoded: float (n, d), row i of both belongs to one image. A pool of `pool` images is drawn without
    replacement `resamples` times (once, with all n images, if there are no more than that). Returns float64 (n,): the
    share of an image's pools in which it was a hit; NaN for an image that is in no pool, and for a single image. A tie
    for first place is a miss. A vector with a NaN or of length zero is a miss too and is never picked.

    ways: in place of drawn pools, the mean over all pools of `ways` images, in closed form from an image's rank; NaN if
    there are fewer images. With few images this is more informative than hits and misses.
    """
    return _hits(cosines(decoded, truth), pool, resamples, ways)


def retrieval_brain(
    truth: np.ndarray, decoded: np.ndarray, pool: int, resamples: int, ways: int | None = None
) -> np.ndarray:
    """Given each image, is its decoded vector the most similar of the pool? Otherwise as `retrieval_image`."""
    return _hits(cosines(truth, decoded), pool, resamples, ways)


def _hits(similarity: np.ndarray, pool: int, resamples: int, ways: int | None) -> np.ndarray:
    """Hits of each query. similarity: (queries, candidates); the diagonal is correct."""
    n = len(similarity)
    if n < max(ways or 2, 2):
        return np.full(n, np.nan)
    similarity[np.isnan(similarity)] = -np.inf
    if ways is not None:
        return chance_of_best((np.diag(similarity)[:, None] > similarity + TIE).sum(axis=1), n - 1, ways)
    if n <= pool:
        return _best_of(similarity).astype(np.float64)
    rng = np.random.default_rng(POOL_SEED)
    drawn, hit = np.zeros(n), np.zeros(n)
    for _ in range(resamples):
        members = rng.permutation(n)[:pool]
        drawn[members] += 1
        hit[members] += _best_of(similarity[np.ix_(members, members)])
    return np.divide(hit, drawn, out=np.full(n, np.nan), where=drawn > 0)


def _best_of(similarity: np.ndarray) -> np.ndarray:
    """Which queries have their own candidate, on the diagonal, in first place: bool (n,). Overwrites the diagonal."""
    own = similarity.diagonal() - TIE
    np.fill_diagonal(similarity, -np.inf)
    return own > similarity.max(axis=1)
