"""Ridge regression from trials to targets of their images, without ever holding the targets in memory.

Every trial of one image has the same targets, so with X (trials, voxels) centred, S (trials, images) the 0/1 matrix
that says which image a trial showed, and E (images, targets) the encoder's output for each image, the ridge solution

    W = (X'X + alpha I)^-1 X' S E  =  R E,        R = (X'X + alpha I)^-1 X' S = X' (XX' + alpha I)^-1 S

factors into a *readout* R (voxels, images), which does not depend on the targets, and E itself. A prediction is a
weighted sum of the tokens of the training images, with weights that add up to one:

    y(x) = [(x - mean) R + c / n] E,              c: trials of each image, n: trials

which is centring of both X and Y (the mean of Y over trials is c/n E, and the rows of R add up to zero). The left form
is solved if there are at least as many trials as voxels, otherwise the right one (the dual).
"""

import numpy as np
from scipy import linalg, sparse

ROW_BLOCK = 4096


class RidgeSystem:
    """The normal equations of a set of training trials, to be solved at any number of penalties.

    betas: float32 (trials, voxels); image: int (trials,), which of `n_images` images each trial showed. An image
    without a trial has weight zero. Memory: one float64 square matrix of side min(trials, voxels) and one more while a
    penalty is solved, plus float32 (images, voxels): 4.5 GB for 27,000 trials of 15,724 voxels and 9,000 images.
    """

    def __init__(self, betas: np.ndarray, image: np.ndarray, n_images: int) -> None:
        n_trials, n_voxels = betas.shape
        self.voxel_mean = betas.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.image_mean = np.bincount(image, minlength=n_images) / n_trials
        shown = sparse.csr_matrix((np.ones(n_trials, np.float32), (np.arange(n_trials), image)), (n_trials, n_images))
        self.dual = n_trials < n_voxels
        if self.dual:
            self._centred, self._shown = betas - self.voxel_mean, shown
            self._matrix = (self._centred @ self._centred.T).astype(np.float64)
        else:
            self._sums = shown.T @ betas - np.outer(self.image_mean * n_trials, self.voxel_mean).astype(np.float32)
            self._matrix = np.zeros((n_voxels, n_voxels))
            for start in range(0, n_trials, ROW_BLOCK):
                block = betas[start : start + ROW_BLOCK] - self.voxel_mean
                self._matrix += block.T @ block

    def _factor(self, alpha: float) -> tuple[np.ndarray, bool]:
        penalised = self._matrix.copy()
        penalised[np.diag_indices_from(penalised)] += alpha
        return linalg.cho_factor(penalised, lower=True, overwrite_a=True, check_finite=False)

    def weights(self, betas: np.ndarray, alpha: float) -> np.ndarray:
        """Weights of the training images in the prediction for each row of `betas`: float32 (rows, images)."""
        centred, factor = betas - self.voxel_mean, self._factor(alpha)
        if self.dual:
            weights = linalg.cho_solve(factor, self._centred @ centred.T, check_finite=False).T @ self._shown
        else:
            weights = linalg.cho_solve(factor, centred.T, check_finite=False).T.astype(np.float32) @ self._sums.T
        return (weights + self.image_mean).astype(np.float32)

    def readout(self, alpha: float) -> np.ndarray:
        """R at penalty `alpha`: float32 (voxels, images)."""
        factor = self._factor(alpha)
        if self.dual:
            duals = linalg.cho_solve(factor, self._shown.toarray(), check_finite=False)
            return self._centred.T @ duals.astype(np.float32)
        return linalg.cho_solve(factor, self._sums.T, check_finite=False).astype(np.float32)
