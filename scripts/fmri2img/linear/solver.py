"""Ridge regression from trials to targets of their images, without ever holding the targets in memory.

Every trial of one image has the same targets, so with X (trials, voxels) centred, S (trials, images) the 0/1 matrix
that says which image a trial showed, and E (images, targets) the encoder's output for each image, the ridge solution

    W = (X'X + alpha I)^-1 X' S E  =  R E,        R = (X'X + alpha I)^-1 X' S = X' (XX' + alpha I)^-1 S

factors into a *readout* R (voxels, images), which does not depend on the targets, and E itself. A prediction is a
weighted sum of the tokens of the training images, with weights that add up to one:

    y(x) = [(x - mean) R + c / n] E,              c: trials of each image, n: trials

which is centring of both X and Y (the mean of Y over trials is c/n E, and the rows of R add up to zero). The left form
is solved if there are at least as many trials as voxels, otherwise the right one (the dual).

A cross-validation computes the square matrix once, because that of a part of the trials follows from that of all: of
the dual it is a part of XX' with its own mean removed, of the left form X'X less the products of the trials left out.
Sums are in float64; betas stay float32 and are converted a block at a time.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse
from scipy.linalg import blas, lapack

from fmri2img.errors import UserError

BLOCK_VALUES = 2**23  # betas are converted to float64 in blocks of about this many numbers (64 MB)
TRIANGLE = 256  # rows and columns of a matrix that are copied at a time


class RidgeSystem:
    """The normal equations of a set of training trials, to be solved at any number of penalties.

    betas: float32 (trials, voxels); image: int (trials,), which of `n_images` images each trial showed. An image
    without a trial has weight zero. Memory beyond betas: one float64 square matrix of side min(trials, voxels), and
    float64 (trials or voxels, images) while the readout is solved: 1.3 GB for 8,859 trials of as many images and 15,724
    voxels, 4 GB for 27,000 trials of 9,000 images.
    """

    def __init__(self, betas: np.ndarray, image: np.ndarray, n_images: int) -> None:
        self.dual = len(betas) < betas.shape[1]
        self._take(betas, np.arange(len(betas)), image, n_images)
        self._matrix = Penalised(self._products() if self.dual else self._scatter(self._rows))

    def _take(self, betas: np.ndarray, rows: np.ndarray, image: np.ndarray, n_images: int) -> None:
        """Take these rows of the betas; `image` is of all rows."""
        self._betas, self._rows, self.image, self._n_images = betas, rows, image, n_images
        counts = np.bincount(image[rows], minlength=n_images)
        self.image_mean = counts / len(rows)
        sums = np.zeros(betas.shape[1])
        for part in _parts(len(rows), betas.shape[1]):
            sums += betas[rows[part]].sum(axis=0, dtype=np.float64)
        self.voxel_mean = sums / len(rows)

    def part(self, training: np.ndarray) -> "RidgeSystem":
        """The system of some of the trials; training: bool (trials,)."""
        found = object.__new__(RidgeSystem)
        found.dual = self.dual
        found._take(self._betas, np.flatnonzero(training), self.image, self._n_images)
        if self.dual:
            matrix = self._matrix.unpenalised()[np.ix_(found._rows, found._rows)]
            means = matrix.mean(axis=0)
            matrix -= means
            matrix -= (means - means.mean())[:, None]
        else:
            left_out = np.flatnonzero(~training)
            shift = found.voxel_mean - self.voxel_mean
            matrix = self._matrix.unpenalised() - self._scatter(left_out)
            matrix -= len(found._rows) * np.outer(shift, shift)
        found._matrix = Penalised(matrix)
        return found

    def weights(self, betas: np.ndarray, alpha: float) -> np.ndarray:
        """Weights of the training images in the prediction for each row of `betas`: float32 (rows, images)."""
        return next(self.weights_at(betas, [alpha]))

    def weights_at(self, betas: np.ndarray, alphas: Sequence[float]) -> Iterator[np.ndarray]:
        """`weights` at each penalty in turn."""
        right = self._products(betas) if self.dual else (betas - self.voxel_mean).T
        sums = None if self.dual else self._sums()
        for alpha in alphas:
            solved = self._matrix.solve(alpha, np.array(right, order="F"))
            weights = self._by_image(solved).T if sums is None else solved.T @ sums
            yield (weights + self.image_mean).astype(np.float32)

    def readout(self, alpha: float, out: np.ndarray | None = None) -> np.ndarray:
        """R at penalty `alpha`: float32 (voxels, images), in `out` if that is given."""
        readout = np.empty((self._betas.shape[1], self._n_images), np.float32) if out is None else out
        if not self.dual:
            readout[:] = self._matrix.solve(alpha, self._sums())
            return readout
        shown = np.zeros((len(self._rows), self._n_images), order="F")
        shown[np.arange(len(self._rows)), self.image[self._rows]] = 1
        duals = self._matrix.solve(alpha, shown)
        for part, block in self._voxel_blocks():
            readout[part] = block.T @ duals
        return readout

    def _voxel_blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Centred betas, float64 (trials, voxels), some voxels at a time."""
        for part in _parts(self._betas.shape[1], len(self._rows)):
            yield part, self._betas[self._rows, part] - self.voxel_mean[part]

    def _products(self, betas: np.ndarray | None = None) -> np.ndarray:
        """Inner products of the trials with other rows of betas, float64 (trials, rows), all centred; of the trials
        with each other without `betas`."""
        if betas is None:
            found = np.zeros((len(self._rows), len(self._rows)), order="F")
            for _, block in self._voxel_blocks():
                found = blas.dsyrk(1.0, block.T, 1.0, found, trans=1, overwrite_c=1)  # the upper triangle
            return symmetric(found)
        found = np.zeros((len(self._rows), len(betas)))
        for part, block in self._voxel_blocks():
            found += block @ (betas[:, part] - self.voxel_mean[part]).T
        return found

    def _scatter(self, rows: np.ndarray) -> np.ndarray:
        """X'X of some trials about this system's mean, float64 (voxels, voxels)."""
        found = np.zeros((self._betas.shape[1],) * 2, order="F")
        for part in _parts(len(rows), self._betas.shape[1]):
            block = self._betas[rows[part]] - self.voxel_mean
            found = blas.dsyrk(1.0, block.T, 1.0, found, overwrite_c=1)
        return symmetric(found)

    def _by_image(self, rows: np.ndarray) -> np.ndarray:
        """Sums over the trials of each image, (images, ...), of what is (trials, ...)."""
        shape = (len(self._rows), self._n_images)
        where = (np.arange(len(self._rows)), self.image[self._rows])
        return sparse.csr_matrix((np.ones(len(self._rows)), where), shape).T @ rows

    def _sums(self) -> np.ndarray:
        """Centred betas summed over the trials of each image, float64 (voxels, images): X'S."""
        sums = np.empty((self._betas.shape[1], self._n_images), order="F")
        for part, block in self._voxel_blocks():
            sums[part] = self._by_image(block).T
        return sums


class Penalised:
    """A symmetric matrix to which penalties are added, solved by a Cholesky factor in place of its lower triangle.

    values: float64 (n, n), of which this object takes possession. The upper triangle keeps the matrix, so that the next
    penalty finds it without a copy of the whole.
    """

    def __init__(self, values: np.ndarray) -> None:
        self._values = values if values.flags.f_contiguous else values.T
        self._diagonal = self._values.diagonal().copy()
        self._factored: float | None = None

    def unpenalised(self) -> np.ndarray:
        """The matrix itself, not a copy."""
        if self._factored is not None:
            np.fill_diagonal(symmetric(self._values), self._diagonal)
            self._factored = None
        return self._values

    def solve(self, alpha: float, right: np.ndarray) -> np.ndarray:
        """(matrix + alpha I)^-1 right, in place of `right` if that is float64 in Fortran order.

        Raises UserError for a penalty so small that the matrix stays singular.
        """
        if alpha != self._factored:
            np.fill_diagonal(self.unpenalised(), self._diagonal + alpha)
            self._values, info = lapack.dpotrf(self._values, lower=1, clean=0, overwrite_a=1)
            self._factored = alpha
            if info:
                raise UserError(f"ridge penalty {alpha:g} is too small for these betas; choose a larger one")
        return lapack.dpotrs(self._values, right, lower=1, overwrite_b=1)[0]


def symmetric(matrix: np.ndarray) -> np.ndarray:
    """The matrix (n, n) with its lower triangle replaced by its upper one, in place."""
    for start in range(0, len(matrix), TRIANGLE):
        stop = min(start + TRIANGLE, len(matrix))
        matrix[stop:, start:stop] = matrix[start:stop, stop:].T
        lower = np.tril_indices(stop - start, -1)
        square = matrix[start:stop, start:stop]
        square[lower] = square.T[lower]
    return matrix


def _parts(n: int, width: int) -> Iterator[slice]:
    """Slices of 0..n of such a length that (length, width) has about BLOCK_VALUES values."""
    step = max(1, BLOCK_VALUES // width)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
