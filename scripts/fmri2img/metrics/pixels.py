"""Metrics on pixels: PixCorr and SSIM, one value for each pair of images.

Why not a library's (measured by tests/benchmarks/metrics.py): torchmetrics' pearson_corrcoef takes more than 10 times
our time, and in single precision differs by 1e-7; its SSIM takes 9 to 15 times ours and differs by up to 1e-2;
scikit-image's SSIM, whose numbers these are, takes about twice ours.
"""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

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


# The filter as a matrix that takes TILE + 2 BORDER pixels to TILE. Many small products are faster than the loops of a
# convolution, and than one product with the whole, mostly empty, matrix.
TILE = 32
_OFFSETS = np.arange(TILE + 2 * BORDER) - np.arange(TILE)[:, None] - BORDER
_WEIGHTS = np.where(abs(_OFFSETS) <= BORDER, np.exp(-0.5 * (_OFFSETS / SIGMA) ** 2), 0)
FILTER = (_WEIGHTS / _WEIGHTS.sum(axis=1, keepdims=True)).astype(np.float32)
ACROSS = np.ascontiguousarray(FILTER.T)


def _bands(maps: np.ndarray) -> Iterator[np.ndarray]:
    """Maps float32 (n, height, width), band by band, cut into tiles that overlap by the width of the window.

    Each band is (n, tiles, length + 2 BORDER, TILE + 2 BORDER); its length is TILE, or what is left at the bottom. The
    last tile is filled up with edge pixels.
    """
    height, width = (side - 2 * BORDER for side in maps.shape[1:])
    maps = np.pad(maps, ((0, 0), (0, 0), (0, -width % TILE)), "edge")
    for start in range(0, height, TILE):
        band = maps[:, start : min(start + TILE, height) + 2 * BORDER]
        yield sliding_window_view(band, TILE + 2 * BORDER, axis=2)[:, :, ::TILE].swapaxes(1, 2)


def ssim(truth: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Mean structural similarity of each pair in grey; 0 where a pixel is not finite.

    truth, images: float32 (n, height, width, 3) in 0..1, at least 11 pixels wide and high. Returns float64 (n,). Equals
    scikit-image's structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0)
    of rgb2gray images, with four smoothings in place of five: the two variances only enter as their sum. They are taken
    of deviations from about the mean of a tile, because in single precision a mean of squares less the square of a mean
    is off by as much as C2 lets through where a picture is bright and flat.
    """
    values = np.array([_ssim(pair) for pair in zip(truth @ LUMA, images @ LUMA, strict=True)])
    return np.nan_to_num(values, nan=0.0)


def _ssim(pair: tuple[np.ndarray, np.ndarray]) -> float:
    """Of two grey pictures, float32 (height, width)."""
    total, (height, width) = 0.0, (side - 2 * BORDER for side in pair[0].shape)
    for tiles in _bands(np.stack(pair)):
        centres = tiles[:, :, ::8, ::8].mean(axis=(2, 3), keepdims=True)
        maps = np.empty((4, *tiles.shape[1:]), np.float32)
        x, y, squares, product = maps
        np.subtract(tiles, centres, out=maps[:2])
        np.multiply(x, y, out=product)
        np.multiply(x, x, out=squares)
        squares += y * y
        down = FILTER[: x.shape[1] - 2 * BORDER, : x.shape[1]]
        local_x, local_y, squares, product = down @ maps @ ACROSS
        covariance = product - local_x * local_y
        variances = squares - (local_x * local_x + local_y * local_y)
        mean_x, mean_y = local_x + centres[0], local_y + centres[1]
        similarity = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
        similarity /= (mean_x * mean_x + mean_y * mean_y + C1) * (variances + C2)
        total += np.hstack(similarity)[:, :width].sum(dtype=np.float64)
    return total / height / width
