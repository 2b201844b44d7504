"""Time of the metrics against loops and torchmetrics: `PYTHONPATH=scripts python tests/benchmarks/metrics.py`.

Prints seconds of this library and of the other (the fastest of three calls), their ratio, and the largest difference
between their values.
"""

import time

import numpy as np
import torch
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.functional.pairwise import pairwise_cosine_similarity
from torchmetrics.functional.regression import pearson_corrcoef
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from fmri2img.metrics.features import identification
from fmri2img.metrics.pixels import LUMA, pixcorr, ssim
from fmri2img.metrics.retrieval import retrieval_image
from fmri2img.metrics.sets import fid, kid_contributions
from fmri2img.stats.bootstrap import bootstrap_means


def best_of(calls: int, function, *arrays) -> tuple[float, np.ndarray]:
    """Seconds of the fastest call, and what it returns."""
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        found = function(*arrays)
        seconds.append(time.perf_counter() - start)
    return min(seconds), found


def compare(what: str, ours, other, *arrays: np.ndarray) -> None:
    seconds, found = best_of(3, ours, *arrays)
    other_seconds, expected = best_of(3, other, *arrays)
    difference = np.abs(found - expected).max()
    print(
        f"{what:60s} {seconds:8.3f} s {other_seconds:8.3f} s   {other_seconds / seconds:4.1f} times as fast   "
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


def torchmetrics_pixcorr(truth, images):
    columns = (torch.from_numpy(pictures.reshape(len(pictures), -1).T.copy()) for pictures in (images, truth))
    return pearson_corrcoef(*columns).numpy()


def torchmetrics_ssim(truth, images):
    grey = (torch.from_numpy(pictures @ LUMA)[:, None] for pictures in (images, truth))
    return structural_similarity_index_measure(*grey, sigma=1.5, data_range=1.0, reduction="none").numpy()


def torchmetrics_identification(truth, images):
    centred = (torch.from_numpy(rows - rows.mean(axis=1, keepdims=True)) for rows in (truth, images))
    r = pairwise_cosine_similarity(*centred).numpy()
    return (r < np.diag(r)).sum(axis=0) / (len(r) - 1)


def torchmetrics_kid(truth, images):
    return poly_mmd(torch.from_numpy(truth).double(), torch.from_numpy(images).double()).numpy()


def torchmetrics_fid(truth, images):
    sets = [torch.from_numpy(rows).double() for rows in (truth, images)]
    return _compute_fid(*(part for rows in sets for part in (rows.mean(dim=0), torch.cov(rows.T)))).numpy()


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
        compare(f"PixCorr, torchmetrics, {n} images of {size} pixels", pixcorr, torchmetrics_pixcorr, truth, images)
        compare(f"SSIM, torchmetrics, {n} images of {size} pixels", ssim, torchmetrics_ssim, truth, images)
    for n, width in ((64, 1280), (1000, 20000)):
        truth = rng.standard_normal((n, width), np.float32)
        images = truth + 5 * rng.standard_normal((n, width), np.float32)
        what = f"{n} images, {width} features"
        compare(f"identification, {what}", identification, loop_identification, truth, images)
        compare(f"identification, torchmetrics, {what}", identification, torchmetrics_identification, truth, images)
        compare(
            f"retrieval, {n} images, {width} dimensions",
            lambda t, d: retrieval_image(t, d, 1000, 1),
            loop_retrieval,
            truth,
            images,
        )
    truth = rng.standard_normal((300, 512), np.float32)
    images = truth + rng.standard_normal((300, 512), np.float32)
    compare(
        "KID, torchmetrics, 300 images, 512 features",
        lambda t, i: kid_contributions(t, i).mean(),
        torchmetrics_kid,
        truth,
        images,
    )
    compare("FID, torchmetrics, 300 images, 512 features", fid, torchmetrics_fid, truth, images)
    values = rng.random((1000, 600))
    start = time.perf_counter()
    bootstrap_means(values, 10_000, 0)
    middle = time.perf_counter()
    loop_bootstrap(values)
    end = time.perf_counter()
    print(f"10,000 resamples of 1,000 images in 600 columns: {middle - start:.2f} s, loop {10 * (end - middle):.1f} s")


if __name__ == "__main__":
    main()
