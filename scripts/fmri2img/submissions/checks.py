"""Check a submitted prediction: either the content of its files, or what is wrong with them, one line per problem."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.test_images import TestImages
from fmri2img.errors import UserError
from fmri2img.submissions.files import Pictures, open_pictures, open_rows, read_captions, read_ids
from fmri2img.submissions.numbering import BY_IMAGE_ID, Numbering, are_rows, meant
from fmri2img.submissions.record import ASCENDING, SubmittedPrediction

PARTS = ("images", "retrieval", "captions")  # files that are scored


@dataclass(frozen=True)
class CheckedSubmission:
    """Content of a submitted prediction's files if nothing is wrong with them. ids: image_id of each row."""

    ids: np.ndarray
    images: Pictures | None
    blurry: Pictures | None
    retrieval: np.ndarray | None
    captions: list[str] | None


def check_submission(
    prediction: SubmittedPrediction,
    test: TestImages,
    tokens: tuple[int, int] | None = None,
    aliases: Sequence[str] = (),
    other_splits: Sequence[str] = (),
) -> tuple[CheckedSubmission | None, list[str]]:
    """Open and check one prediction against the images it must cover. tokens: `scored_tokens` of the study;
    aliases: other names that the dataset has for image_id; other_splits: those that its study could use.

    Returns its content or None, and a list of what is wrong with it, one line per problem.
    """
    problems = list(_disclosure_problems(prediction))
    files, images, blurry, retrieval, captions = prediction.files, None, None, None, None

    def attempt(read):
        try:
            return read()
        except UserError as error:
            problems.append(str(error))
            return None

    if "images" in files:
        images = attempt(lambda: open_pictures(files["images"]))
    if prediction.blend:
        blurry = attempt(lambda: open_pictures(prediction.blend["images"]))
    if "retrieval" in files:
        retrieval = attempt(lambda: read_vectors(files["retrieval"], tokens))
    if not set(PARTS) & files.keys():
        problems.append(f"submission {prediction.method}: {prediction.subject} has no images, captions or retrieval")
    where = f"submission {prediction.method}"
    numbering = attempt(lambda: Numbering.of(prediction.numbering, test, aliases, where))
    ids = None if numbering is None else attempt(lambda: _row_ids(prediction, images, test, numbering))
    if "captions" in files:
        captions = attempt(lambda: read_captions(files["captions"], ids, numbering or BY_IMAGE_ID))
    if ids is not None:
        own = files.get("ids", images.path if images is not None and images.numbers is not None else where)
        wrong = id_problems(ids, test, str(where if own == ASCENDING else own), other_splits)
        problems += wrong
        if not wrong:
            images = images and attempt(lambda: _joined(images, ids, numbering))
            blurry = blurry and attempt(lambda: _joined(blurry, ids, numbering))
        problems += _count_problems(prediction, [images, retrieval, captions, blurry], len(ids), test)
    for pictures in (images, blurry):
        if pictures is not None:
            attempt(lambda pictures=pictures: all(len(block) for block in pictures.checked()))
    if problems:
        return None, list(dict.fromkeys(problems))
    return CheckedSubmission(ids, images, blurry, retrieval, captions), []


def _disclosure_problems(prediction: SubmittedPrediction) -> Iterator[str]:
    for key, kind in Disclosure.kinds().items():
        value = prediction.disclosure.get(key)
        wrong_type = not isinstance(value, kind) or (kind is int and isinstance(value, bool))
        if key not in prediction.disclosure:
            yield f"submission {prediction.method}: key 'disclosure.{key}' is missing ({kind.__name__})"
        elif wrong_type:
            yield f"submission {prediction.method}: key 'disclosure.{key}' must be {kind.__name__}, got {value!r}"


def _count_problems(prediction: SubmittedPrediction, parts: list, n_ids: int, test: TestImages) -> Iterator[str]:
    """Files with more or fewer rows than image_id. parts: pictures, vectors, captions and blurry pictures, or None."""
    files = prediction.files
    paths = [*(files.get(key) for key in PARTS), prediction.blend and prediction.blend["images"]]
    remedy = "; name the image_id of the rows under `ids`" if files.get("ids") == ASCENDING else ""
    for path, part in zip(paths, parts, strict=True):
        n = n_ids if part is None else part.n if isinstance(part, Pictures) else len(part)
        if n != n_ids:
            has = f"{test.subject} has {len(test.ids)} test images"
            yield f"{path}: {n} rows for {n_ids} image_id; {has}{remedy}"


def _row_ids(
    prediction: SubmittedPrediction, images: Pictures | None, test: TestImages, numbering: Numbering
) -> np.ndarray | None:
    named = prediction.files.get("ids")
    if named == ASCENDING:
        return test.ids
    if named is not None:
        return read_ids(named, numbering)
    if "images" in prediction.files and images is None:
        return None  # the problems of the pictures have been reported
    if images is not None and images.numbers is not None:
        return numbering.ids_of(images.numbers, str(images.path))
    raise UserError(
        f"submission {prediction.method}: key 'ids' is missing; name a list of image_id, or write '{ASCENDING}' if "
        "the rows are the subject's test images by ascending image_id"
    )


def _joined(pictures: Pictures, ids: np.ndarray, numbering: Numbering) -> Pictures:
    """Pictures of a folder with their rows in the order of `ids`: by the image_id in their names, or by the numbers of
    the rows. Raises UserError when the names are neither."""
    if pictures.numbers is None or pictures.n != len(ids):
        return pictures
    order = np.argsort(ids, kind="stable")
    rows_of_ids = np.empty(len(ids), np.int64)
    rows_of_ids[order] = np.arange(len(ids))
    if are_rows(pictures.numbers, len(ids)) and not np.isin(pictures.numbers, ids).all():
        return pictures
    own = numbering.ids_of(pictures.numbers, str(pictures.path))
    if not np.array_equal(np.sort(own), ids[order]):
        raise UserError(
            f"{pictures.path}: its file names do not match the image_id of the rows; name the files by image_id, or by "
            f"the number of the row from 0 to {len(ids) - 1}"
        )
    return pictures.in_order(np.argsort(own, kind="stable")[rows_of_ids])


def id_problems(ids: np.ndarray, test: TestImages, where: str, other_splits: Sequence[str] = ()) -> list[str]:
    """Reasons why `ids` do not contain each test image exactly once, one line each."""
    unique, counts = np.unique(ids, return_counts=True)
    repeated, missing = unique[counts > 1], np.setdiff1d(test.ids, unique)
    outside = np.setdiff1d(unique, test.ids)
    n, problems = len(test.ids), []
    what = f"a test image of {test.subject} in split {test.split}"
    reading = meant(unique, test) if len(outside) else None
    if reading or len(outside) > len(unique) / 2:
        example = ", ".join(map(str, test.ids[:3]))
        remedy = f"they look like {reading}" if reading else f"name each row by image_id, as in {example}"
        return [f"{where}: {len(outside)} of {len(unique)} numbers are not the image_id of {what}; {remedy}"]
    if len(repeated):
        problems.append(f"{where}: image_id {repeated[0]} occurs more than once ({len(repeated)} do); keep one of each")
    if len(outside):
        problems.append(f"{where}: image_id {outside[0]} is not {what} ({len(outside)} are not); leave them out")
    if len(missing):
        splits = f", or choose a split that tests these images alone (key `split`: {', '.join(other_splits)})"
        problems.append(
            f"{where}: image_id {missing[0]} is missing; {n - len(missing)} of {n} test images of {test.subject} are "
            f"present, and only complete sets are scored; add the others{splits if other_splits else ''}"
        )
    return problems


def read_vectors(path: Path, tokens: tuple[int, int] | None = None) -> np.ndarray:
    """Retrieval vectors: float16 (rows, dimensions), tokens flattened.

    tokens: number and width that they must have, None for any. Raises UserError if they differ or are not finite.
    """
    rows = open_rows(path)
    if tokens is not None and tuple(n for n in rows.shape[1:] if n > 1) not in (tokens, (tokens[0] * tokens[1],)):
        number, width = tokens
        raise UserError(
            f"{path}: shape {rows.shape}, but the study's encoder has {number} tokens of {width}: expected (rows, "
            f"{number}, {width}) or (rows, {number * width}); submit vectors of that encoder, or leave them out"
        )
    if len(rows.shape) < 2 or 0 in rows.shape[1:] or not rows.dtype.lstrip("b").startswith("float"):
        raise UserError(f"{path}: {rows.dtype} of shape {rows.shape}, expected float (rows, dimensions)")
    vectors = np.empty((rows.shape[0], int(np.prod(rows.shape[1:]))), np.float16)
    start = 0
    for block in rows.blocks():
        with np.errstate(over="ignore"):
            stored = block.reshape(len(block), -1).astype(np.float16)
        if not np.isfinite(stored).all():
            raise UserError(f"{path}: NaN, Inf or values beyond float16 from row {start} on; scale or correct them")
        vectors[start : start + len(block)] = stored
        start += len(block)
    return vectors
