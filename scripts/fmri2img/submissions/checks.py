"""Check a submitted prediction: either the content of its files, or what is wrong with them, one line per problem."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.test_images import TestImages
from fmri2img.errors import UserError
from fmri2img.submissions.files import Pictures, open_pictures, open_rows, read_captions, read_ids
from fmri2img.submissions.record import ASCENDING, SubmittedPrediction


@dataclass(frozen=True)
class CheckedSubmission:
    """Content of a submitted prediction's files if nothing is wrong with them. ids: image_id of each row."""

    ids: np.ndarray
    images: Pictures | None
    blurry: Pictures | None
    retrieval: np.ndarray | None
    captions: list[str] | None


def scored_tokens(study) -> tuple[int, int] | None:
    """Number and width of the tokens with which a study (fmri2img.study.Study) compares retrieval vectors; None if it
    scores no retrieval."""
    if all(study.registries["metrics"][name]["needs"] != "retrieval" for name in study.config["metrics"]):
        return None
    encoder = study.registries["backbones"][study.config["encoder"]]
    return encoder["tokens"], encoder["token_width"]


def check_submission(
    prediction: SubmittedPrediction,
    test: TestImages,
    tokens: tuple[int, int] | None = None,
    aliases: Sequence[str] = (),
) -> tuple[CheckedSubmission | None, list[str]]:
    """Open and check one prediction against the images it must cover. tokens: of `scored_tokens`;
    aliases: other names that the dataset has for image_id.

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
    if not {"images", "retrieval", "captions"} & files.keys():
        problems.append(f"submission {prediction.method}: {prediction.subject} has no images, captions or retrieval")
    ids = attempt(lambda: _row_ids(prediction, images, test, aliases))
    if "captions" in files:
        captions = attempt(lambda: read_captions(files["captions"], ids, aliases))
    if ids is not None:
        where = prediction.method if files.get("ids", ASCENDING) == ASCENDING else files["ids"]
        problems += id_problems(ids, test, str(where))
        parts = {"images": images, "retrieval": retrieval, "captions": captions, "blend.images": blurry}
        for key, part in parts.items():
            n = None if part is None else part.n if isinstance(part, Pictures) else len(part)
            if n is not None and n != len(ids):
                path = prediction.blend["images"] if key == "blend.images" else files[key]
                problems.append(
                    f"{path}: {n} rows for {len(ids)} image_id; {test.subject} has {len(test.ids)} test images"
                )
            if isinstance(part, Pictures) and part.ids is not None and not np.array_equal(part.ids, ids):
                problems.append(f"{part.path}: its file names do not match the image_id of the other files")
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


def _row_ids(
    prediction: SubmittedPrediction, images: Pictures | None, test: TestImages, aliases: Sequence[str]
) -> np.ndarray | None:
    named = prediction.files.get("ids")
    if named == ASCENDING:
        return test.ids
    if named is not None:
        return read_ids(named, aliases)
    if "images" in prediction.files and images is None:
        return None  # the problems of the pictures have been reported
    if images is not None and images.ids is not None:
        return images.ids
    raise UserError(
        f"submission {prediction.method}: key 'ids' is missing; name a list of image_id, or write '{ASCENDING}' if "
        "the rows are the subject's test images by ascending image_id"
    )


def id_problems(ids: np.ndarray, test: TestImages, where: str) -> list[str]:
    """Reasons why `ids` do not contain each test image exactly once, one line each."""
    unique, counts = np.unique(ids, return_counts=True)
    repeated, missing = unique[counts > 1], np.setdiff1d(test.ids, unique)
    outside = np.setdiff1d(unique, test.ids)
    n, problems = len(test.ids), []
    if len(outside) and np.isin(unique - 1, test.ids).mean() > 0.99 and not np.isin(unique, test.ids).all():
        return [f"{where}: image_id counted from 1; subtract 1 from each"]
    if len(repeated):
        problems.append(f"{where}: image_id {repeated[0]} occurs more than once ({len(repeated)} do); keep one of each")
    if len(outside):
        problems.append(
            f"{where}: image_id {outside[0]} is not a test image of {test.subject} in split {test.split} "
            f"({len(outside)} are not); leave them out"
        )
    if len(missing):
        problems.append(
            f"{where}: image_id {missing[0]} is missing; {n - len(missing)} of {n} test images of {test.subject} are "
            "present, and only complete sets are scored"
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
