"""Time of the metrics against plain loops, scikit-image and torchmetrics, and how it grows.

    PYTHONPATH=scripts python tests/benchmarks/metrics.py

Each time is that of the fastest of several calls, made in turn with the other's. Both must give the same values.
"""

import time

import numpy as np
import torch
from benchmark_table import against, fastest, growth
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

PICTURES = ((64, 64), (40, 425))  # pictures, and their side
FEATURES = ((10, 96), (64, 1280), (300, 6144), (1000, 2048))  # images, and the width of their features


def compare(what: str, ours, peer: str, other, *arrays: np.ndarray, apart: float) -> None:
    """Report the fastest call of both. Raises SystemExit where values differ by more than `apart`."""
    calls = 100 if arrays[0].size < 10**5 else 5
    (seconds, found), (others, expected) = fastest(
        calls, time.perf_counter, lambda: ours(*arrays), lambda: other(*arrays)
    )
    if np.abs(found - expected).max() > apart:
        raise SystemExit(f"{what}: values differ from those of {peer} by {np.abs(found - expected).max():.1e}")
    against(what, seconds, peer, others)


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


def our_retrieval(truth, decoded):
    return retrieval_image(truth, decoded, len(truth), 1)


def our_kid(truth, images):
    return kid_contributions(truth, images).mean()


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


def features(rng: np.random.Generator, n: int, width: int, noise: float = 5) -> list[np.ndarray]:
    truth = rng.standard_normal((n, width), np.float32)
    return [truth, truth + noise * rng.standard_normal((n, width), np.float32)]


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    for n, side in PICTURES:
        truth, noise = rng.random((2, n, side, side, 3), np.float32)
        pair, what = (truth, 0.5 * truth + 0.5 * noise), f"{n} pairs of {side} pixels"
        compare(f"PixCorr, {what}", pixcorr, "loop of np.corrcoef", loop_pixcorr, *pair, apart=1e-9)
        compare(f"PixCorr, {what}", pixcorr, "torchmetrics (float32)", torchmetrics_pixcorr, *pair, apart=1e-5)
        compare(f"SSIM, {what}", ssim, "loop of scikit-image", loop_ssim, *pair, apart=1e-6)
        compare(f"SSIM, {what}", ssim, "torchmetrics (other borders)", torchmetrics_ssim, *pair, apart=0.1)
    for n, width in FEATURES:
        pair, what = features(rng, n, width), f"{n} images, {width:,} features"
        compare(f"identification, {what}", identification, "published code", loop_identification, *pair, apart=0)
        compare(f"retrieval, {what}", our_retrieval, "loop", loop_retrieval, *pair, apart=0)
    other = torchmetrics_identification
    compare(f"identification, {what}", identification, "torchmetrics (float32)", other, *pair, apart=0.01)
    pair = features(rng, 300, 512, 1)
    compare(
        "KID, 300 images, 512 features", our_kid, "torchmetrics (no intervals)", torchmetrics_kid, *pair, apart=1e-9
    )
    compare("FID, 300 images, 512 features", fid, "torchmetrics", torchmetrics_fid, *pair, apart=1e-3)
    sizes = [250, 500, 1000, 2000]
    times = []
    for n in sizes:
        pair = features(rng, n, 1024)
        times.append(fastest(3, time.perf_counter, lambda pair=pair: identification(*pair))[0][0])
    growth("identification, 1,024 features", "images", sizes, times)


if __name__ == "__main__":
    main()
