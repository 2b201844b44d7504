"""Metrics on a network's features of stimuli and reconstructions; row i of both arrays belongs to one image.

The functions work for any network. Features are float (n, d), already flattened.

torchmetrics has no identification. Its pairwise_cosine_similarity would give the correlations in half the time, but in
single precision, in which copies of one image are no longer exactly equal (see similarity.TIE).
"""

import numpy as np
from scipy.stats import hypergeom

from fmri2img.metrics.similarity import TIE, chance_of_best, correlations, paired_correlations


def identification(truth: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Two-way identification of each reconstruction among the stimuli, as in MindEye2's evaluation code.

    For reconstruction j: the share of the other stimuli i with r(i, j) < r(j, j), strictly, so that ties and undefined
    correlations are failures. (The paper's text describes the reverse: identification_reverse.) Returns float64 (n,);
    NaN for a single image, which has no other image to be compared with.
    """
    return n_way_identification(truth, images, 2)


def identification_reverse(truth: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Two-way identification of each stimulus among the reconstructions: the share of other reconstructions j with
    r(i, j) < r(i, i), strictly. Returns float64 (n,); NaN for a single image."""
    return n_way_identification(images, truth, 2)


def n_way_identification(truth: np.ndarray, images: np.ndarray, ways: int | None) -> np.ndarray:
    """Probability that a reconstruction is more like its own stimulus than like `ways` - 1 others drawn at random.

    In closed form, without draws: of the n - 1 other stimuli, b have r(i, j) < r(j, j), strictly; a draw without
    replacement takes `ways` - 1 of those b with probability C(b, ways - 1) / C(n - 1, ways - 1). ways None: all n, so
    that the value is 1 where the own stimulus ranks first and 0 elsewhere. Undefined correlations and ties are
    failures. Returns float64 (n,); NaN if there are fewer than `ways` images, and for a single image.
    """
    n = len(truth)
    ways = n if ways is None else ways
    if n < max(ways, 2):
        return np.full(n, np.nan)
    r = correlations(truth, images)
    return chance_of_best((r < r.diagonal() - TIE).sum(axis=0), n - 1, ways)


def n_way_top_k(truth: np.ndarray, images: np.ndarray, ways: int, k: int) -> np.ndarray:
    """MinD-Vis's n-way top-k accuracy of a classifier, in closed form.

    truth, images: class scores (n, classes). An image's class is the highest-scoring one of its stimulus. Together with
    `ways` - 1 other classes drawn without replacement, it must be among the k that score highest on the reconstruction.
    Let `above` be the number of classes that score at least as high. The number of those among the drawn classes is
    hypergeometric, and the value is the probability that it is less than k, which the published 1,000 draws estimate.
    Returns float64 (n,); 0 where a score is not finite. Raises ValueError for more ways than classes.
    """
    _check_ways(truth, ways, k)
    row, own = np.arange(len(truth)), truth.argmax(axis=1)
    above = (images >= images[row, own][:, None]).sum(axis=1) - 1
    values = hypergeom.cdf(k - 1, truth.shape[1] - 1, np.maximum(above, 0), ways - 1)
    return np.where(_finite(truth, images), values, 0.0)


def n_way_top_k_sampled(truth: np.ndarray, images: np.ndarray, ways: int, k: int, trials: int, seed: int) -> np.ndarray:
    """n_way_top_k by the published protocol: the share of `trials` draws in which the image's class is found.

    All images share the seeded draws, of positions among an image's other classes, so that a value does not depend on
    which images are scored with it. Ties are failures. Returns and raises as n_way_top_k.
    """
    _check_ways(truth, ways, k)
    classes = truth.shape[1]
    rng = np.random.default_rng(seed)
    drawn = rng.permuted(np.tile(np.arange(classes - 1), (trials, 1)), axis=1)[:, : ways - 1]
    values = np.empty(len(truth))
    for row, own in enumerate(truth.argmax(axis=1)):
        others = np.delete(images[row], own)[drawn]
        values[row] = ((others >= images[row, own]).sum(axis=1) < k).mean()
    return np.where(_finite(truth, images), values, 0.0)


def _check_ways(truth: np.ndarray, ways: int, k: int) -> None:
    if not k < ways <= truth.shape[1]:
        raise ValueError(f"{ways}-way top-{k} of {truth.shape[1]} classes")


def _finite(truth: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Which rows have finite scores of both pictures: bool (n,)."""
    return np.isfinite(truth).all(axis=1) & np.isfinite(images).all(axis=1)


def correlation_distance(truth: np.ndarray, images: np.ndarray) -> np.ndarray:
    """1 - Pearson correlation of each pair's features, float64 (n,); 1 (unrelated) where undefined. Lower is better."""
    return 1 - np.nan_to_num(paired_correlations(truth, images), nan=0.0)
