"""Metrics on pixels: PixCorr and SSIM, one value for each pair of images."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

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


def _window(image: np.ndarray) -> np.ndarray:
    """Gaussian-weighted local mean where the whole window lies inside: (height - 10, width - 10)."""
    rows = gaussian_filter1d(image, SIGMA, axis=0, truncate=TRUNCATE)[BORDER:-BORDER]
    return gaussian_filter1d(rows, SIGMA, axis=1, truncate=TRUNCATE)[:, BORDER:-BORDER]


def ssim(truth: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Mean structural similarity of each pair in grey; 0 where a pixel is not finite.

    truth, images: float32 (n, height, width, 3) in 0..1, at least 11 pixels wide and high. Returns float64 (n,). Equals
    scikit-image's structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0)
    of rgb2gray images, with four smoothings in place of five: the two variances only enter as their sum.
    """
    values = np.empty(len(truth))
    for i, (x, y) in enumerate(zip(truth @ LUMA, images @ LUMA, strict=True)):
        mean_x, mean_y, squares, product = _window(x), _window(y), _window(x * x + y * y), _window(x * y)
        means_product, means_squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
        similarity = (2 * means_product + C1) * (2 * (product - means_product) + C2)
        similarity /= (means_squares + C1) * (squares - means_squares + C2)
        values[i] = similarity.mean(dtype=np.float64)
    return np.nan_to_num(values, nan=0.0)
