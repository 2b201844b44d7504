"""GOD's two file formats, read from files that the simulator did not write; and what the simulator writes."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
from tests.helpers import god_files as files
from tests.helpers.servers import faulty_server

from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.datasets import lockfile
from fmri2img.datasets.acquisition import acquire
from fmri2img.datasets.god import layout, names, simulator
from fmri2img.datasets.god.dataset import Dataset
from fmri2img.datasets.god.recording import session_numbers, write_recording
from fmri2img.datasets.god.responses import Pictures, pictures_of_bdpy, read_bdpy, read_npz
from fmri2img.datasets.god.scripts.prepare_stimuli import prepare_stimuli
from fmri2img.datasets.god.settings import Settings, Simulation
from fmri2img.datasets.inventory import announced
from fmri2img.datasets.normalise import noise_ceiling
from fmri2img.datasets.remote import WebObject
from fmri2img.errors import UserError

PICTURES = Pictures(sorted(files.TRAINING), files.TEST)
FOLDER = Path(layout.__file__).parent


@pytest.fixture
def rows():
    return files.design()


@pytest.fixture
def values(rows):
    return files.betas(len(rows))


@pytest.mark.parametrize("stimulus, name", [(1443537.022563, "n01443537_22563"), (1621127.01902, "n01621127_19020"),
                                            (13901211.000007, "n13901211_7")])  # fmt: skip
def test_a_stimulus_id_is_a_synset_and_the_six_digits_of_a_picture(stimulus, name):
    assert names.name_of(stimulus) == name
    assert names.id_of(name) == stimulus


def test_the_classes_are_gods_150_and_50_others():
    assert len(names.classes()) == 200
    assert names.categories("n01443537_22563") == ["goldfish", "Carassius auratus"]
    assert names.categories("n99999999_1") == ["n99999999"] and names.categories("training_0000") == []


@pytest.mark.parametrize(
    "variant",
    [{}, {"spelling": "old", "text": bytes}, {"seed": 7, "compressed": True}],
    ids=["new", "old", "compressed"],
)
def test_a_bdpy_file_is_read_by_its_metadata_whatever_their_order(tmp_path, rows, values, variant):
    found = read_bdpy(files.write_bdpy(tmp_path / "Subject1.h5", rows, values, **variant), "VC")
    seen = [row for row in rows if row[0] != 3]
    np.testing.assert_array_equal(found.betas, values[: len(seen), :6])
    assert found.names.tolist() == [names.name_of(row[2]) for row in seen]
    assert found.test.tolist() == [row[0] == 2 for row in seen]
    assert found.runs.tolist() == [row[1] + (2 if row[0] == 2 else 0) for row in seen]
    assert found.left_out == {"imagery": 2, "other": 0}
    assert found.voxels["V2"].tolist() == [False, False, False, True, True, False]
    assert found.voxels["LVC"].tolist() == [True] * 5 + [False]  # a union that the file does not have
    assert not found.voxels["FFA"].any()
    assert found.voxels[["x", "y", "z"]].values.tolist() == [[k, 5 - k, k] for k in range(6)]


def test_voxels_of_one_region_are_selected(tmp_path, rows, values):
    found = read_bdpy(files.write_bdpy(tmp_path / "a.h5", rows, values, leave_out=("Run", "voxel_x")), "V2")
    np.testing.assert_array_equal(found.betas, values[: len(found.test), 3:5])
    assert found.runs is None and found.voxels["x"].tolist() == [0, 1]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"leave_out": ("DataType",)}, "metadata has no key 'DataType'"),
        ({"leave_out": ("stimulus_id",)}, "metadata has no key 'stimulus_id'"),
        ({"dtype": np.float32}, "ids have lost the digits that number the picture"),
    ],
)
def test_a_bdpy_file_that_lacks_something_is_named_with_the_remedy(tmp_path, rows, values, change, message):
    path = files.write_bdpy(tmp_path / "Subject1.h5", rows, values, **change)
    with pytest.raises(UserError, match=message) as caught:
        read_bdpy(path, "VC")
    assert str(caught.value).startswith(f"{path}: ") and ";" in str(caught.value)


def test_damaged_bdpy_files_are_refused(tmp_path, rows, values):
    path = files.write_bdpy(tmp_path / "Subject1.h5", rows, values)
    with pytest.raises(UserError, match=r"no voxel is in region FFA; choose another god.voxels"):
        read_bdpy(path, "FFA")
    with pytest.raises(UserError, match="no such file"):
        read_bdpy(tmp_path / "Subject2.h5", "VC")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UserError, match="not a complete HDF5 file"):
        read_bdpy(path, "VC")
    with h5py.File(files.write_bdpy(tmp_path / "c.h5", rows, files.betas(len(rows))), "r+") as file:
        short = file["metadata/value"][:, 1:]
        del file["metadata/value"]
        file["metadata/value"] = short
    with pytest.raises(UserError, match=r"metadata/value has shape .* and dataset has shape"):
        read_bdpy(tmp_path / "c.h5", "VC")
    with pytest.raises(UserError, match="holds no perception test"):
        read_bdpy(files.write_bdpy(tmp_path / "d.h5", rows[:6], files.betas(6)), "VC")


@pytest.mark.parametrize("with_labels", [True, False])
def test_both_releases_of_a_subject_hold_the_same(tmp_path, rows, values, with_labels):
    one = read_bdpy(files.write_bdpy(tmp_path / "Subject1.h5", rows, values), "VC")
    other = read_npz(files.write_npz(tmp_path / "sbj_1.npz", rows, values, with_labels), "VC", PICTURES)
    for found in (one, other):  # test trials come in another order
        order = np.lexsort((found.betas[:, 0], found.names.astype(str)))
        assert [found.names[k] for k in order] == sorted(found.names)
        np.testing.assert_allclose(
            found.betas[order], one.betas[np.lexsort((one.betas[:, 0], one.names.astype(str)))], rtol=1e-6
        )
    assert other.runs is None and other.test.sum() == 6
    pd.testing.assert_frame_equal(one.voxels.drop(columns=list("xyz")), other.voxels.drop(columns=list("xyz")))


def test_averaged_tests_do_where_single_ones_are_missing(tmp_path, rows, values):
    found = read_npz(files.write_npz(tmp_path / "sbj_1.npz", rows, values, arr_1=None), "V1", PICTURES)
    assert found.test.sum() == 2 and found.names[-2:].tolist() == files.TEST
    np.testing.assert_allclose(found.betas[-2], values[6:12:2, :3].mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"arr_0": None}, "has no array 'arr_0', only"),
        ({"arr_0": np.ones((6, 8, 1))}, "array 'arr_0': is .* not numbers of shape"),
        ({"arr_1": np.ones((6, 5))}, "array 'arr_1': is .* not numbers of shape"),
        ({"arr_3": np.arange(1, 7)}, "array 'arr_3': numbers from 1 to 6 do not fit 6 pictures, counted from 0"),
        ({"arr_3": np.arange(5)}, "array 'arr_3': numbers 5 pictures for 6 trials"),
        ({"V1": np.arange(8)}, "region 'V1' must be a mask of 8 voxels"),
        ({"V1": None, "VC": None, "V2": None, "LOC": None}, "no voxel is in region VC"),
    ],
)
def test_a_wrong_npz_is_named_with_its_array_and_the_remedy(tmp_path, rows, values, change, message):
    path = files.write_npz(tmp_path / "sbj_1.npz", rows, values, **change)
    with pytest.raises(UserError, match=message) as caught:
        read_npz(path, "VC", PICTURES)
    assert str(path) in str(caught.value) and ";" in str(caught.value)


def test_single_tests_that_are_neither_listed_nor_grouped_are_refused(tmp_path, rows, values):
    path = files.write_npz(tmp_path / "sbj_1.npz", rows, values, with_labels=False)
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"arr_1": arrays["arr_1"][[0, 3, 1, 4, 2, 5]]})
    with pytest.raises(UserError, match="has no array 'arr_4'"):
        read_npz(path, "VC", PICTURES)
    os.truncate(path, path.stat().st_size - 400)
    with pytest.raises(UserError, match="not a complete"):
        read_npz(path, "VC", PICTURES)


def stimuli_of(root, images, release="bdpy", rows=None, values=None):
    rows = rows or files.design()
    path = files.write_bdpy(root / "Subject1.h5", rows, values if values is not None else files.betas(len(rows)))
    split = prepare_stimuli(str(root), release, images, 24, [str(path)], str(root / "stimuli"))
    return Stimuli.open(root / "stimuli"), split


@pytest.mark.parametrize("scale", [1, 255.0, None], ids=["uint8", "0 to 255", "0 to 1"])
def test_pictures_come_from_an_npz_of_any_number_type(tmp_path, scale):
    pictures = files.pictures()
    stored = pictures if scale == 1 else (pictures / (1 if scale else 255)).astype(np.float32)
    np.savez(tmp_path / "images_256.npz", train_images=stored[:6], test_images=stored[6:])
    stimuli, split = stimuli_of(tmp_path, "images_256.npz")
    np.testing.assert_array_equal(stimuli.images, pictures)
    assert stimuli.table["name"].tolist() == [*sorted(files.TRAINING), *files.TEST]
    assert split.test_sets == {"perception": [6, 7]} and split.name == "classes"
    assert stimuli.table["categories"].iloc[0].tolist() == ["goldfish", "Carassius auratus"]


def test_pictures_come_from_a_folder_of_imagenets_files(tmp_path):
    files.write_folder(tmp_path / "images")
    stimuli, _ = stimuli_of(tmp_path, "images")
    assert stimuli.images.shape == (8, 24, 24, 3)
    assert np.abs(stimuli.images.mean(axis=(1, 2)) - files.pictures()[:, 0, 0]).max() < 4
    (tmp_path / "images/test/n07734744_8647.JPEG").unlink()
    with pytest.raises(UserError, match=r"images: lacks picture n07734744_8647 \(1 of 8 are missing\); put it there"):
        stimuli_of(tmp_path, "images")


@pytest.mark.parametrize("form", ["{number:.6f}", '{number:.6f},"{name}.JPEG"', "{name}.JPEG"])
def test_mind_vis_lists_name_the_pictures_of_the_npz_release(tmp_path, form):
    np.savez(tmp_path / "images_256.npz", train_images=files.pictures()[:6], test_images=files.pictures()[6:])
    for part, own in (("training", sorted(files.TRAINING)), ("test", files.TEST)):
        lines = [form.format(number=files.stimulus_id(name), name=name) for name in own]
        (tmp_path / layout.LISTS[part][0]).write_text("\n".join(lines) + "\n")
    stimuli, _ = stimuli_of(tmp_path, "images_256.npz", "npz")
    assert stimuli.table["name"].tolist() == [*sorted(files.TRAINING), *files.TEST]


def test_without_lists_the_pictures_of_the_npz_release_are_numbered(tmp_path):
    np.savez(tmp_path / "images_112.npz", train_images=files.pictures()[:6], test_images=files.pictures()[6:])
    stimuli, _ = stimuli_of(tmp_path, "images_112.npz", "npz")
    assert stimuli.table["name"].iloc[[0, 7]].tolist() == ["training_0000", "test_0001"]
    files.write_folder(tmp_path / "images")
    with pytest.raises(UserError, match=r"put MinD-Vis's imagenet_training_label.csv next to the recordings"):
        stimuli_of(tmp_path, "images", "npz")


def test_a_test_class_that_is_trained_on_is_refused(tmp_path):
    rows = files.design()
    rows[0] = (1, 1, float("7734744.000099"))  # another picture of a test class
    np.savez(tmp_path / "images_256.npz", train_images=files.pictures()[:6], test_images=files.pictures()[6:])
    with pytest.raises(UserError, match=r"class n07734744 is in the training and in the test set \(1 classes are\)"):
        stimuli_of(tmp_path, "images_256.npz", rows=rows)


def test_more_pictures_than_were_shown_are_refused(tmp_path):
    np.savez(tmp_path / "images_256.npz", train_images=files.pictures()[:5], test_images=files.pictures()[6:])
    with pytest.raises(UserError, match=r"array 'train_images' has shape \(5, 20, 20, 3\), not \(6, height"):
        stimuli_of(tmp_path, "images_256.npz")


@pytest.mark.parametrize("normalise, statistics", [("pooled", "train"), ("pooled", "all"), ("global", "train")])
def test_betas_are_z_scored_by_training_trials_unless_the_switch_says_all(
    tmp_path, rows, values, normalise, statistics
):
    found = read_bdpy(files.write_bdpy(tmp_path / "Subject1.h5", rows, values), "VC")
    ids = {name: k for k, name in enumerate([*sorted(files.TRAINING), *files.TEST])}
    options = {"normalise": normalise, "statistics": statistics}
    split = Split("classes", "", {"perception": [6, 7]})
    seen = write_recording("Subject1", found, ids, split, 2, options, {}, tmp_path / "recording")
    recording = Recording.open(tmp_path / "recording")
    base = found.betas[: 6 if statistics == "train" else None]
    if normalise == "global":  # MinD-Vis: one mean and one deviation (over n) for the whole array
        expected = (found.betas - base.mean()) / base.std()
    else:
        expected = (found.betas - base.mean(axis=0)) / base.std(axis=0, ddof=1)
    np.testing.assert_allclose(recording.betas, expected, rtol=1e-4, atol=1e-5)
    assert recording.trials["session"].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert recording.trials["part"].tolist() == ["train"] * 6 + ["perception"] * 6
    assert recording.trials["repeat"].tolist() == [0] * 6 + [0, 0, 1, 1, 2, 2]
    assert recording.metadata["trials_left_out"] == {"imagery": 2, "other": 0}
    assert seen.test_sets["perception"].tolist() == [6, 7]
    assert recording.averaged(recording.test_rows("perception"))[1].shape == (2, 6)


def test_sessions_divide_the_training_runs_and_tests_come_after_them():
    test = np.array([False] * 12 + [True] * 5)
    runs = np.array([*np.repeat([3, 1, 2, 4], 3), *[9] * 5])
    assert session_numbers(test, runs, 2).tolist() == [2, 2, 2, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]
    assert session_numbers(test, None, 3).tolist() == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4 + [5]
    assert session_numbers(test, runs, 6).max() == 9  # fewer runs than sessions: trials are divided


def test_ncsnr_is_found_from_repeats():
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(400), 5)
    true = np.array([0.0, 0.4, 1.5])
    z = true * rng.standard_normal((400, 3))[ids] + rng.standard_normal((2000, 3))
    np.testing.assert_allclose(noise_ceiling(3 * z, ids), true, atol=0.12)
    assert not noise_ceiling(z, np.arange(2000)).any()


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("god")
    small = Simulation(seed=1, classes=6, pictures_per_class=4, test_classes=4, repeats=3, training_runs=4, voxels=28,
                       image_size=16, subjects=2)  # fmt: skip
    simulator.simulate(root, small)
    return root, small


def test_the_simulator_writes_what_the_readers_of_both_formats_read(simulated):
    root, _ = simulated
    paths = [root / layout.responses(name, layout.BDPY) for name in layout.SUBJECTS[:2]]
    pictures = pictures_of_bdpy(paths)
    assert (len(pictures.training), len(pictures.test)) == (24, 4)
    assert pictures.training == names.listed(root, "training") and pictures.test == names.listed(root, "test")
    assert not {name[:9] for name in pictures.training} & {name[:9] for name in pictures.test}
    for number, path in enumerate(paths, start=1):
        one, other = read_bdpy(path, "VC"), read_npz(root / f"sbj_{number}.npz", "VC", pictures)
        np.testing.assert_allclose(one.betas, other.betas, rtol=1e-6)
        assert one.names.tolist() == other.names.tolist()
        assert one.left_out["imagery"] == 8 and one.runs.max() == 4 + 3
        assert np.bincount(one.runs[~one.test])[1:].tolist() == [6] * 4


def test_the_same_seed_gives_the_same_bytes(simulated, tmp_path):
    root, small = simulated
    simulator.simulate(tmp_path, small)
    for path in root.iterdir():
        if path.suffix != ".npz":  # a zip archive has the time of writing
            assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_a_published_file_is_downloaded_once_from_a_server_that_only_answers_get(tmp_path, rows, values):
    content = files.write_bdpy(tmp_path / "published.h5", rows, values).read_bytes()
    with faulty_server(objects={"/files/1": content}, head_statuses=[403]) as server:
        for _ in range(2):
            path = acquire(WebObject(f"{server.url}/files/1"), "Subject1.h5", tmp_path / "root", "it is not there")
        assert path.read_bytes() == content and lockfile.read(tmp_path / "root", "Subject1.h5").size == len(content)
        assert len(server.gets) == 2  # the first byte, for the size, and the file
        server.objects["/files/1"] = content[:-100]
        with pytest.raises(UserError, match=r"Subject2.h5 does not open: OSError.* \(it is not there\)$"):
            acquire(WebObject(f"{server.url}/files/1"), "Subject2.h5", tmp_path / "root", "it is not there")
    assert set(layout.ADDRESSES) == {
        *(layout.responses(subject, release) for subject in layout.SUBJECTS for release in ("bdpy", "npz")),
        "images_112.npz",
    }


def test_files_that_the_user_has_to_provide_are_named_before_the_run(tmp_path):
    def dataset(**changes):
        section = {"source": "copy", "root": str(tmp_path), "images": "images"} | changes
        return Dataset("god", FOLDER, Settings.read(section, key="god"))

    study = SimpleNamespace(recorded=["Subject1", "Subject2"])
    made = [str(tmp_path / "Subject2.h5"), str(tmp_path / "Subject1.h5"), "results/x/stimuli"]
    (line,) = announced("GOD", dataset(source="download").inventory(study), made)
    assert line.startswith("GOD: 2 files are downloaded from ndownloader.figshare.com (key god.source: download)")
    assert line.endswith(": responses of Subject1; responses of Subject2.")
    assert announced("GOD", dataset().inventory(study), made) == []
    study = SimpleNamespace(recorded=["Subject2"])
    with pytest.raises(
        UserError, match=r"key 'god.root': there is no folder .*/go; correct the path, or set god.source"
    ):
        dataset(root=str(tmp_path / "go")).check(study)
    (tmp_path / "god").mkdir()
    (tmp_path / "god" / "Subject3.h5").touch()
    (tmp_path / "god" / "images").mkdir()
    for wrong in ("go", ".", "god/images"):
        with pytest.raises(UserError, match=rf"key 'god.root': .*; did you mean {tmp_path}/god\?"):
            dataset(root=str(tmp_path / wrong)).check(study)
    shutil.rmtree(tmp_path / "god")
    with pytest.raises(UserError, match=r"images: no such file or folder; request the pictures at https"):
        dataset().check(study)
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match=r"Subject2.h5: no such file; download it from https://ndownloader.*24080123"):
        dataset().check(study)
    dataset(source="download").check(study)
    (tmp_path / "sbj_2.npz").touch()
    dataset(files="npz").check(study)
    assert dataset(files="npz").sessions["Subject2"] == 1 and dataset(sessions=4).sessions["Subject5"] == 4
    with pytest.raises(UserError, match=r"key 'god.betas.normalise': 'session' needs betas.statistics: all"):
        dataset(betas={"normalise": "session"})
