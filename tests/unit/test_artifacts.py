"""The contracts: what is written is what is read, bad files are named, and nothing half-written remains."""

import errno
import json
import os

import numpy as np
import pandas as pd
import pytest
from designs import DISCLOSURE
from records import unrecorded

from fmri2img.artifacts import atomic
from fmri2img.artifacts.arrays import new_array, read_array
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.cells import Cell
from fmri2img.artifacts.decoded import save_decoded
from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.artifacts.features import Features, save_features
from fmri2img.artifacts.prediction import Prediction, save_prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.scores import COLUMNS, read_scores, save_scores
from fmri2img.artifacts.splits import Split, hash_ids
from fmri2img.artifacts.stimuli import Stimuli, save_stimuli
from fmri2img.artifacts.tables import read_json
from fmri2img.errors import UserError

METADATA = {
    "method": "ridge", "subject": "subj01", "sessions": 1, "seed": 0, "split": "shared1000", "split_sha256": "0",
    "test_set": "shared1000", "disclosure": DISCLOSURE,
}  # fmt: skip


def write_recording(
    path, image_ids=(5, 9, 5, 2), part=("test", "train", "test", "train"), sessions=(1, 1, 2, 2), test_sets=("test",)
):
    trials = pd.DataFrame({"trial": range(len(image_ids)), "session": sessions, "run": 1, "image_id": image_ids})
    trials["repeat"] = trials.groupby("image_id").cumcount()
    trials["part"] = part
    voxels = pd.DataFrame({"x": [0, 1], "y": [0, 0], "z": [0, 2], "ncsnr": [0.5, 0.7]})
    with Recording.writer(path) as writer:
        betas = writer.betas(len(image_ids), 2)
        betas[:] = np.arange(2 * len(image_ids)).reshape(-1, 2)
        writer.finish(trials, voxels, {"subject": "subj01", "split": "s", "test_sets": test_sets})
    return Recording.open(path)


def test_repeats_are_averaged_per_image_and_sorted_by_id(tmp_path):
    recording = write_recording(tmp_path / "r", image_ids=(9, 2, 9, 2, 7), part=("test",) * 5, sessions=(1,) * 5)
    ids, betas = recording.averaged(np.array([4, 2, 1, 0]))
    assert ids.tolist() == [2, 7, 9]
    np.testing.assert_array_equal(betas, [[2, 3], [8, 9], [2, 3]])  # image_id 9: mean of rows 0 and 2


def test_training_rows_stay_within_budget_and_split(tmp_path):
    recording = write_recording(tmp_path / "r")
    assert recording.training_rows(1).tolist() == [1]
    assert recording.training_rows(2).tolist() == [1, 3]
    assert recording.test_rows("test").tolist() == [0, 2]
    with pytest.raises(UserError, match="3 training sessions requested, but subj01 has 2"):
        recording.training_rows(3)


def test_a_recording_whose_parts_disagree_is_refused(tmp_path):
    write_recording(tmp_path / "r")
    np.save(unrecorded(tmp_path / "r") / "betas.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(UserError, match=r"betas\.npy.*4 trials x 2 voxels"):
        Recording.open(tmp_path / "r")


def test_a_recording_that_trains_on_a_test_image_is_refused(tmp_path):
    write_recording(tmp_path / "unused", part=("test", "train", "unused", "train"))
    with pytest.raises(
        UserError, match=r"trials\.parquet: image_id 5 has test and train trials \(1 images are in two parts\)"
    ):
        write_recording(tmp_path / "leaked", part=("test", "train", "train", "train"))
    assert not (tmp_path / "leaked").exists()
    write_recording(tmp_path / "r")
    trials = pd.read_parquet(tmp_path / "r" / "trials.parquet")
    trials.assign(image_id=5).to_parquet(unrecorded(tmp_path / "r") / "trials.parquet")
    with pytest.raises(UserError, match="image_id 5 has test and train trials"):
        Recording.open(tmp_path / "r")


def test_trials_of_each_test_set_are_found_by_its_name(tmp_path):
    parts = ("shared", "train", "shared", "imagery")
    recording = write_recording(tmp_path / "r", part=parts, test_sets=["shared", "imagery"])
    assert recording.test_sets == ["shared", "imagery"] and recording.test_ids("imagery").tolist() == [2]
    assert recording.test_rows("shared").tolist() == [0, 2] and recording.training_rows(2).tolist() == [1]
    with pytest.raises(UserError, match="no test set 'test'; available: shared, imagery"):
        recording.test_ids("test")
    with pytest.raises(UserError, match="'imagery' is not a part of split s"):
        write_recording(tmp_path / "unknown", part=parts, test_sets=["shared"])
    with pytest.raises(UserError, match="image_id 5 has imagery and shared trials"):
        write_recording(
            tmp_path / "twice", part=("shared", "train", "imagery", "train"), test_sets=["shared", "imagery"]
        )


def test_failed_writing_leaves_neither_target_nor_temporary(tmp_path):
    with pytest.raises(RuntimeError), atomic.atomic_directory(tmp_path / "artifact") as directory:
        (directory / "tokens.npy").write_bytes(b"half")
        raise RuntimeError
    with pytest.raises(RuntimeError), atomic.atomic_file(tmp_path / "table.csv") as file:
        file.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rewrite_keeps_the_old_artifact(tmp_path):
    (tmp_path / "kept.txt").write_text("old")
    with pytest.raises(RuntimeError), atomic.atomic_file(tmp_path / "kept.txt") as file:
        file.write_text("new")
        raise RuntimeError
    assert (tmp_path / "kept.txt").read_text() == "old"


def test_full_disk_is_said_in_one_line(tmp_path):
    with (
        pytest.raises(UserError, match=r"betas.*disk is full.*free some space"),
        atomic.atomic_file(tmp_path / "betas"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_write_that_a_full_disk_cuts_short_is_said_in_one_line(tmp_path):
    # NumPy's error for that has no number.
    with (
        pytest.raises(UserError, match=r"session01\.npy: the disk is full"),
        atomic.atomic_file(tmp_path / "session01.npy") as temporary,
    ):
        temporary.symlink_to("/dev/full")
        np.zeros(2**20, np.int16).tofile(temporary)
    assert list(tmp_path.iterdir()) == []


def new_recording(path):
    with Recording.writer(path) as writer:
        writer.betas(100, 2000)


def new_stimuli(path):
    table = pd.DataFrame(
        {"image_id": [3], "name": "x", "source": "x", "cluster": None, "captions": [["a"]], "categories": [[]]}
    )
    save_stimuli(path, np.zeros((1, 425, 425, 3), np.uint8), table, {})


def new_embeddings(path):
    save_embeddings(path, np.array([1, 2]), np.zeros((2, 257, 1664), np.float32), {})


@pytest.mark.parametrize("make", [new_recording, new_stimuli, new_embeddings])
def test_arrays_that_do_not_fit_on_the_disk_are_refused_before_they_are_filled(tmp_path, monkeypatch, make):
    # Without room of its own a map has holes, and the disk that is full when they are filled kills the process.
    def no_room(descriptor, offset, size):
        assert (offset, size) == (0, os.fstat(descriptor).st_size) and size > 500_000
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    with pytest.raises(UserError, match=r"artifact: the disk is full .*free some space"):
        make(tmp_path / "artifact")
    assert list(tmp_path.iterdir()) == []


def test_a_new_array_has_all_its_room(tmp_path):
    array = new_array(tmp_path / "a.npy", np.float32, (1000, 1000))
    found = (tmp_path / "a.npy").stat()
    assert found.st_blocks * 512 >= found.st_size > array.nbytes
    array[-1] = 1
    array.flush()
    opened = read_array(tmp_path / "a.npy")
    assert opened.dtype == np.float32 and opened[-1].all() and not opened[:-1].any()
    with pytest.raises(ValueError, match="read-only"):
        opened[0] = 1


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_cannot_reserve_room_is_written_all_the_same(tmp_path, monkeypatch, error):
    def unsupported(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    assert write_recording(tmp_path / "r").betas.shape == (4, 2)


def damaged(path, kind):
    content = path.read_bytes()
    path.unlink()
    if kind != "missing":
        path.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "binary": b"\xff\xfe\x00"}[kind])


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "binary"])
@pytest.mark.parametrize(
    ("artifact", "name"),
    [
        ("recording", "betas.npy"),
        ("recording", "trials.parquet"),
        ("recording", "metadata.json"),
        ("stimuli", "images.npy"),
        ("stimuli", "stimuli.parquet"),
        ("embeddings", "tokens.npy"),
        ("embeddings", "ids.npy"),
    ],
)
def test_damaged_files_of_an_artifact_are_named(tmp_path, artifact, name, kind):
    kinds = {
        "recording": (write_recording, Recording),
        "stimuli": (new_stimuli, Stimuli),
        "embeddings": (new_embeddings, Embeddings),
    }
    make, contract = kinds[artifact]
    make(tmp_path / artifact)
    damaged(tmp_path / artifact / name, kind)
    with pytest.raises(UserError, match=r"and run `snakemake` again$") as error:
        contract.open(tmp_path / artifact)
    assert str(error.value).startswith(str(tmp_path / artifact / name)) and "\n" not in str(error.value)


def test_stimuli_are_found_by_id_not_by_row(tmp_path):
    table = pd.DataFrame({"image_id": [3, 8, 20], "name": "x", "source": "x", "cluster": None})
    table["captions"] = [["a"], ["b", "c"], []]
    table["categories"] = [["cat"], [], ["dog"]]
    images = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    save_stimuli(tmp_path / "s", iter([images[:2], images[2:]]), table, {})
    stimuli = Stimuli.open(tmp_path / "s")
    assert stimuli.images[stimuli.rows([20, 3, 20])][:, 0, 0, 0].tolist() == [2, 0, 2]
    with pytest.raises(UserError, match="lacks image_id 4"):
        stimuli.rows([3, 4])
    with pytest.raises(UserError, match="lacks image_id 99"):
        stimuli.rows([99])


def test_features_are_found_by_layer_and_id(tmp_path):
    ids, pooled = np.array([2, 5, 9]), np.arange(6.0).reshape(3, 2)
    save_features(tmp_path / "f", ids, {"features.4": pooled, "avgpool": -pooled}, {"network": "n"})
    features = Features.open(tmp_path / "f")
    np.testing.assert_array_equal(features.of("features.4", np.array([9, 2])), [[4, 5], [0, 1]])
    with pytest.raises(UserError, match="f: lacks image_id 3"):
        features.of("avgpool", np.array([2, 3]))
    with pytest.raises(UserError, match="f: lacks layer 'logits'"):
        features.of("logits", ids)
    np.save(unrecorded(tmp_path / "f") / "avgpool.npy", pooled[:2])
    with pytest.raises(UserError, match=r"f/avgpool.npy: \(2, 2\) does not match 3 ids"):
        Features.open(tmp_path / "f")
    (tmp_path / "f/avgpool.npy").unlink()
    with pytest.raises(UserError, match=r"f/avgpool.npy: no such file"):
        Features.open(tmp_path / "f")


def test_embeddings_refuse_what_float16_cannot_hold(tmp_path):
    with pytest.raises(UserError, match=r"e: the tokens of image_id 1 .* hold NaN or infinities in float16"):
        save_embeddings(tmp_path / "e", np.array([1, 2]), np.full((2, 3, 4), 1e6, np.float32), {})
    assert not (tmp_path / "e").exists()
    blocks = ((np.full((1, 3, 4), i), np.full((1, 5), i)) for i in range(2))
    save_embeddings(tmp_path / "e", np.array([1, 2]), blocks, {"encoder": "x"})
    opened = Embeddings.open(tmp_path / "e")
    assert opened.tokens.shape == (2, 3, 4) and opened.pooled[1, 0] == 1 and opened.metadata["encoder"] == "x"


def test_predictions_are_stored_by_ascending_id(tmp_path):
    images = np.array([9, 1, 5], np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    save_prediction(tmp_path / "p", np.array([9, 1, 5]), METADATA, images=images, captions=["nine", "one", "five"])
    prediction = Prediction.open(tmp_path / "p")
    assert prediction.ids.tolist() == [1, 5, 9] and prediction.images[:, 0, 0, 0].tolist() == [1, 5, 9]
    assert prediction.captions["caption"].tolist() == ["one", "five", "nine"]


def test_further_samples_keep_their_image_and_have_its_size(tmp_path):
    images = np.array([9, 1], np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    samples = np.stack([images + 1, images + 2], axis=1)
    save_prediction(tmp_path / "p", np.array([9, 1]), METADATA, images=images, samples=samples)
    prediction = Prediction.open(tmp_path / "p")
    assert [p.images[:, 0, 0, 0].tolist() for p in prediction.by_sample] == [[1, 9], [2, 10], [3, 11]]
    one = prediction.of_cell(Cell("subj01", 1, 0, "shared1000"), np.array([9]))
    assert [p.images[:, 0, 0, 0].tolist() for p in one.by_sample] == [[9], [10], [11]]
    with pytest.raises(UserError, match=r"samples\.npy: has \(2, 2, 2, 2, 3\), but images\.npy has \(2, 4, 4, 3\)"):
        save_prediction(tmp_path / "q", np.array([9, 1]), METADATA, images=np.zeros((2, 4, 4, 3)), samples=samples)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: m.pop("seed"), "key 'seed' is missing"),
        (lambda m: m["disclosure"].pop("transductive"), "disclosure.transductive"),
        (lambda m: m["disclosure"].update(samples_per_image="one"), "disclosure.samples_per_image"),
    ],
)
def test_predictions_without_full_disclosure_are_refused(tmp_path, damage, message):
    metadata = json.loads(json.dumps(METADATA))
    damage(metadata)
    with pytest.raises(UserError, match=message):
        save_prediction(tmp_path / "p", np.array([1]), metadata, retrieval=np.zeros((1, 2)))
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("part", ["betas", "ncsnr"])
def test_a_recording_of_numbers_that_are_not_finite_is_refused(tmp_path, part):
    betas, ncsnr = np.ones((3, 2), np.float32), np.ones(2, np.float32)
    (betas[1] if part == "betas" else ncsnr)[1] = np.nan
    trials = pd.DataFrame(dict.fromkeys(["session", "run", "repeat"], 1) | {"trial": range(3), "image_id": range(3)})
    voxels = pd.DataFrame({"x": [0, 1], "y": 0, "z": 0, "ncsnr": ncsnr})
    message = "the betas of trials 1 to 3" if part == "betas" else "the noise ceilings"
    with pytest.raises(UserError, match=f"recording of s: {message}.* hold NaN or infinities"):  # noqa: SIM117
        with Recording.writer(tmp_path / "r") as recording:
            recording.betas(3, 2)[:] = betas
            recording.finish(trials.assign(part="train"), voxels, {"subject": "s", "test_sets": []})
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_artifact_holds_a_number_that_is_not_finite(tmp_path, value):
    ids, spoilt = np.array([3, 5]), np.ones((2, 4), np.float32)
    spoilt[1, 2] = value
    cell = {"method": "a", "subject": "s", "sessions": 1, "seed": 0, "test_set": "t", "disclosure": DISCLOSURE}
    writes = {
        "embeddings": lambda path: save_embeddings(path, ids, iter([(np.ones((2, 3, 4), np.float32), spoilt)]), {}),
        "features": lambda path: save_features(path, ids, {"avgpool": spoilt}, {}),
        "decoded": lambda path: save_decoded(path, ids, {}, {"tokens": spoilt}),
        "prediction": lambda path: save_prediction(path, ids, cell, retrieval=spoilt),
    }
    for name, write in writes.items():
        with pytest.raises(
            UserError, match=rf"{name}.* hold NaN or infinities in float\d\d; .*check these first"
        ) as error:
            write(tmp_path / name)
        assert not (tmp_path / name).exists() and "\n" not in str(error.value)


def test_scores_hold_one_value_per_key(tmp_path):
    row = dict(zip(COLUMNS, ["ridge", "subj01", 1, 0, "shared1000", "shared1000", "ssim", 7, 0.5], strict=True))
    with pytest.raises(ValueError, match="two values"):
        save_scores(tmp_path / "a.parquet", pd.DataFrame([row, row]))
    save_scores(tmp_path / "a.parquet", pd.DataFrame([row]))
    save_scores(tmp_path / "b.parquet", pd.DataFrame([row | {"image_id": 8}]))
    assert len(read_scores([tmp_path / "a.parquet", tmp_path / "b.parquet"])) == 2
    with pytest.raises(UserError, match="two values"):
        read_scores([tmp_path / "a.parquet", tmp_path / "a.parquet"])


def test_a_record_that_is_not_an_object_is_refused(tmp_path):
    (tmp_path / "record.json").write_text("[1, 2]")
    with pytest.raises(UserError, match=r"record\.json: holds a list, not a JSON object"):
        read_json(tmp_path / "record.json")


def test_an_edited_split_is_refused(tmp_path):
    Split("shared1000", "test", {"shared1000": [4, 1, 9]}).save(tmp_path / "s.json")
    assert Split.open(tmp_path / "s.json").sha256 == hash_ids(np.array([9, 4, 1]))
    record = json.loads((tmp_path / "s.json").read_text())
    record["test_sets"][0]["image_ids"].append(10)
    unrecorded(tmp_path / "s.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="do not match its sha256"):
        Split.open(tmp_path / "s.json")


def test_a_split_keeps_the_order_of_its_test_sets(tmp_path):
    Split("two", "", {"shared": [7, 2], "imagery": [4]}).save(tmp_path / "s.json")
    split = Split.open(tmp_path / "s.json")
    assert list(split.test_sets) == ["shared", "imagery"] and split.test_ids == [2, 4, 7]
    assert split.sha256 == hash_ids(np.array([2, 4, 7]))


@pytest.mark.parametrize(
    ("test_sets", "message"),
    [
        ({}, "has no test set"),
        ({"train": [1]}, "a test set cannot be named 'train'"),
        ({"a": [1, 2], "b": [2]}, "image_id 2 is in test sets a and b"),
    ],
)
def test_a_split_whose_test_sets_are_not_clear_is_refused(test_sets, message):
    with pytest.raises(UserError, match=message):
        Split("s", "", test_sets)


def test_split_assigns_by_image_and_session():
    split = Split("shared982", "", test_sets={"shared": [1], "other": [4]}, unused_ids=[2], max_sessions=1)
    labels = split.assign(np.array([1, 2, 3, 4, 1, 3]), np.array([1, 1, 1, 1, 2, 2]))
    assert labels.tolist() == ["shared", "unused", "train", "other", "unused", "unused"]


def test_a_share_of_a_session_is_its_first_trials(tmp_path):
    trials = pd.DataFrame({
        "trial": np.arange(12), "session": np.repeat([1, 2], 6), "run": 1, "image_id": np.arange(12), "repeat": 0,
        "part": ["train", "test", *["train"] * 10],
    })  # fmt: skip
    voxels = pd.DataFrame({"x": [0], "y": [0], "z": [0], "ncsnr": [0.5]})
    with Recording.writer(tmp_path / "r") as writer:
        writer.betas(12, 1)[:] = 0
        writer.finish(trials, voxels, {"subject": "subj01", "split": "s", "test_sets": ["test"]})
    recording = Recording.open(tmp_path / "r")
    assert recording.training_rows(parse_sessions("0.5")).tolist() == [0, 2]
    assert recording.training_rows(parse_sessions("1")).tolist() == [0, 2, 3, 4, 5]
    assert recording.training_rows(1.5).tolist() == [0, 2, 3, 4, 5, 6, 7, 8]
    assert recording.training_rows(2).tolist() == [0, *range(2, 12)]
