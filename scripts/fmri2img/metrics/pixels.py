"""Metrics on pixels: PixCorr and SSIM, one value for each pair of images."""

import numpy as np

from fmri2img.metrics.similarity import paired_correlations

LUMA = np.array([0.2125, 0.7154, 0.0721], np.float32)  # ITU-R BT.709, as in scikit-image's rgb2gray
SIGMA, TRUNCATE = 1.5, 3.5
BORDER = int(TRUNCATE * SIGMA + 0.5)  # 5 pixels: the window is 11 wide
C1, C2 = 0.01**2, 0.03**2  # Wang et al. 2004, data range 1


def pixcorr(truth: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Pearson correlation over all RGB values of each pair; 0 (unrelated) where one of the two is constant.

    truth, images: float (n, height, width, 3). Returns float64 (n,).
    """
    return np.nan_to_num(paired_correlations(truth.reshape(len(truth), -1), images.reshape(len(images), -1)), nan=0.0)


# The filter as a matrix that takes STRIP + 2 BORDER pixels to STRIP. Many small products are faster than the loops of a
# convolution, and than one product with the whole, mostly empty, matrix.
STRIP = 16
_OFFSETS = np.arange(STRIP + 2 * BORDER) - np.arange(STRIP)[:, None] - BORDER
_WEIGHTS = np.where(abs(_OFFSETS) <= BORDER, np.exp(-0.5 * (_OFFSETS / SIGMA) ** 2), 0)
FILTER = (_WEIGHTS / _WEIGHTS.sum(axis=1, keepdims=True)).astype(np.float32)


def _windows(maps: np.ndarray) -> np.ndarray:
    """Gaussian-weighted local means of maps, float32 (n, height, width), where the whole window lies inside:
    (n, height - 2 BORDER, width - 2 BORDER)."""
    n, height, width = maps.shape[0], maps.shape[1] - 2 * BORDER, maps.shape[2] - 2 * BORDER
    down = np.empty((n, height, maps.shape[2]), np.float32)
    for start in range(0, height, STRIP):
        inside = slice(start, min(start + STRIP, height))
        length = inside.stop - start
        strip = maps[:, start : inside.stop + 2 * BORDER]
        np.matmul(FILTER[:length, : length + 2 * BORDER], strip, out=down[:, inside])
    means = np.empty((n, height, width), np.float32)
    for start in range(0, width, STRIP):
        inside = slice(start, min(start + STRIP, width))
        length = inside.stop - start
        strip = down[:, :, start : inside.stop + 2 * BORDER]
        np.matmul(strip, FILTER[:length, : length + 2 * BORDER].T, out=means[:, :, inside])
    return means


def ssim(truth: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Mean structural similarity of each pair in grey; 0 where a pixel is not finite.

    truth, images: float32 (n, height, width, 3) in 0..1, at least 11 pixels wide and high. Returns float64 (n,). Equals
    scikit-image's structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0)
    of rgb2gray images, with four smoothings in place of five: the two variances only enter as their sum.
    """
    values = np.empty(len(truth))
    for i, (x, y) in enumerate(zip(truth @ LUMA, images @ LUMA, strict=True)):
        mean_x, mean_y, squares, product = _windows(np.stack([x, y, x * x + y * y, x * y]))
        means_product, means_squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
        similarity = (2 * means_product + C1) * (2 * (product - means_product) + C2)
        similarity /= (means_squares + C1) * (squares - means_squares + C2)
        values[i] = similarity.mean(dtype=np.float64)
    return np.nan_to_num(values, nan=0.0)
