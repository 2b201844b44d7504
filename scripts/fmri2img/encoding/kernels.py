"""Banded ridge in its dual form: kernels of the training images, and one penalty and mixture of bands for each voxel.

With K the sum over bands of a band's weight times its kernel (images, images), the prediction for a picture with
kernel rows k is the sum over bands of k D, where D are dual weights (images, voxels). No array has the width of the
features, so features of any width are read block by block, once.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from fmri2img.errors import UserError

BLOCK_VALUES = 2**24  # features are read in blocks of about this many numbers (64 MB as float32)
TARGETS = 2000  # voxels solved at a time


@dataclass(frozen=True)
class Solved:
    """duals: float32 (bands, images, voxels); alphas: (voxels,), the chosen penalties; band_share: (bands, voxels), the
    chosen weights of the bands' kernels, which sum to 1; cv_r2: (voxels,), held-out R2 of the choice."""

    duals: np.ndarray
    alphas: np.ndarray
    band_share: np.ndarray
    cv_r2: np.ndarray

    def at_edge(self, alphas: list[float]) -> float:
        """Share of voxels whose penalty is the smallest or largest that there was to choose from."""
        return float(np.isin(self.alphas, np.asarray([min(alphas), max(alphas)], np.float32)).mean())

    def predict(self, kernels: np.ndarray) -> np.ndarray:
        """Part of each band in the predictions: float32 (bands, pictures, voxels). kernels: (bands, pictures, images).

        Their sum is the prediction, less the mean of the voxel.
        """
        return kernels @ self.duals


def mixtures(n_bands: int) -> np.ndarray:
    """Kernel weights to choose from, (mixtures, n_bands): every non-empty set of bands, in equal parts."""
    sets = [chosen for size in range(1, n_bands + 1) for chosen in combinations(range(n_bands), size)]
    weights = np.zeros((len(sets), n_bands), np.float32)
    for row, chosen in enumerate(sets):
        weights[row, chosen] = 1 / len(chosen)
    return weights


def cross_validated(kernels: np.ndarray, betas: np.ndarray, alphas: list[float], folds: int, seed: int) -> Solved:
    """Choose penalty and mixture of bands for each voxel by cross-validation over images, and solve for all images.

    kernels: float32 (bands, images, images), each with a diagonal that averages 1; betas: float32 (images, voxels),
    centred; alphas: penalties to choose from, in units of such a kernel; seed: of the assignment of images to folds
    (package himalaya). Raises UserError when there are fewer images than folds.
    """
    from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search
    from himalaya.scoring import r2_score
    from sklearn.model_selection import KFold

    if len(betas) < folds:
        raise UserError(
            f"encoding.folds: {folds} folds need as many training images, but there are {len(betas)}; lower it"
        )
    with np.errstate(divide="ignore"):  # the solver takes the logarithm of a band's weight, which may be 0
        deltas, duals, scores, best = solve_multiple_kernel_ridge_random_search(
            kernels,
            betas,
            n_iter=mixtures(len(kernels)),
            alphas=np.asarray(alphas, np.float32),
            score_func=r2_score,
            cv=KFold(folds, shuffle=True, random_state=seed),
            return_weights="dual",
            n_targets_batch=TARGETS,
            progress_bar=False,
            return_alphas=True,
        )
    weights = np.exp(deltas)
    return Solved(duals * weights[:, None], best, weights / weights.sum(axis=0), scores.max(axis=0))


def image_kernel(features: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Inner products of all images with the training images, in features standardised over the training images.

    features: any float type (images, width), read block by block, so it may be a memory map; training: int (n,), the
    rows of the training images. Constant features count 0, and the mean of the training images' products with
    themselves is 1. Returns float32 (images, n). Raises ValueError for features that are not finite or all constant.
    """
    kernel = np.zeros((len(features), len(training)), np.float32)
    step = max(1, BLOCK_VALUES // len(features))
    for start in range(0, features.shape[1], step):
        block = np.asarray(features[:, start : start + step], np.float32)
        if not np.isfinite(block).all():
            raise ValueError("features are not finite")
        seen = block[training]
        mean, sd = seen.mean(axis=0, dtype=np.float64), seen.std(axis=0, dtype=np.float64)
        varies = sd > 1e-6 * (np.abs(mean) + 1e-30)
        scale = np.divide(1, sd, out=np.zeros_like(sd), where=varies).astype(np.float32)
        block = (block - mean.astype(np.float32)) * scale
        kernel += block @ block[training].T
    diagonal = kernel[training, np.arange(len(training))].mean()
    if not diagonal > 0:
        raise ValueError("no feature varies over the training images")
    kernel /= diagonal
    return kernel
