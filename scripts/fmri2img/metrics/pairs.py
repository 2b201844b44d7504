"""Metrics of all pairs of an image and a prediction, for tests that assign predictions to images at random.

Each function returns float64 (n, n): [i, j] is what the metric of the same name gives image i if prediction j is
assigned to it, while all predictions stay in the pool of an identification. So the mean over images of any assignment
is a mean of entries, one from each row and column, and the diagonal holds the values of `fmri2img.metrics.scoring`.

Two differences from it: pools of retrieval are not drawn (the value is the mean over all pools of that size, which the
drawn ones estimate), and PixCorr is computed in single precision.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import hypergeom

from fmri2img.backbones.pixels import resize_matrix, resized_pictures
from fmri2img.metrics import captions as caption_metrics
from fmri2img.metrics.brain import MeasuredBrain, regions
from fmri2img.metrics.similarity import CONSTANT, TIE, chance_of_best, correlations, cosines

PICTURES = 64  # pictures transformed at once
# Function of the registry -> why its metric has no test: none of these is a mean of values of pairs that are cheap.
WITHOUT = {
    "ssim": "every pair of pictures would have to be compared",
    "perceptual_distance": "the network would have to compare every pair of pictures",
    "n_way_top_k_sampled": "every pair would need its own draws",
    "kid": "it does not depend on which picture belongs to which image",
    "fid": "it does not depend on which picture belongs to which image",
    **dict.fromkeys(("rouge", "meteor", "bleu", "cider", "spice"), "every pair of sentences would have to be compared"),
}


def pixcorr(truth: np.ndarray, images: np.ndarray, size: int, pixel_size: int, antialias: bool) -> np.ndarray:
    """PixCorr of stored pictures, uint8 (n, height, width, 3), compared at `size` and then `pixel_size`.

    Enlarging is linear, so the inner product of two enlarged pictures is one of the small pictures under a matrix for
    rows and one for columns: no enlarged picture is made.
    """
    enlarged = [_Enlarged(pictures, size, pixel_size, antialias) for pictures in (truth, images)]
    dots = enlarged[0].products(enlarged[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(dots / enlarged[0].norms()[:, None] / enlarged[1].norms(), nan=0.0, posinf=0, neginf=0)


class _Enlarged:
    """Pictures at the smallest size on their way, less their mean, with the matrices that enlarge rows and columns."""

    def __init__(self, pictures: np.ndarray, size: int, pixel_size: int, antialias: bool) -> None:
        height, width = pictures.shape[1:3]
        shrinks, rest = max(height, width) > size, (size, pixel_size)
        if shrinks:
            height, width, rest = size, size, (pixel_size,)
        matrices = {side: resize_matrix(side, *rest, antialias=antialias) for side in {height, width}}
        self.down, self.across, self.width = matrices[height], matrices[width], 3 * pixel_size**2
        blocks = [slice(start, start + PICTURES) for start in range(0, len(pictures), PICTURES)]
        self.pictures = np.empty((len(pictures), height, width, 3), np.float32)
        for block in blocks:
            stored = pictures[block]
            self.pictures[block] = (
                resized_pictures(stored, size, antialias=antialias) if shrinks else stored.astype(np.float32) / 255
            )
        # Each pixel counts as often as it is found in the enlarged picture.
        weights = np.outer(self.down.sum(axis=0), self.across.sum(axis=0)) / (self.width / 3)
        self.means = np.einsum("nhwc,hw->n", self.pictures, weights, dtype=np.float64) / 3
        self.pictures -= self.means[:, None, None, None].astype(np.float32)

    def products(self, other: "_Enlarged") -> np.ndarray:
        """Inner products of all pairs of enlarged pictures."""
        down, across = self.down.T @ other.down, self.across.T @ other.across
        flat = other.pictures.reshape(len(other.pictures), -1)
        return np.concatenate([block.reshape(len(block), -1) @ flat.T for block in self._moved(down, across)]).astype(
            np.float64
        )

    def norms(self) -> np.ndarray:
        """Of the enlarged pictures; NaN for a constant one."""
        blocks = self._moved(self.down.T @ self.down, self.across.T @ self.across)
        starts = range(0, len(self.pictures), PICTURES)
        squares = np.concatenate(
            [np.einsum("nhwc,nhwc->n", block, self.pictures[start : start + PICTURES], dtype=np.float64)
             for start, block in zip(starts, blocks, strict=True)]
        )  # fmt: skip
        constant = squares <= CONSTANT**2 * (squares + self.width * self.means**2)
        return np.sqrt(np.where(constant, np.nan, squares))

    def _moved(self, down: np.ndarray, across: np.ndarray):
        """Blocks of pictures, multiplied from both sides: float32 (block, rows, columns, 3)."""
        down, across = down.astype(np.float32), across.astype(np.float32)
        for start in range(0, len(self.pictures), PICTURES):
            block = self.pictures[start : start + PICTURES].transpose(0, 3, 1, 2)
            yield np.ascontiguousarray((down.T @ block @ across).transpose(0, 2, 3, 1))


def identification(truth: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Each reconstruction among the stimuli."""
    return n_way_identification(truth, images, 2)


def identification_reverse(truth: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Each stimulus among the reconstructions."""
    return n_way_identification(images, truth, 2).T


def n_way_identification(truth: np.ndarray, images: np.ndarray, ways: int | None) -> np.ndarray:
    return _chances(correlations(truth, images).T, ways).T


def correlation_distance(truth: np.ndarray, images: np.ndarray) -> np.ndarray:
    return 1 - np.nan_to_num(correlations(truth, images), nan=0.0)


def n_way_top_k(truth: np.ndarray, images: np.ndarray, ways: int, k: int) -> np.ndarray:
    """truth, images: class scores (n, classes)."""
    classes = truth.shape[1]
    chance = hypergeom.cdf(k - 1, classes - 1, np.arange(classes), ways - 1)
    own, found = truth.argmax(axis=1), np.zeros((len(truth), len(truth)))
    finite = np.isfinite(truth).all(axis=1)
    for j in np.flatnonzero(np.isfinite(images).all(axis=1)):
        above = classes - np.searchsorted(np.sort(images[j]), images[j, own], "left") - 1
        found[finite, j] = chance[np.maximum(above, 0)][finite]
    return found


def retrieval_image(
    truth: np.ndarray, decoded: np.ndarray, pool: int, resamples: int, ways: int | None = None
) -> np.ndarray:
    """Each decoded vector's image among the true ones. resamples: not used, as pools are not drawn."""
    return _chances(_known(cosines(decoded, truth)), ways or min(pool, len(truth))).T


def retrieval_brain(
    truth: np.ndarray, decoded: np.ndarray, pool: int, resamples: int, ways: int | None = None
) -> np.ndarray:
    """Each image's decoded vector among all of them."""
    return _chances(_known(cosines(truth, decoded)), ways or min(pool, len(truth)))


def _known(similarity: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(similarity), -np.inf, similarity)


def _chances(similarity: np.ndarray, ways: int | None) -> np.ndarray:
    """[q, c]: the probability that query q is more like candidate c than like `ways` - 1 of the other candidates.

    similarity: (queries, candidates). Undefined ones (NaN) neither beat nor are beaten. NaN for fewer candidates.
    """
    n = len(similarity)
    ways = n if ways is None else ways
    if n < max(ways, 2):
        return np.full((n, n), np.nan)
    chance = chance_of_best(np.arange(n), n - 1, ways)
    found = np.empty((n, n))
    for query, row in enumerate(similarity):
        beaten = np.searchsorted(np.sort(row), row - TIE, "left")
        found[query] = chance[np.where(np.isnan(row), 0, beaten)]
    return found


def text_cosine(references: list[list[str]], captions: list[str], encode) -> np.ndarray:
    sentences = list(dict.fromkeys(captions))
    texts = [text for several in references for text in several]
    vectors = np.asarray(encode([*sentences, *texts]), np.float64)
    cosine = vectors[len(sentences) :] @ vectors[: len(sentences)].T
    starts = np.cumsum([0, *map(len, references)])[:-1]
    best = np.maximum.reduceat(cosine, starts, axis=0)[:, [sentences.index(one) for one in captions]]
    return np.where(caption_metrics.worded(captions), best, 0.0)


def clip_score(references: list[list[str]], captions: list[str], encode, pictures: np.ndarray) -> np.ndarray:
    vectors = np.asarray(encode([caption_metrics.PREFIX + one for one in captions]), np.float64)
    seen = np.asarray(pictures, np.float64)
    cosine = (seen / np.linalg.norm(seen, axis=1, keepdims=True)) @ vectors.T
    return np.where(caption_metrics.worded(captions), caption_metrics.WEIGHT * cosine.clip(min=0), 0.0)


def ref_clip_score(references: list[list[str]], captions: list[str], encode, pictures: np.ndarray) -> np.ndarray:
    def prefixed(sentences: list[str]) -> np.ndarray:
        return encode([caption_metrics.PREFIX + one for one in sentences])

    seen = clip_score(references, captions, encode, pictures)
    read = text_cosine(references, captions, prefixed).clip(min=0)
    return np.divide(2 * seen * read, seen + read, out=np.zeros_like(seen), where=seen + read > 0)


def brain_correlation(brain: MeasuredBrain, predicted: np.ndarray, region: str, normalised: bool) -> np.ndarray:
    inside = regions(brain.voxels)[region]
    if inside.sum() < 2:
        return np.full((len(predicted), len(predicted)), np.nan)
    values = np.nan_to_num(correlations(brain.betas[:, inside], predicted[:, inside]), nan=0.0)
    if not normalised:
        return values
    ceiling = brain.pattern_ceiling(inside)[:, None]
    return np.divide(values, ceiling, out=np.full_like(values, np.nan), where=ceiling > 0)


def voxel_correlation(brain: MeasuredBrain, predicted: np.ndarray, region: str, normalised: bool) -> np.ndarray:
    """What an image and a prediction add to the mean over voxels of the correlation over images, times their number."""
    inside, n = regions(brain.voxels)[region], len(predicted)
    ceiling = brain.voxel_ceiling()[inside].mean() if normalised and inside.any() else 1.0
    if n < 3 or not inside.any() or not ceiling > 0:
        return np.full((n, n), np.nan)
    measured, made = (_unit_columns(values[:, inside]) for values in (brain.betas, predicted))
    return n * (measured @ made.T) / inside.sum() / ceiling


def _unit_columns(values: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and length 1, float64; 0 where one is constant or not finite."""
    columns = values.astype(np.float64)
    means = columns.mean(axis=0)
    columns -= means
    squares = (columns**2).sum(axis=0)
    with np.errstate(invalid="ignore"):
        varies = squares > CONSTANT**2 * (squares + len(values) * means**2)
    return np.where(varies, columns / np.sqrt(np.where(varies, squares, 1)), 0.0)


PAIRS: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function
    for function in (
        pixcorr, identification, identification_reverse, n_way_identification, correlation_distance, n_way_top_k,
        retrieval_image, retrieval_brain, text_cosine, clip_score, ref_clip_score, brain_correlation, voxel_correlation,
    )
}  # fmt: skip
