"""Time of the metrics against straightforward loops: `PYTHONPATH=scripts python tests/benchmarks/metrics.py`.

Prints seconds of this library and of the loop (the fastest of three calls), their ratio, and the largest difference
between their values.
"""

import time

import numpy as np
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity

from fmri2img.metrics.features import identification
from fmri2img.metrics.pixels import pixcorr, ssim
from fmri2img.metrics.retrieval import retrieval_image
from fmri2img.stats.bootstrap import bootstrap_means


def best_of(calls: int, function, *arrays) -> tuple[float, np.ndarray]:
    """Seconds of the fastest call, and what it returns."""
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        found = function(*arrays)
        seconds.append(time.perf_counter() - start)
    return min(seconds), found


def compare(what: str, ours, loop, *arrays: np.ndarray) -> None:
    seconds, found = best_of(3, ours, *arrays)
    loop_seconds, expected = best_of(3, loop, *arrays)
    difference = np.abs(found - expected).max()
    print(
        f"{what:55s} {seconds:8.3f} s {loop_seconds:8.3f} s   {loop_seconds / seconds:4.1f} times as fast   "
        f"difference {difference:.1e}"
    )


def loop_pixcorr(truth, images):
    return np.array([np.corrcoef(t.ravel(), i.ravel())[0, 1] for t, i in zip(truth, images, strict=True)])


def loop_ssim(truth, images):
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    pairs = zip(truth, images, strict=True)
    return np.array([structural_similarity(rgb2gray(t), rgb2gray(i), **settings) for t, i in pairs])


def loop_identification(truth, images):
    """The published code: one large correlation matrix of both sets together."""
    r = np.corrcoef(truth, images)[: len(truth), len(truth) :]
    return (r < np.diag(r)).sum(axis=0) / (len(r) - 1)


def loop_retrieval(truth, decoded):
    truth = truth / np.linalg.norm(truth, axis=1, keepdims=True)
    decoded = decoded / np.linalg.norm(decoded, axis=1, keepdims=True)
    return np.array([(truth @ row).argmax() == i for i, row in enumerate(decoded)], float)


def loop_bootstrap(values):
    rng = np.random.default_rng(0)
    return np.array([values[rng.integers(0, len(values), len(values))].mean(axis=0) for _ in range(1000)])


def main() -> None:
    rng = np.random.default_rng(0)
    for n, size in ((64, 64), (40, 425)):
        truth, noise = rng.random((2, n, size, size, 3), np.float32)
        images = 0.5 * truth + 0.5 * noise
        compare(f"PixCorr, {n} images of {size} pixels", pixcorr, loop_pixcorr, truth, images)
        compare(f"SSIM, {n} images of {size} pixels", ssim, loop_ssim, truth, images)
    for n, width in ((64, 1280), (1000, 20000)):
        truth = rng.standard_normal((n, width), np.float32)
        images = truth + 5 * rng.standard_normal((n, width), np.float32)
        compare(f"identification, {n} images, {width} features", identification, loop_identification, truth, images)
        compare(
            f"retrieval, {n} images, {width} dimensions",
            lambda t, d: retrieval_image(t, d, 1000, 1),
            loop_retrieval,
            truth,
            images,
        )
    values = rng.random((1000, 600))
    start = time.perf_counter()
    bootstrap_means(values, 10_000, 0)
    middle = time.perf_counter()
    loop_bootstrap(values)
    end = time.perf_counter()
    print(f"10,000 resamples of 1,000 images in 600 columns: {middle - start:.2f} s, loop {10 * (end - middle):.1f} s")


if __name__ == "__main__":
    main()
