"""Correlations and cosines between rows of two large matrices, including undefined and equal ones.

A correlation with a constant row, a cosine with a zero row, and any value computed from a NaN are undefined: NaN here,
and a failure in every metric built on it (leaving them out would let blank images improve a mean). Two similarities
closer than TIE are equal, so that exact copies tie in whatever order a machine adds.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from fmri2img.artifacts.arrays import Rows
from fmri2img.artifacts.embeddings import Embeddings, token_blocks

TIE = 1e-10
COLUMN_BLOCK = 2**10  # columns of more than 100 rows at a time: their float64 copy stays in a processor's cache
COPY = 0.999  # cosine of two images' centred true tokens at or above which they are the same picture
CACHED = 2**17  # numbers of a block of fewer rows: a megabyte in float64; blocks beyond the cache take twice the time
ONE_THREAD_DOT = 2**13  # OpenBLAS divides inner products of more than 10,000 numbers among threads
ONE_THREAD_PRODUCT = 2**18  # and products of matrices with more multiplications than this
WORTH_THREADS = 2**30  # multiplications from which a product takes long enough for several threads
CONSTANT = 1e-6  # a spread below this share of the root mean square is rounding


def _deviations(rows: np.ndarray, means: np.ndarray | None) -> np.ndarray:
    """Rows less their means, float64, in a copy."""
    values = rows.astype(np.float64)
    if means is not None:
        values -= means[:, None]
    return values


def _norms(about: np.ndarray, means: np.ndarray | None, width: int) -> np.ndarray:
    """Norm of each row about its mean, from the sum of squares about it: NaN where the row has no direction."""
    squares = about if means is None else about + width * means**2
    return np.sqrt(np.where(about > CONSTANT**2 * squares, about, np.nan))


def _row_dots(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Inner product of each row of x (n, d) with that row of y, both float64: (n,).

    In pieces that BLAS does not divide among threads (see `blas_threads`).
    """
    found = np.zeros(len(x))
    for start in range(0, x.shape[1], ONE_THREAD_DOT):
        found += np.vecdot(x[:, start : start + ONE_THREAD_DOT], y[:, start : start + ONE_THREAD_DOT])
    return found


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def blas_threads(multiplications: int) -> AbstractContextManager:
    """Keep a product of this size on one thread if it is short.

    On a machine with other work, BLAS's threads wait for each other for much longer than a short product takes: 100
    times as long was measured. The smallest products never leave their thread.
    """
    short = ONE_THREAD_PRODUCT < multiplications < WORTH_THREADS
    several = short and any(library.num_threads > 1 for library in _blas().lib_controllers)
    return _blas().limit(limits=1) if several else nullcontext()


def _between(a: np.ndarray, b: np.ndarray, centre: bool) -> np.ndarray:
    width = a.shape[1]
    block = max(COLUMN_BLOCK, min(CACHED // max(len(a), len(b)), ONE_THREAD_DOT))
    dots, about_a, about_b = np.zeros((len(a), len(b))), np.zeros(len(a)), np.zeros(len(b))
    mean_a, mean_b = (rows.sum(axis=1, dtype=np.float64) / width if centre else None for rows in (a, b))
    with np.errstate(invalid="ignore"), blas_threads(dots.size * width):
        for start in range(0, width, block):
            x = _deviations(a[:, start : start + block], mean_a)
            y = _deviations(b[:, start : start + block], mean_b)
            dots += x @ y.T
            about_a += np.vecdot(x, x)
            about_b += np.vecdot(y, y)
        dots /= _norms(about_a, mean_a, width)[:, None]
        dots /= _norms(about_b, mean_b, width)
    return dots


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation of every row of a (n, d) with every row of b (m, d): float64 (n, m)."""
    return _between(a, b, centre=True)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of every row of a (n, d) with every row of b (m, d): float64 (n, m)."""
    return _between(a, b, centre=False)


def chance_of_best(beaten: np.ndarray, others: int, ways: int) -> np.ndarray:
    """Probability that `ways` - 1 of `others`, drawn without replacement, are all among the `beaten`: float64 (n,).

    C(beaten, ways - 1) / C(others, ways - 1). beaten: int (n,), how many of the others are beaten; ways: at least 2.
    """
    chance: np.ndarray = beaten / others
    for drawn in range(1, ways - 1):
        chance *= np.maximum(beaten - drawn, 0) / (others - drawn)
    return chance


def paired_correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation of row i of a (n, d) with row i of b (n, d): float64 (n,).

    It works in blocks of rows that fit a processor's cache, and on one thread (see `blas_threads`).
    """
    found, width = np.empty(len(a)), a.shape[1]
    rows = max(1, CACHED // width)
    with np.errstate(invalid="ignore"):
        for start in range(0, len(a), rows):
            block = slice(start, start + rows)
            (x, norm_x), (y, norm_y) = _centred(a[block]), _centred(b[block])
            found[block] = _row_dots(x, y) / (norm_x * norm_y)
    return found


def _centred(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Deviations of each row from its mean, float64 (n, d), and their norm (n,), NaN where it has no direction."""
    values = rows.astype(np.float64)
    means = values.sum(axis=1) / values.shape[1]
    values -= means[:, None]
    return values, _norms(_row_dots(values, values), means, values.shape[1])


def nearest_with_cosine(
    tokens: np.ndarray | Rows, embeddings: Embeddings, training_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The training image nearest to each row: its image_id int64 (rows,) and its cosine float64 (rows,).

    tokens: (rows, tokens, width); training_ids: unique ids, all in `embeddings`. The nearest image has the highest
    cosine between the flattened tokens, after the mean of the training images' true tokens is subtracted from both
    (what all images share does not distinguish them). Among equal cosines, the lower id is taken; a row that is the
    mean itself has cosine 0. Reads both once, in blocks of columns.
    """
    training_ids = np.sort(training_ids)
    dots = np.zeros((len(tokens), len(training_ids)))
    norms, own = np.zeros(len(training_ids)), np.zeros(len(tokens))
    rows = tokens if isinstance(tokens, Rows) else Rows(tokens, np.arange(len(tokens)))
    for columns, block in token_blocks(embeddings.tokens, embeddings.rows(training_ids)):
        mean = block.mean(axis=0)
        block -= mean
        deviations = rows.columns(columns).astype(np.float32) - mean
        dots += deviations @ block.T
        norms += np.einsum("ij,ij->i", block, block)
        own += np.einsum("ij,ij->i", deviations, deviations)
    # A row's own norm does not change which image is nearest.
    nearness = np.divide(dots, np.sqrt(norms), out=np.full_like(dots, -np.inf), where=norms > 0)
    best = np.argmax(nearness, axis=1)
    highest = nearness[np.arange(len(tokens)), best]
    return training_ids[best], np.divide(highest, np.sqrt(own), out=np.zeros(len(tokens)), where=own > 0)
