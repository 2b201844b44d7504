"""What may have happened to submitted pictures that do not fit their stimuli: each explanation is tried on them.

Pictures whose rows are in another order, that were mirrored or turned, or whose channels are in another order still
resemble the stimuli once that is undone. A decoder that is as bad as chance resembles them in no way.
"""

from collections.abc import Callable, Iterator

import numpy as np

from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.pixels import resized_pictures

SIDE = 32  # pixels at which pictures are compared
FEWEST = 20  # pictures, below which nothing can be said
CLEAR = 5.0  # standard errors by which an explanation must fit better than the pictures as they are
BLOCK = 64
FAINT = 0.1  # contrast, as a share of that of the stimuli
CLIPPED, SELDOM = 0.4, 0.1  # shares of values at the ends of their range: of clipped pictures, of stimuli

CHANGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {  # what fits better -> how, and the remedy
    "with red and blue exchanged": (lambda x: x[..., ::-1], "save them as RGB, not BGR"),
    "as negatives": (lambda x: 1 - x, "subtract their values from the largest one"),
    "upside down": (lambda x: x[:, ::-1], "turn the rows of pixels round"),
    "mirrored": (lambda x: x[:, :, ::-1], "turn the columns of pixels round"),
    "turned by 180 degrees": (lambda x: x[:, ::-1, ::-1], "turn them round"),
    "with height and width exchanged": (lambda x: x.swapaxes(1, 2), "exchange both axes"),
    "turned left": (lambda x: np.rot90(x, 1, (1, 2)), "turn them left by 90 degrees"),
    "turned right": (lambda x: np.rot90(x, -1, (1, 2)), "turn them right by 90 degrees"),
}


def suspicions_of_pictures(prediction: Prediction, stimuli: Stimuli) -> list[str]:
    """What is suspicious of the pictures of a prediction, each with the cell that it is about."""
    if prediction.images is None or stimuli.pictures is None:
        return []
    of = prediction.metadata
    cell = f"{of['subject']}, {of['sessions']:g} sessions, seed {of['seed']}"
    truth = stimuli.images[stimuli.rows(prediction.ids)]
    return [f"{cell}: {text}" for text in picture_suspicions(prediction.images, truth, prediction.ids)]


def picture_suspicions(made: np.ndarray, truth: np.ndarray, ids: np.ndarray) -> list[str]:
    """Explanations that fit, one clause each; none where pictures are best as they are, or are few.

    made, truth: reconstructions and stimuli, uint8 (images, height, width, 3), of any size; ids: their image_id.
    """
    if len(ids) < FEWEST:
        return []
    small, wanted = _small(made), _small(truth)
    return [*_changed(small, wanted), *_reordered(small, wanted, ids), *_of_range(made, small, truth, wanted)]


def _small(images: np.ndarray) -> np.ndarray:
    """float32 (images, SIDE, SIDE, 3), 0 to 1."""
    starts = range(0, len(images), BLOCK)
    return np.concatenate([resized_pictures(images[start : start + BLOCK], SIDE) for start in starts])


def _standard(images: np.ndarray) -> np.ndarray:
    """Each picture as a row of mean 0 and length 1; zeros for one of a single value."""
    rows = images.reshape(len(images), -1).astype(np.float64)
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def _errors(values: np.ndarray) -> float:
    """Mean of paired values in standard errors."""
    return float(values.mean() / max(values.std(ddof=1) / np.sqrt(len(values)), 1e-9))


def _changed(made: np.ndarray, truth: np.ndarray) -> Iterator[str]:
    """The change of the pictures that brings them nearest to their stimuli, if it clearly does."""
    wanted = _standard(truth)
    as_they_are = (_standard(made) * wanted).sum(axis=1)
    fits = {what: (_standard(change(made)) * wanted).sum(axis=1) for what, (change, _) in CHANGES.items()}
    best = max(fits, key=lambda what: fits[what].mean())
    if _errors(fits[best] - as_they_are) > CLEAR:
        means = f"mean correlation {fits[best].mean():.2f}, not {as_they_are.mean():.2f}"
        yield f"the pictures fit their stimuli better {best} ({means}); {CHANGES[best][1]}"


def _orders(ids: np.ndarray) -> dict[str, np.ndarray]:
    """What may have ordered the rows -> for each row, the place of the image that it then shows."""
    rows = np.arange(len(ids))

    def sorted_as_text(numbers: np.ndarray) -> np.ndarray:
        return np.array(sorted(rows.tolist(), key=lambda row: str(numbers[row])))

    return {
        "in descending order of image_id": rows[::-1],
        "in the order of their numbers as text (0, 1, 10, 100, ...)": sorted_as_text(rows),
        "in the order of image_id as text": sorted_as_text(ids),
        "each one place too early": np.roll(rows, -1),
        "each one place too late": np.roll(rows, 1),
    }


def _reordered(made: np.ndarray, truth: np.ndarray, ids: np.ndarray) -> Iterator[str]:
    """The order of rows in which the pictures fit, if they do not as they are.

    In all orders that say nothing, paired correlations vary around zero once each picture's and each stimulus' mean
    correlation is subtracted.
    """
    table = _standard(made) @ _standard(truth).T
    table = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    if _errors(np.diag(table)) > CLEAR:
        return
    rows = np.arange(len(ids))
    fits = {what: _errors(table[rows, places]) for what, places in _orders(ids).items()}
    best = max(fits, key=fits.__getitem__)
    if fits[best] > CLEAR:
        yield f"the pictures fit the stimuli if the rows are {best}; name the image_id of each row under `ids`"


def _of_range(made: np.ndarray, small: np.ndarray, truth: np.ndarray, wanted: np.ndarray) -> Iterator[str]:
    """Pictures without contrast, or with values cut off at the ends of their range."""
    contrast = small.std(axis=(1, 2, 3)).mean() / max(wanted.std(axis=(1, 2, 3)).mean(), 1e-9)
    if contrast < FAINT:
        yield (
            f"the pictures have {contrast:.0%} of the stimuli's contrast; their values may have been divided twice, or "
            "saved from another range"
        )
    ends, usual = (float(np.isin(images[:BLOCK], (0, 255)).mean()) for images in (made, truth))
    if ends > CLIPPED and usual < SELDOM:
        yield (
            f"{ends:.0%} of the pictures' values are at the ends of their range; standardised values, or values from "
            "-1 to 1, may have been cut off: map them to 0 to 1"
        )
