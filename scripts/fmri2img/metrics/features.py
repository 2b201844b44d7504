"""Metrics on the features a network gives to stimuli and reconstructions: row i of both arrays belongs to one image.

Nothing here knows which network it was. Features are float (n, d), already flattened.
"""

import numpy as np

from fmri2img.metrics.similarity import TIE, correlations, paired_correlations


def identification(truth: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Two-way identification of each reconstruction among the stimuli, as in MindEye2's evaluation code.

    For reconstruction j: the share of the other stimuli i with r(i, j) < r(j, j), strictly, so that ties are failures
    and an undefined correlation is one too. (The paper's text has it the other way round: identification_reverse.)
    Returns float64 (n,); NaN for a single image, which has nothing to be told from.
    """
    r = correlations(truth, images)
    return _share_beaten(r, axis=0)


def identification_reverse(truth: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Two-way identification of each stimulus among the reconstructions: the share of other reconstructions j with
    r(i, j) < r(i, i), strictly. Returns float64 (n,); NaN for a single image."""
    r = correlations(truth, images)
    return _share_beaten(r, axis=1)


def _share_beaten(r: np.ndarray, axis: int) -> np.ndarray:
    own = np.expand_dims(np.diag(r), axis)
    with np.errstate(invalid="ignore"):  # 0/0 for a single image
        return (r < own - TIE).sum(axis=axis) / np.float64(len(r) - 1)


def correlation_distance(truth: np.ndarray, images: np.ndarray) -> np.ndarray:
    """1 - Pearson correlation of each pair's features, float64 (n,); 1 (unrelated) where undefined. Lower is better."""
    return 1 - np.nan_to_num(paired_correlations(truth, images), nan=0.0)
