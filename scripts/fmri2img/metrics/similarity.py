"""Correlations and cosines between rows of two large matrices, including undefined and equal ones.

A correlation with a constant row, a cosine with a zero row, and any value computed from a NaN are undefined: NaN here,
and a failure in every metric built on it (leaving them out would let blank images improve a mean). Two similarities
closer than TIE are equal, so that exact copies tie in whatever order a machine adds.
"""

import numpy as np

from fmri2img.artifacts.arrays import Rows
from fmri2img.artifacts.embeddings import Embeddings, token_blocks

TIE = 1e-10
COLUMN_BLOCK = 2**14  # keeps the float64 copy of 1,000 rows at 131 MB
COPY = 0.999  # cosine of two images' centred true tokens at or above which they are the same picture
CONSTANT = 1e-6  # a spread below this share of the root mean square is rounding


def _centres_and_norms(rows: np.ndarray, centre: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each row (0 without `centre`) and norm about it, NaN where the row has no direction. Float64 (n,)."""
    means = rows.mean(axis=1, dtype=np.float64) if centre else np.zeros(len(rows))
    squares, about = np.zeros(len(rows)), np.zeros(len(rows))
    for start in range(0, rows.shape[1], COLUMN_BLOCK):
        block = rows[:, start : start + COLUMN_BLOCK].astype(np.float64)
        squares += np.einsum("ij,ij->i", block, block)
        block -= means[:, None]
        about += np.einsum("ij,ij->i", block, block)
    flat = ~(about > CONSTANT**2 * squares)
    return means, np.where(flat, np.nan, np.sqrt(about))


def _between(a: np.ndarray, b: np.ndarray, centre: bool) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        mean_a, norm_a = _centres_and_norms(a, centre)
        mean_b, norm_b = _centres_and_norms(b, centre)
        dots = np.zeros((len(a), len(b)))
        for start in range(0, a.shape[1], COLUMN_BLOCK):
            columns = slice(start, start + COLUMN_BLOCK)
            dots += (a[:, columns] - mean_a[:, None]) @ (b[:, columns] - mean_b[:, None]).T
        return dots / np.outer(norm_a, norm_b)


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation of every row of a (n, d) with every row of b (m, d): float64 (n, m)."""
    return _between(a, b, centre=True)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of every row of a (n, d) with every row of b (m, d): float64 (n, m)."""
    return _between(a, b, centre=False)


def chance_of_best(beaten: np.ndarray, others: int, ways: int) -> np.ndarray:
    """Probability that `ways` - 1 of `others`, drawn without replacement, are all among the `beaten`: float64 (n,).

    C(beaten, ways - 1) / C(others, ways - 1). beaten: int (n,), how many of the others are beaten.
    """
    drawn = np.arange(ways - 1)
    return np.prod(np.clip(beaten[:, None] - drawn, 0, None) / (others - drawn), axis=1)


def paired_correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation of row i of a (n, d) with row i of b (n, d): float64 (n,)."""
    with np.errstate(invalid="ignore"):
        return np.array([_centred_unit(x) @ _centred_unit(y) for x, y in zip(a, b, strict=True)])


def _centred_unit(row: np.ndarray) -> np.ndarray:
    """The row's deviations from its mean, of norm 1, float64 (d,); NaN where it has no direction."""
    row = row.astype(np.float64)
    squares = row @ row
    row -= row.mean()
    about = row @ row
    row /= np.sqrt(about) if about > CONSTANT**2 * squares else np.nan
    return row


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
