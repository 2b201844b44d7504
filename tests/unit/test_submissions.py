"""Submissions: every form that is read, every fault that is named, MindEye2's published tensors scored from disk."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from configurations import merged
from nsd_tree import Tree
from PIL import Image
from prepared import DESIGN, STIMULUS_INFO, record, responses
from safetensors.numpy import save_file

from fmri2img.artifacts.cells import Cell
from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.artifacts.test_images import TestImages
from fmri2img.datasets.nsd.scripts.import_images import import_images, split_of
from fmri2img.datasets.nsd.scripts.list_test_images import list_test_images
from fmri2img.errors import UserError
from fmri2img.metrics.scoring import score
from fmri2img.paths import REPOSITORY
from fmri2img.reporting.design import Design
from fmri2img.reporting.estimates import estimates
from fmri2img.schemas import check_schema
from fmri2img.study import Study
from fmri2img.submissions.checks import check_submission
from fmri2img.submissions.files import read_ids
from fmri2img.submissions.numbering import Numbering
from fmri2img.submissions.record import SubmittedPrediction, predictions_of, read_record
from import_submission import import_submission
from validate_submission import score as score_submission
from validate_submission import study_of as study_to_score

IDS = np.array([3, 8, 20, 21, 40, 77])
TEST = TestImages("subj01", "shared1000", "0" * 64, {"shared1000": IDS})
DISCLOSURE = {
    "training_trials": 675, "training_subjects": ["subj01"], "trial_averaging": "single",
    "test_averaging": "mean of repeats", "transductive": False, "samples_per_image": 1, "selector": "none",
    "encoder": "none", "generator": "a pencil",
}  # fmt: skip
PICTURES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
METRICS = {"pixcorr": {"function": "pixcorr", "needs": "images", "network": None}}
SIZES, POOLS = {"size": 16, "pixel_size": 16, "antialias": True}, {"pool": 300, "resamples": 1}


def submitted(folder: Path, disclosure: dict = DISCLOSURE, **files) -> SubmittedPrediction:
    record = {"predictions": [{"subject": "subj01", "sessions": 1, "seed": 0, **files}], "disclosure": disclosure}
    return replace(predictions_of("mine", record, folder, {})[0], test_set="shared1000")


def as_folder(path: Path, ids=IDS, pictures=PICTURES) -> None:
    (path / "pictures").mkdir()
    for n, picture in zip(ids, pictures, strict=True):
        Image.fromarray(picture).save(path / "pictures" / f"{n:05d}.png")


def as_array(path: Path, name: str, pictures) -> None:
    array = np.asarray(pictures)
    writer = {
        ".npy": lambda: np.save(path / name, array),
        ".pt": lambda: torch.save(torch.from_numpy(array), path / name),
        ".safetensors": lambda: save_file({"pictures": np.ascontiguousarray(array)}, path / name),
    }
    writer[Path(name).suffix]()


UNIT = np.ascontiguousarray((PICTURES / 255).astype(np.float32).transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("a.npy", PICTURES), ("b.npy", UNIT), ("c.safetensors", UNIT), ("d.pt", UNIT), ("e.pt", PICTURES),
        ("f.pt", UNIT.astype(np.float64)),
    ],
)  # fmt: skip
def test_every_array_form_gives_the_same_prediction(name, pictures, tmp_path):
    as_array(tmp_path, name, pictures)
    import_submission(submitted(tmp_path, images=name, ids="ascending"), TEST, None, tmp_path / "out")
    prediction = Prediction.open(tmp_path / "out")
    np.testing.assert_array_equal(prediction.images, PICTURES)
    np.testing.assert_array_equal(prediction.ids, IDS)
    assert prediction.metadata["disclosure"]["origin"] == "submission"


def test_a_folder_is_read_by_the_names_of_its_files(tmp_path):
    as_folder(tmp_path)
    import_submission(submitted(tmp_path, images="pictures"), TEST, None, tmp_path / "out")
    np.testing.assert_array_equal(Prediction.open(tmp_path / "out").images, PICTURES)


@pytest.mark.parametrize("name", ["ids.csv", "ids.txt", "ids.npy", "mask.npy"])
def test_rows_in_any_order_are_joined_by_their_ids(name, tmp_path):
    order = np.arange(6) if name == "mask.npy" else np.array([4, 0, 5, 2, 1, 3])
    as_array(tmp_path, "pictures.npy", PICTURES[order])
    writers = {
        "ids.csv": lambda p: pd.DataFrame({"row": range(6), "image_id": IDS[order]}).to_csv(p, index=False),
        "ids.txt": lambda p: p.write_text("\n".join(map(str, IDS[order]))),
        "ids.npy": lambda p: np.save(p, IDS[order]),
        "mask.npy": lambda p: np.save(p, np.isin(np.arange(100), IDS)),
    }
    writers[name](tmp_path / name)
    import_submission(submitted(tmp_path, images="pictures.npy", ids=name), TEST, None, tmp_path / "out")
    np.testing.assert_array_equal(Prediction.open(tmp_path / "out").images, PICTURES)


def changed_ids(*changes) -> np.ndarray:
    ids = IDS.copy()
    for place, value in changes:
        ids[place] = value
    return ids


@pytest.mark.parametrize(
    ("ids", "rows", "messages"),
    [
        (IDS[:5], 5, ["image_id 77 is missing; 5 of 6 test images of subj01 are present"]),
        (changed_ids((1, 3)), 6, ["image_id 3 occurs more than once", "image_id 8 is missing"]),
        (
            changed_ids((5, 99)),
            6,
            ["image_id 99 is not a test image of subj01 in split shared1000", "image_id 77 is missing"],
        ),
        (IDS + 1, 6, ["they look like image_id counted from 1: subtract 1 from each"]),
        (IDS, 5, ["5 rows for 6 image_id; subj01 has 6 test images"]),
        (IDS.astype(float), 6, ["is not a list of image_id; save whole numbers"]),
    ],
)
def test_every_fault_of_the_ids_is_named(ids, rows, messages, tmp_path):
    as_array(tmp_path, "pictures.npy", PICTURES[:rows])
    np.save(tmp_path / "ids.npy", ids)
    checked, problems = check_submission(submitted(tmp_path, images="pictures.npy", ids="ids.npy"), TEST)
    assert checked is None and len(problems) == len(messages)
    for message, problem in zip(messages, problems, strict=True):
        assert message in problem and "\n" not in problem


def with_value(value: float) -> np.ndarray:
    pictures = UNIT.copy()
    pictures[4, 0, 0, 0] = value
    return pictures


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (UNIT[:, :, :, :8], "pictures of 16 x 8 pixels, but stimuli are square"),
        (PICTURES[..., :2], "shape (6, 16, 16, 2), expected (pictures, h, w, 3) or (pictures, 3, h, w)"),
        (PICTURES[0], "shape (16, 16, 3), expected"),
        (PICTURES.astype(np.int64), "dtype int64, expected uint8 (0 to 255) or float (0 to 1)"),
        (UNIT * 255, "expected 0 to 1; divide by 255"),
        (UNIT * 2 - 1, "expected 0 to 1; map -1..1 to 0..1"),
        (PICTURES // 128, "uint8 values of at most 1, expected 0 to 255"),
        (with_value(np.nan), "row 4 holds NaN or Inf"),
        (with_value(np.inf), "row 4 holds NaN or Inf"),
        (PICTURES[:0], "0 rows for 6 image_id"),
        (PICTURES[:, :0, :0], "shape (6, 0, 0, 3), expected"),
    ],
)
def test_every_fault_of_the_pictures_is_named(pictures, message, tmp_path):
    as_array(tmp_path, "pictures.npy", pictures)
    _, problems = check_submission(submitted(tmp_path, images="pictures.npy", ids="ascending"), TEST)
    assert len(problems) == 1 and message in problems[0]


def test_black_pictures_are_a_failure_and_no_fault(tmp_path):
    as_array(tmp_path, "pictures.npy", np.zeros_like(PICTURES))
    import_submission(submitted(tmp_path, images="pictures.npy", ids="ascending"), TEST, None, tmp_path / "out")
    assert not Prediction.open(tmp_path / "out").images.any()


def test_grey_pictures_of_16_bits_keep_their_brightness(tmp_path):
    grey = PICTURES[..., 0]
    (tmp_path / "pictures").mkdir()
    for n, picture in zip(IDS, grey, strict=True):
        Image.fromarray(picture.astype(np.uint16) * 257).save(tmp_path / "pictures" / f"{n}.png")
    import_submission(submitted(tmp_path, images="pictures"), TEST, None, tmp_path / "out")
    np.testing.assert_array_equal(Prediction.open(tmp_path / "out").images, np.stack([grey] * 3, axis=-1))


def test_a_damaged_picture_is_told_in_one_line(tmp_path):
    as_folder(tmp_path)
    file = tmp_path / "pictures" / "00020.png"
    whole = file.read_bytes()
    huge = whole[12:16] + (100_000).to_bytes(4, "big") * 2 + whole[24:29]  # a header of 10,000 megapixels
    damaged = [whole[:100], whole[:60] + b"#" * 50 + whole[110:], b"", b"no picture"]
    damaged += [whole[:8] + bytes(3) + b"\5" + whole[12:], whole[:33] + bytes(3) + b"\24" + whole[37:]]  # false lengths
    damaged += [whole[:12] + huge + crc32(huge).to_bytes(4, "big") + whole[33:]]
    for content in damaged:
        file.write_bytes(content)
        _, problems = check_submission(submitted(tmp_path, images="pictures"), TEST)
        assert len(problems) == 1 and "00020.png: not a" in problems[0] and "\n" not in problems[0]


@pytest.mark.parametrize(
    "tensor", [torch.from_numpy(UNIT).requires_grad_(), torch.nn.Parameter(torch.from_numpy(UNIT))]
)
def test_a_tensor_with_a_gradient_is_its_values(tensor, tmp_path):
    torch.save(tensor, tmp_path / "pictures.pt")
    import_submission(submitted(tmp_path, images="pictures.pt", ids="ascending"), TEST, None, tmp_path / "out")
    np.testing.assert_array_equal(Prediction.open(tmp_path / "out").images, PICTURES)


def archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, pictures=PICTURES)


NOT_ARRAYS = {
    "text.pt": (lambda path: path.write_text("these are words"), "not a complete torch file"),
    "words.pt": (lambda path: path.write_text("Rows of words\n"), "not a complete torch file"),
    "bytes.pt": (lambda path: torch.save(b"abc", path), "holds a bytes, not a tensor"),
    "empty.pt": (lambda path: path.write_bytes(b""), "not a complete torch file (EOFError)"),
    "sparse.pt": (lambda path: torch.save(torch.from_numpy(UNIT).to_sparse(), path), "save it dense"),
    "rows.pt": (lambda path: torch.save(torch.ones(6, 4).to_sparse_csr(), path), "save it dense"),
    "meta.pt": (lambda path: torch.save(torch.from_numpy(UNIT).to("meta"), path), "save it dense"),
    "archive.npy": (archive, "an archive of arrays (.npz); save one array"),
    "cut.npy": (lambda path: path.write_bytes(b"PK\x03\x04"), "not a complete NumPy array"),
    "text.npy": (lambda path: path.write_text("hello"), "not a complete NumPy array"),
    "scalar.npy": (lambda path: np.save(path, np.int64(4)), "of shape ()"),
    "scalar.safetensors": (lambda path: save_file({"a": np.array(4.0)}, path), "of shape ()"),
}


@pytest.mark.parametrize("name", NOT_ARRAYS)
def test_what_is_no_array_is_told_in_one_line(name, tmp_path):
    write, message = NOT_ARRAYS[name]
    write(tmp_path / name)
    _, problems = check_submission(submitted(tmp_path, retrieval=name, ids="ascending"), TEST)
    assert len(problems) == 1 and message in problems[0] and "\n" not in problems[0], problems
    for files in ({"images": name, "ids": "ascending"}, {"captions": name, "ids": "ascending"}):
        _, problems = check_submission(submitted(tmp_path, **files), TEST)
        assert len(problems) == 1 and f"{name}: " in problems[0] and "\n" not in problems[0], problems
    if name.endswith(".npy"):
        (tmp_path / "captions.txt").write_text("a\n" * 6)
        _, problems = check_submission(submitted(tmp_path, captions="captions.txt", ids=name), TEST)
        assert len(problems) == 1 and message in problems[0] and "\n" not in problems[0], problems


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_vectors_in_formats_that_numpy_lacks_are_read(dtype, tmp_path):
    vectors = torch.tensor([[0.5, -2.0]] * 6).to(dtype)
    torch.save(vectors, tmp_path / "vectors.pt")
    checked, _ = check_submission(submitted(tmp_path, retrieval="vectors.pt", ids="ascending"), TEST)
    np.testing.assert_array_equal(checked.retrieval, [[0.5, -2.0]] * 6)


@pytest.mark.parametrize(
    ("shape", "fits"),
    [((6, 4, 8), True), ((6, 32), True), ((6, 1, 4, 8), True), ((6, 8, 4), False), ((6, 8), False), ((6,), False)],
)
def test_vectors_must_have_the_shape_of_the_encoders_tokens(shape, fits, tmp_path):
    np.save(tmp_path / "vectors.npy", np.ones(shape, np.float32))
    checked, problems = check_submission(submitted(tmp_path, retrieval="vectors.npy", ids="ascending"), TEST, (4, 8))
    if fits:
        assert checked.retrieval.shape == (6, 32)
    else:
        assert len(problems) == 1 and "4 tokens of 8: expected (rows, 4, 8) or (rows, 32)" in problems[0]


CAPTIONS = [f"picture {n}" for n in IDS]


@pytest.mark.parametrize("ids", ["ascending", "ids.npy"])
def test_captions_that_name_their_images_are_put_in_order(ids, tmp_path):
    np.save(tmp_path / "ids.npy", IDS[[4, 0, 5, 2, 1, 3]])
    table = pd.DataFrame({"image_id": IDS, "caption": CAPTIONS}).sample(frac=1, random_state=1)
    table.to_csv(tmp_path / "captions.csv", index=False)
    import_submission(submitted(tmp_path, captions="captions.csv", ids=ids), TEST, None, tmp_path / "out")
    assert Prediction.open(tmp_path / "out").captions["caption"].tolist() == CAPTIONS
    table.drop(columns="image_id").to_csv(tmp_path / "captions.csv", index=False)  # then row by row
    checked, _ = check_submission(submitted(tmp_path, captions="captions.csv", ids=ids), TEST)
    assert checked.captions == table["caption"].tolist()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (changed_ids((5, 99)), "1 are missing, 1 belong to other images"),
        (IDS[:5], "1 are missing, 0 belong to other images"),
        (changed_ids((1, 3)), "image_id 3 occurs more than once"),
        (IDS + 0.5, "column image_id is float64; write whole numbers"),
    ],
)
def test_captions_of_other_images_are_refused(ids, message, tmp_path):
    as_folder(tmp_path)
    pd.DataFrame({"image_id": ids, "caption": CAPTIONS[: len(ids)]}).to_csv(tmp_path / "captions.csv", index=False)
    _, problems = check_submission(submitted(tmp_path, images="pictures", captions="captions.csv"), TEST)
    assert len(problems) == 1 and message in problems[0] and problems[0].startswith(str(tmp_path / "captions.csv"))


COCO = dict(zip(IDS.tolist(), [9, 262145, 5, 581, 77, 40], strict=True))  # unlike image_id in order, and alike in part
NUMBERED = replace(TEST, numberings={"73KID": {i: i + 1 for i in IDS.tolist()}, "coco_id": COCO})


def named_folder(path: Path, names: list[str]) -> None:
    (path / "pictures").mkdir()
    for name, picture in zip(names, PICTURES, strict=True):
        Image.fromarray(picture).save(path / "pictures" / f"{name}.png")


@pytest.mark.parametrize(
    ("names", "record"),
    [
        ([f"nsd{i + 1:05d}" for i in IDS], {"numbering": "73KID"}),
        ([f"shared{n:04d}_nsd{i + 1:05d}" for n, i in enumerate(IDS, 1)], {"numbering": "73KID"}),
        ([f"COCO_train2014_{COCO[i]:012d}" for i in IDS.tolist()], {"numbering": "coco_id"}),
        ([f"subj01_{i}_recon2" for i in IDS], {}),
        ([str(row) for row in range(6)], {"ids": "ascending"}),
        ([f"img_{row + 1:03d}" for row in range(6)], {"ids": "ascending"}),
        ([str(row) for row in range(6)], {"ids": "ids.csv"}),
        ([str(i) for i in IDS], {"ids": "shuffled.csv"}),
        ([str(COCO[i]) for i in IDS.tolist()], {"ids": "coco.csv", "numbering": "coco_id"}),
    ],
)
def test_pictures_are_known_by_row_or_by_any_number_that_the_dataset_has_for_them(names, record, tmp_path):
    named_folder(tmp_path, names)
    (tmp_path / "pictures" / "._2950.png").write_bytes(b"Mac OS X")
    (tmp_path / "ids.csv").write_text("\ufeffnsd_id\r\n" + "\r\n".join(map(str, IDS)))
    (tmp_path / "shuffled.csv").write_text("image_id\n" + "\n".join(map(str, IDS[[4, 0, 5, 2, 1, 3]])))
    (tmp_path / "coco.csv").write_text(
        "row,coco_id\n" + "\n".join(f"{n},{COCO[i]}" for n, i in enumerate(IDS.tolist()))
    )
    given = submitted(tmp_path, images="pictures", **record)
    import_submission(given, NUMBERED, None, tmp_path / "out", ["nsd_id"])
    np.testing.assert_array_equal(Prediction.open(tmp_path / "out").images, PICTURES)


@pytest.mark.parametrize(
    ("numbers", "message", "remedy"),
    [
        (range(6), "they look like numbers of rows: write `ids: ascending` if", {"ids": "ascending"}),
        (IDS + 1, "they look like numbers of 73KID: add `numbering: 73KID` to", {"numbering": "73KID"}),
        (COCO.values(), "they look like numbers of coco_id: add `numbering: coco_id` to", {"numbering": "coco_id"}),
    ],
)
def test_numbers_that_mean_something_else_are_recognised_and_the_remedy_works(numbers, message, remedy, tmp_path):
    named_folder(tmp_path, [str(number) for number in numbers])
    _, problems = check_submission(submitted(tmp_path, images="pictures"), NUMBERED)
    assert len(problems) == 1 and message in problems[0] and "\n" not in problems[0]
    checked, problems = check_submission(submitted(tmp_path, images="pictures", **remedy), NUMBERED)
    assert problems == []
    read = np.concatenate(list(checked.images.checked()))
    np.testing.assert_array_equal(read[np.argsort(checked.ids)], PICTURES)


def test_numbers_that_mean_nothing_are_answered_with_an_example(tmp_path):
    named_folder(tmp_path, [str(1000 + n) for n in range(6)])
    _, problems = check_submission(submitted(tmp_path, images="pictures"), NUMBERED)
    assert len(problems) == 1 and problems[0].endswith("name each row by image_id, as in 3, 8, 20")
    given = submitted(tmp_path, images="pictures", ids="ascending")
    assert "or by the number of the row from 0 to 5" in check_submission(given, NUMBERED)[1][0]
    given = submitted(tmp_path, images="pictures", numbering="73kid")
    assert check_submission(given, NUMBERED)[1][0].endswith("use one of image_id, 73KID, coco_id")


@pytest.mark.parametrize("ids", ["ascending", "ids.npy"])
def test_a_part_of_the_test_images_is_answered_with_the_split_that_tests_them_alone(ids, tmp_path):
    as_array(tmp_path, "pictures.npy", PICTURES[:5])
    np.save(tmp_path / "ids.npy", IDS[:5])
    _, problems = check_submission(submitted(tmp_path, images="pictures.npy", ids=ids), TEST, None, (), ["shared982"])
    wanted = "image_id of the rows under `ids`" if ids == "ascending" else "(key `split`: shared982)"
    assert len(problems) == 1 and wanted in problems[0]


CAPTION_FILES = {
    "rows.json": {str(row): text for row, text in enumerate(CAPTIONS)},
    "ids.json": {str(i): text for i, text in sorted(zip(IDS.tolist(), CAPTIONS, strict=True), reverse=True)},
    "results.json": [{"image_id": i, "caption": text} for i, text in zip(IDS.tolist(), CAPTIONS, strict=True)][::-1],
    "results_by_row.json": [{"image_id": row, "caption": text} for row, text in enumerate(CAPTIONS)],
    "73KID.json": {str(i + 1): text for i, text in zip(IDS.tolist(), CAPTIONS, strict=True)},
    "coco.json": [{"coco_id": COCO[i], "caption": text} for i, text in zip(IDS.tolist(), CAPTIONS, strict=True)],
    "list.json": CAPTIONS,
}


@pytest.mark.parametrize("name", CAPTION_FILES)
def test_captions_in_every_form_that_the_field_writes_are_put_in_order(name, tmp_path):
    (tmp_path / name).write_text(json.dumps(CAPTION_FILES[name]), encoding="utf-8-sig")
    import_submission(submitted(tmp_path, captions=name, ids="ascending"), NUMBERED, None, tmp_path / "out")
    assert Prediction.open(tmp_path / "out").captions["caption"].tolist() == CAPTIONS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            [[text] for text in CAPTIONS],
            "holds a list under 0, not a text under a number; write a list of texts",
        ),
        ({"3": CAPTIONS}, "not a text under a number"),
        ({"dog.png": "a dog"}, "holds a str under 'dog.png', not a text under a number"),
        ([{"image_id": 3, "text": "a dog"}], "not a text under a number"),
        ("a dog", "not a text under a number"),
        (CAPTIONS[:4], "4 rows for 6 image_id"),
        ({str(i): "a dog" for i in IDS[:5]}, "1 are missing, 0 belong to other images"),
        ('{"3": "a", "3": "b"}', "not JSON (a key occurs twice)"),
        ("[", "not JSON"),
    ],
)
def test_captions_in_other_forms_of_json_are_answered_with_the_forms_that_are_read(content, message, tmp_path):
    text = content if isinstance(content, str) and content[0] in "[{" else json.dumps(content)
    (tmp_path / "captions.json").write_text(text)
    _, problems = check_submission(submitted(tmp_path, captions="captions.json", ids="ascending"), NUMBERED)
    assert len(problems) == 1 and message in problems[0] and "\n" not in problems[0]


def test_a_caption_is_one_line_whatever_characters_it_holds(tmp_path):
    said = ["a\u2028dog", "", "caf\u00e9\x0c", "a\x85", "b", "c"]
    (tmp_path / "captions.txt").write_bytes("\r\n".join([*said, ""]).encode("utf-8-sig"))
    checked, problems = check_submission(submitted(tmp_path, captions="captions.txt", ids="ascending"), TEST)
    assert problems == [] and checked.captions == said


class Planted:
    """Would write a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("name", ["pictures.pt", "pictures.npy"])
def test_pickled_objects_are_refused_and_not_run(name, tmp_path):
    planted = Planted(str(tmp_path / "ran"))
    if name.endswith(".pt"):
        torch.save({"pictures": torch.from_numpy(UNIT), "more": planted}, tmp_path / name)
    else:
        np.save(tmp_path / name, np.array([planted] * 6, dtype=object), allow_pickle=True)
    _, problems = check_submission(submitted(tmp_path, images=name, ids="ascending"), TEST)
    assert len(problems) == 1 and "holds Python objects" in problems[0]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("disclosure", "message"),
    [
        ({k: v for k, v in DISCLOSURE.items() if k != "transductive"}, "'disclosure.transductive' is missing (bool)"),
        (DISCLOSURE | {"samples_per_image": "one"}, "'disclosure.samples_per_image' must be int, got 'one'"),
        (DISCLOSURE | {"training_trials": True}, "'disclosure.training_trials' must be int, got True"),
    ],
)
def test_the_disclosure_record_must_be_whole(disclosure, message, tmp_path):
    as_folder(tmp_path)
    _, problems = check_submission(submitted(tmp_path, disclosure, images="pictures"), TEST)
    assert len(problems) == 1 and message in problems[0]


def test_other_faults_are_told_in_one_line_each(tmp_path):
    as_folder(tmp_path)
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04")
    as_array(tmp_path, "pictures.npy", PICTURES)
    vectors = np.ones((6, 4), np.float32)
    vectors[2, 1] = 1e9
    np.save(tmp_path / "vectors.npy", vectors)
    cases = [
        ({"images": "nowhere.npy"}, "nowhere.npy: no such file"),
        ({"images": "cut.npy", "ids": "ascending"}, "cut.npy: not a"),
        ({"images": "cut.pt", "ids": "ascending"}, "cut.pt: not a complete torch file"),
        ({"images": "pictures.npy"}, "key 'ids' is missing"),
        ({"images": "pictures", "retrieval": "vectors.npy"}, "values beyond float16 from row 0 on"),
    ]
    for files, message in cases:
        _, problems = check_submission(submitted(tmp_path, **files), TEST)
        assert len(problems) == 1 and message in problems[0] and "\n" not in problems[0], problems
    Image.fromarray(PICTURES[0, :8, :8]).save(tmp_path / "pictures" / "00003.png")
    _, problems = check_submission(submitted(tmp_path, images="pictures"), TEST)
    assert "pictures of different sizes" in problems[0]
    (tmp_path / "pictures" / "00003.png").rename(tmp_path / "pictures" / "best.png")
    _, problems = check_submission(submitted(tmp_path, images="pictures"), TEST)
    assert "'best.png' has no number in its name" in problems[0]


@pytest.mark.parametrize("content", ['{"0": 3}', "[3, [8]]", "[3.5]", '["3"]', "[true]", f"[{10**30}]", "3", "[3,"])
def test_a_json_file_of_ids_is_a_list_of_whole_numbers(content, tmp_path):
    (tmp_path / "ids.json").write_text("[8, 3]")
    assert read_ids(tmp_path / "ids.json").tolist() == [8, 3]
    (tmp_path / "ids.json").write_text(content)
    with pytest.raises(UserError, match=r"ids\.json: .*; (save whole numbers|write a list of image_id)") as error:
        read_ids(tmp_path / "ids.json")
    assert "\n" not in str(error.value)


def test_ids_may_stand_under_a_name_that_the_dataset_declares(tmp_path):
    (tmp_path / "ids.csv").write_text("nsd_id\n3\n8\n")
    assert read_ids(tmp_path / "ids.csv", Numbering(aliases=["nsd_id"])).tolist() == [3, 8]
    with pytest.raises(UserError, match="not a list of image_id"):
        read_ids(tmp_path / "ids.csv")


@pytest.mark.parametrize("sessions", [None, 2])
def test_the_images_to_cover_are_those_that_decoders_are_tested_on(sessions, tmp_path):
    tree = Tree(tmp_path / "tree")
    recording = record(tree, tmp_path, sessions=sessions)
    behaviour, design, info = (tree.root / key for key in (responses("subj01"), DESIGN, STIMULUS_INFO))
    found = list_test_images("subj01", recording.n_sessions, tmp_path / "split.json", behaviour, design, info)
    found.save(tmp_path / "test.json")
    np.testing.assert_array_equal(TestImages.open(tmp_path / "test.json").ids, recording.test_ids("shared1000"))
    assert found.split_sha256 == recording.metadata["split_sha256"]


def published_folder(path: Path) -> np.ndarray:
    """Tiny tensors under the names and in the layout of MindEye2's published ones; returns the true pictures."""
    rng = np.random.default_rng(1)
    truth, refined, blurry = rng.random((6, 3, 8, 8)), rng.random((6, 3, 300, 300)), rng.random((6, 3, 16, 16))
    name = "final_subj01_pretrained_40sess_24bs"
    folder = path / "evals" / name
    folder.mkdir(parents=True)
    for part, values in (("enhancedrecons", refined), ("recons", blurry), ("blurryrecons", blurry)):
        torch.save(torch.from_numpy(values).float(), folder / f"{name}_all_{part}.pt")
    torch.save(torch.from_numpy(rng.normal(size=(6, 4, 2))).half(), folder / f"{name}_all_clipvoxels.pt")
    torch.save(np.array(["a dog on a sofa"] * 6), folder / f"{name}_all_predcaptions.pt")
    torch.save(torch.from_numpy(truth).float(), path / "evals" / "all_images.pt")
    torch.save(np.array(["a dog"] * 6), path / "evals" / "all_captions.pt")
    np.save(path / "shared1000.npy", np.isin(np.arange(73_000), IDS))
    return truth


def test_mindeye2s_published_tensors_are_scored_from_disk(tmp_path):
    published_folder(tmp_path)
    images = merged("rescore.yaml")["nsd"]["images"]
    files = {key: path for key, path in images.items() if key != "fetched"}
    ids = import_images(tmp_path, files, "test", tmp_path / "stimuli")
    stimuli, split = Stimuli.open(tmp_path / "stimuli"), split_of("shared1000", ids, None, None)
    assert stimuli.table["captions"].map(list).tolist() == [["a dog"]] * 6
    np.testing.assert_array_equal(split.test_ids, IDS)

    test = TestImages("subj01", split.name, split.sha256, {"shared1000": IDS})
    predictions = {}
    for name, entry in merged("rescore.yaml")["submissions"].items():
        check_schema(entry, "submission", name)
        fetched = {f"mindeye2_evals_subj0{n}_{b}sess": tmp_path for n in (1, 2, 5, 7) for b in (1, 40)}
        cells = predictions_of(name, entry, Path(), fetched)
        assert len(cells) == 8
        first = next(cell for cell in cells if (cell.subject, cell.sessions) == ("subj01", 40))
        first = SubmittedPrediction.of(json.loads(json.dumps(first.record())))
        antialias = merged("rescore.yaml")["evaluation"]["antialias"]
        import_submission(replace(first, test_set="shared1000"), test, None, tmp_path / name, antialias=antialias)
        predictions[name] = Prediction.open(tmp_path / name)

    blended = predictions["mindeye2_published"]
    assert blended.images.shape == (6, 256, 256, 3) and blended.retrieval.shape == (6, 8)
    assert blended.captions["caption"].tolist() == ["a dog on a sofa"] * 6
    name = "final_subj01_pretrained_40sess_24bs"
    parts = [
        torch.nn.functional.interpolate(
            torch.load(tmp_path / "evals" / name / f"{name}_all_{part}.pt"), 256, mode="bilinear", antialias=False
        )
        for part in ("enhancedrecons", "blurryrecons")
    ]
    expected = (0.75 * parts[0] + 0.25 * parts[1]).permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(blended.images - expected).max() <= 0.51
    assert predictions["mindeye2_published_unrefined"].images.shape == (6, 16, 16, 3)

    table = score(list(predictions.values())[:1], stimuli, None, METRICS, None, SIZES, POOLS)
    assert table["method"].unique().tolist() == ["mindeye2_published"] and table["value"].notna().all()


def study_with(tmp_path: Path, entry: dict, **changes) -> Study:
    (tmp_path / "submission.yaml").write_text(yaml.safe_dump(entry))
    plain = {"subjects": ["subj01", "subj02"], "sessions": [1, 2, "all"], "seeds": [0, 1], "methods": ["ridge"]}
    plain |= {"metrics": ["pixcorr"], "submissions": {"mine": {"path": str(tmp_path)}}}
    return Study(merged("config.yaml") | plain | changes)


ENTRY = {
    "title": "Mine",
    "disclosure": DISCLOSURE,
    "predictions": [{"subject": ["subj01", "subj04"], "sessions": [1, "all"], "seed": [5], "images": "{subject}.npy"}],
}


def test_a_study_holds_just_the_cells_that_a_submission_brings(tmp_path):
    study = study_with(tmp_path, ENTRY)
    cells = [c for c in study.predictions() if c["method"] == "mine"]
    longest = study.available_sessions["subj01"]
    assert [(c["subject"], c["sessions"], c["seed"]) for c in cells] == [("subj01", 1, 5), ("subj01", longest, 5)]
    assert study.submitted("mine", Cell("subj01", longest, 5, "shared1000")).files == {
        "images": tmp_path / "subj01.npy"
    }
    subjects = {method: [cell.subject for cell in study.cells(method)] for method in ("mine", "ridge")}
    assert "subj02" not in subjects["mine"] and subjects["ridge"].count("subj02") == 6


def test_what_a_submission_lacks_is_a_gap_in_the_report(tmp_path):
    study = study_with(tmp_path, ENTRY)
    design = Design.of(study)
    rows = [
        (method, *cell[:3], "shared1000", "shared1000", "pixcorr", n, 0.5)
        for method in ("ridge", "mine")
        for cell in study.cells(method)
        for n in IDS
    ]
    columns = ["method", "subject", "sessions", "seed", "split", "test_set", "metric", "image_id", "value"]
    scores = pd.DataFrame(rows, columns=columns)
    cells = estimates(scores, design, by_subject=True).set_index(["method", "subject", "budget", "metric"])["mean"]
    assert cells["mine", "subj01", "1", "pixcorr"] == cells["ridge", "subj01", "1", "pixcorr"] == 0.5
    assert np.isnan(cells["mine", "subj01", "2", "pixcorr"]) and np.isnan(cells["mine", "subj02", "1", "pixcorr"])
    assert estimates(scores, design).set_index(["method", "budget", "metric"])["mean"].isna()["mine", "1", "pixcorr"]


@pytest.mark.parametrize(
    ("entry", "changes", "message"),
    [
        (ENTRY | {"tilte": "Mine"}, {}, "submission mine: unknown key 'tilte'; did you mean 'title'?"),
        ({"title": "Mine"}, {}, "submission mine: key 'predictions' is missing"),
        (ENTRY | {"stands_for": "mindeye2_blendet"}, {}, "did you mean 'mindeye2_blended'"),
        (ENTRY, {"subjects": ["subj02"]}, "none of which the study's subjects and sessions include"),
        (ENTRY, {"methods": [], "submissions": {}}, "none is listed and there are no submissions"),
        (
            ENTRY,
            {"submissions": {"ridge": ENTRY}},
            "is the name of a method; give the submission another one",
        ),
        (ENTRY | {"predictions": ENTRY["predictions"] * 2}, {}, "two predictions of subj01, 1 sessions, seed 5"),
    ],
)
def test_a_bad_entry_stops_the_study_in_one_line(entry, changes, message, tmp_path):
    with pytest.raises(UserError) as error:
        study_with(tmp_path, entry, **changes)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_vectors_are_held_to_the_encoder_of_a_study_that_scores_retrieval(tmp_path):
    assert study_with(tmp_path, ENTRY).scored_tokens is None
    study = study_with(tmp_path, ENTRY, metrics=["pixcorr", "retrieval_image"])
    encoder = study.registries["backbones"][study.config["encoder"]]
    assert study.scored_tokens == (encoder["tokens"], encoder["token_width"])


def test_a_record_that_is_not_there_or_not_yaml_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no submission"):
        read_record(tmp_path)
    (tmp_path / "submission.json").write_text("{")
    with pytest.raises(UserError, match="not YAML or JSON"):
        read_record(tmp_path)


def test_published_tables_are_answered_by_what_stands_for_a_method():
    design = Design.of(Study(merged("rescore.yaml")))
    assert design.answering("mindeye2_unrefined") == "mindeye2_published_unrefined"
    assert design.answering("mindeye1") == "mindeye1"
    assert design.decoders[0] == "mindeye2_published"


def test_a_list_of_their_image_id_makes_the_split_of_982_from_published_images_alone(tmp_path):
    np.save(tmp_path / "few.npy", IDS[[4, 0, 1]])
    split = split_of("shared982", IDS, str(tmp_path / "few.npy"), 37)
    assert split.test_ids == [3, 8, 40] and split.unused_ids == [20, 21, 77]
    with pytest.raises(UserError, match=r"few.npy: image_id 40 is not one of the 2 published test images"):
        split_of("shared982", IDS[:2], str(tmp_path / "few.npy"), 37)


def test_images_alone_have_the_split_of_982_once_its_images_are_named():
    config = merged("rescore.yaml") | {"split": "shared982"}
    with pytest.raises(UserError, match="shared982': is null"):
        Study(config)
    config["nsd"]["images"]["shared982"] = "mine.npy"
    assert Study(config).available_sessions["subj01"] == 37
    with pytest.raises(UserError, match="key 'split': cluster1 needs all images"):
        Study(config | {"split": "cluster1"})


def test_images_alone_need_no_terms_and_bear_no_decoder():
    Study(merged("rescore.yaml")).dataset.check_terms()
    with pytest.raises(UserError, match="key 'methods': must be"):
        Study(merged("rescore.yaml") | {"methods": ["ridge"]})


def test_a_submission_is_named_after_its_folder_unless_a_method_has_that_name(tmp_path):
    for folder, name in (("Our-Method.v2", "our_method"), ("ridge", "submitted_ridge"), ("2026", "submitted_2026")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "submission.yaml").write_text(yaml.safe_dump(ENTRY))
        study = study_to_score([REPOSITORY / "config/tiny.yaml"], tmp_path / folder)
        assert list(study.submissions) == [name] and study.name == "tiny"


def test_what_is_scored_is_made_by_a_rule_and_suspicions_are_printed(tmp_path, monkeypatch, capsys):
    entry = ENTRY | {
        "predictions": [{"subject": "subj01", "sessions": 1, "seed": 0, "images": "a.npy", "ids": "i.npy"}]
    }
    study, asked = study_with(tmp_path, entry), []
    keys = {"method": "mine", "subject": "subj01", "sessions": 1, "seed": 0, "split": "shared1000", "metric": "pixcorr"}
    scores = pd.DataFrame(keys | {"image_id": IDS, "value": [0.1, 0.2, 1.0, 0.3, 0.1, 0.0]})
    monkeypatch.setattr("validate_submission.make", lambda study, configfiles, targets: asked.extend(targets))
    monkeypatch.setattr("validate_submission.read_scores", lambda path: scores)
    monkeypatch.setattr("validate_submission.of_pictures", lambda *_: ["subj01: the pictures are mirrored"])
    score_submission(study, [], Path("results/demo"))
    said = capsys.readouterr().out
    assert "Warning: subj01: the pictures are mirrored" in said
    assert (
        "Warning: subj01, 1 sessions, seed 0: 1 reconstructions equal their stimulus" in said and "image_id 20" in said
    )

    for name in ("config", "resources"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "--directory", str(tmp_path), *asked]
    command += ["--config", f"submissions={json.dumps(study.config['submissions'])}"]
    for name in ("a.npy", "i.npy"):
        (tmp_path / name).touch()
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert asked and result.returncode == 0, result.stdout + result.stderr
