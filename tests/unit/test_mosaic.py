"""MOSAIC's files, read from files that the simulator did not write; its splits; how it is downloaded; its simulator."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import h5py
import mosaic_files as files
import numpy as np
import pandas as pd
import pytest
from servers import BUCKET, REGION, faulty_server, s3_server, serve_tree

from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.datasets import acquisition as any_acquisition
from fmri2img.datasets import lockfile
from fmri2img.datasets.inventory import announced
from fmri2img.datasets.mosaic import acquisition, layout, simulator
from fmri2img.datasets.mosaic.betas import open_subject
from fmri2img.datasets.mosaic.dataset import Dataset
from fmri2img.datasets.mosaic.parcels import read_parcels
from fmri2img.datasets.mosaic.recording import write_recording
from fmri2img.datasets.mosaic.scripts.prepare_recording import checked
from fmri2img.datasets.mosaic.scripts.prepare_split import make_split
from fmri2img.datasets.mosaic.scripts.prepare_stimuli import prepare_stimuli
from fmri2img.datasets.mosaic.settings import Bucket, Settings, Simulation
from fmri2img.datasets.mosaic.stimuli import read_images
from fmri2img.datasets.mosaic.tables import filtered_parts, published_parts, read_list, read_stimuli, seen_stimuli
from fmri2img.datasets.remote import S3Object
from fmri2img.errors import UserError

FOLDER = Path(layout.__file__).parent
OPTIONS = {"vertices": "visual", "sessions": 1}


@pytest.fixture
def parcels(tmp_path):
    return read_parcels(files.write_parcels(tmp_path / "parcels.npz"))


@pytest.fixture
def nsd(tmp_path):
    table = files.write_table(tmp_path / "nsd_stiminfo.tsv", files.NSD_ROWS)
    return seen_stimuli({"NSD": read_stimuli(table, "NSD")}, ["sub-01_NSD", "sub-02_NSD"])


def nsd_file(tmp_path, parts=None, **options):
    return files.write_betas(tmp_path / "sub-01_NSD.hdf5", "sub-01_NSD", parts or files.nsd_responses(1), **options)


def split_of(stimuli, test_sets=("naturalistic",), lists=None):
    return make_split("published", "some", list(test_sets), stimuli, lists or {})


def record(tmp_path, path, parcels, nsd, test_sets=("naturalistic",), **options):
    split = split_of(nsd, test_sets)
    seen = write_recording("sub-01_NSD", path, parcels, OPTIONS | options, nsd, split, {}, tmp_path / "recording")
    return Recording.open(tmp_path / "recording"), seen


# ---- a subject's file ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drop", [(), ("presented_stimulus_filename", "phase")], ids=["named", "by stem"])
def test_every_trial_is_read_with_its_stimulus_part_and_repeat(tmp_path, parcels, nsd, drop):
    parts = files.nsd_responses(1)
    with open_subject(nsd_file(tmp_path, parts, drop=drop), "sub-01_NSD", files.ELEMENTS) as file:
        read = {}
        for rows, block in file.blocks(np.arange(files.ELEMENTS)):
            read |= {row: values for row, values in zip(rows, block, strict=True)}
    assert len(file.trials) == len(read) == 13
    for task, (betas, names) in parts.items():
        for place, name in enumerate(names):
            stem = name.rpartition(".")[0]
            own = file.trials[file.trials["stimulus"].isin([name, stem])].sort_values("repeat")
            assert set(own["phase"]) == {"train" if task == "train" else "test"}
            shown = betas[place][np.isfinite(betas[place]).all(axis=1)]
            np.testing.assert_array_equal([read[row] for row in own.index], shown)


def test_betas_are_zscored_over_the_training_trials_and_nothing_else(tmp_path, parcels, nsd):
    parts = files.nsd_responses(1, mean=3.0)
    found, seen = record(tmp_path, nsd_file(tmp_path, parts), parcels, nsd)
    (train, names), (test, tested) = parts["train"], parts["test"]
    trained = train[np.isfinite(train).all(axis=2)][:, : files.VISUAL]
    mean, sd = trained.mean(axis=0), trained.std(axis=0, ddof=1)
    ids = nsd.set_index("filename")["image_id"]
    for betas, stimuli in ((train, names), (test, tested)):
        for place, name in enumerate(stimuli):
            own = found.trials[found.trials["image_id"] == ids[name]].sort_values("repeat")
            expected = (betas[place, : len(own), : files.VISUAL] - mean) / sd
            np.testing.assert_allclose(found.betas[own.index], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.betas[found.training_rows(1)].std(axis=0, ddof=1), 1, rtol=1e-5)
    assert sorted(seen.test_sets["naturalistic"]) == sorted(ids[list(tested)])
    assert set(found.trials.loc[found.trials["part"] == "unused", "image_id"]) == {ids["012.jpg"]}


def test_areas_of_both_hemispheres_are_one_region_and_x_is_the_grayordinate(tmp_path, parcels, nsd):
    found, _ = record(tmp_path, nsd_file(tmp_path), parcels, nsd)
    n = len(files.AREAS)
    assert found.voxels["x"].tolist() == list(range(files.VISUAL))
    assert np.flatnonzero(found.voxels["V1"]).tolist() == [0, n, 2 * n, 2 * n + 1]
    assert found.voxels["early"].sum() == 10 and found.voxels[["V8", "PIT"]].sum().tolist() == [2, 2]
    assert len(parcels.used("cortex")) == files.VISUAL + 2
    unions = found.voxels[list(layout.UNIONS)].sum(axis=1)
    assert (unions == 1).all()


def test_vertices_that_a_trial_lacks_or_had_filled_are_left_out_and_counted(tmp_path, parcels, nsd):
    parts = files.nsd_responses(1)
    parts["train"][0][2, 1, 4] = np.inf  # one trial
    parts["artificial"][0][0, 0, 6] = np.nan  # of an image that is not used
    parts["train"][0][:, :, 8] = np.where(np.isfinite(parts["train"][0][:, :, 8]), 1.5, np.nan)  # constant in training
    path = nsd_file(tmp_path, parts)
    with h5py.File(path, "r+") as file:  # an element that was NaN and was filled with its neighbours' mean
        file["betas"]["sub-01_NSD_stimulus-000000000139_phase-train_rep-0"].attrs["nan_indices"] = [2, 55]
    found, _ = record(tmp_path, path, parcels, nsd)
    assert sorted(set(range(files.VISUAL)) - set(found.voxels["x"])) == [2, 4, 6, 8]
    assert found.metadata["voxels_left_out"] == {"not_finite": 3, "constant": 1}


def test_trials_that_the_table_does_not_have_or_has_more_of_are_counted(tmp_path, parcels, nsd):
    parts = files.nsd_responses(1)
    parts["test"][0][:, 2] = np.nan  # the third presentation of one of the two
    parts["artificial"][0][0, 2] = 1.0  # a one-back repeat
    found, _ = record(tmp_path, nsd_file(tmp_path, parts), parcels, nsd)
    assert found.metadata["trials_unlike_table"] == {"missing": 1, "more": 1}
    assert record(tmp_path / "b", nsd_file(tmp_path), parcels, nsd)[0].metadata["trials_unlike_table"] == {
        "missing": 0,
        "more": 0,
    }


def test_published_noise_ceilings_become_ncsnr(tmp_path, parcels, nsd):
    percent = np.full(files.ELEMENTS, 50.0)
    percent[:4] = [0, 80, np.nan, 100]
    others = {f"phase-{name}": 0 * percent for name in ("artificial_n-1", "test_n-avg", "train_n-1")}
    ceilings = {f"sub-01_NSD_{name}_noiseceiling": own for name, own in {**others, "phase-test_n-1": percent}.items()}
    found, _ = record(tmp_path, nsd_file(tmp_path, ceilings=ceilings), parcels, nsd)
    assert found.voxels["ncsnr"][[0, 1, 2, 4]].tolist() == pytest.approx([0, 2, 0, 1])
    assert np.isfinite(found.voxels["ncsnr"]).all() and "test" in found.metadata["ncsnr"]


def test_a_subject_without_repeats_has_no_noise_ceiling(tmp_path, parcels, nsd):
    found, _ = record(tmp_path, nsd_file(tmp_path), parcels, nsd)
    assert (found.voxels["ncsnr"] == 0).all() and found.metadata["ncsnr"].startswith("none")


def test_float32_files_are_read_too(tmp_path, parcels, nsd):
    whole, _ = record(tmp_path / "a", nsd_file(tmp_path), parcels, nsd)
    half, _ = record(tmp_path / "b", nsd_file(tmp_path, dtype=np.float32), parcels, nsd)
    np.testing.assert_allclose(whole.betas, half.betas, atol=1e-4)


def test_sessions_are_equal_random_parts_that_depend_on_the_subject_alone(tmp_path, parcels, nsd):
    found, _ = record(tmp_path / "a", nsd_file(tmp_path), parcels, nsd, sessions=3)
    again, _ = record(tmp_path / "b", nsd_file(tmp_path, files.nsd_responses(1, seed=4)), parcels, nsd, sessions=3)
    assert found.trials.equals(again.trials)
    assert found.trials["session"].value_counts().tolist() == [5, 4, 4]
    assert sorted(found.trials["trial"]) == list(range(13)) and not found.trials["trial"].is_monotonic_increasing
    repeats = found.trials.groupby("image_id")["repeat"].apply(sorted)
    assert all(own == list(range(len(own))) for own in repeats)


def test_names_of_videos_with_points_are_read(tmp_path):
    name = "v_Drinking_id_a_b.1_start_1.5_label_1.mp4"
    parts = {"train": (np.ones((1, 1, 9)), [name]), "test": (np.ones((1, 1, 9)), ["x_phase-train_rep-1.mp4"])}
    path = files.write_betas(tmp_path / "a.hdf5", "sub-30_HAD", parts)
    with open_subject(path, "sub-30_HAD", 9) as file:
        assert set(file.trials["stimulus"]) == {name, "x_phase-train_rep-1.mp4"}
        assert file.trials.set_index("stimulus")["phase"].to_dict() == {
            name: "train",
            "x_phase-train_rep-1.mp4": "test",
        }


def merged(path):
    with h5py.File(path) as file, h5py.File(path.with_name("merged.hdf5"), "w") as whole:
        for name in file:
            file.copy(name, whole.require_group("sub-01_NSD"))
    shutil.move(path.with_name("merged.hdf5"), path)


def chunked(path):
    with h5py.File(path, "w") as file:
        file["sub-01/betas"] = np.zeros((3, files.ELEMENTS))


def renamed(path):
    with h5py.File(path, "r+") as file:
        file.move("betas/sub-01_NSD_stimulus-012_phase-test_rep-0", "betas/012.jpg")


def contradicted(path):
    with h5py.File(path, "r+") as file:
        file["betas/sub-01_NSD_stimulus-012_phase-test_rep-0"].attrs["phase"] = "train"


def of_another_part(path):
    with h5py.File(path, "r+") as file:
        old, new = (f"betas/sub-01_NSD_stimulus-000000000139_phase-{part}_rep-0" for part in ("train", "test"))
        file.move(old, new)
        file[new].attrs["phase"] = "test"


def of_an_unknown_stimulus(path):
    with h5py.File(path, "r+") as file:
        file["betas/sub-01_NSD_stimulus-012_phase-test_rep-0"].attrs["presented_stimulus_filename"] = "013.jpg"


def too_short(path):
    with h5py.File(path, "r+") as file:
        key = "betas/sub-01_NSD_stimulus-012_phase-test_rep-0"
        attributes = dict(file[key].attrs)
        del file[key]
        file[key] = np.zeros(files.ELEMENTS - 1)
        file[key].attrs.update(attributes)


def truncated(path):
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize(
    "change, message",
    [
        (
            merged,
            r"holds 1 subjects in one file \(sub-01_NSD, \.\.\.\); use MOSAIC's file of one subject, sub-01_NSD.hdf5",
        ),
        (chunked, r"has no group 'betas' with an array of each trial, only sub-01; use MOSAIC's file"),
        (renamed, r"betas of '012.jpg', which is not of the form sub-01_NSD_stimulus-<name>_phase-"),
        (contradicted, r"the attribute phase of 'sub-01_NSD_stimulus-012_phase-test_rep-0' is train; replace it"),
        (of_another_part, r"is of the other part in stimulus_info/nsd_stiminfo.tsv \(1 trials differ\)"),
        (of_an_unknown_stimulus, r"saw 013.jpg \(1 such trials\), which it did not by stimulus_info/nsd_stiminfo.tsv"),
        (too_short, r"betas 'sub-01_NSD_stimulus-012_phase-test_rep-0' has shape \(59,\), not \(60,\)"),
        (truncated, r"not a complete HDF5 file of MOSAIC"),
    ],
)
def test_a_file_of_another_layout_is_named_with_what_was_found(tmp_path, parcels, nsd, change, message):
    path = nsd_file(tmp_path)
    change(path)
    with pytest.raises(UserError, match=message):
        record(tmp_path, path, parcels, nsd)
    assert not (tmp_path / "recording").exists()


@pytest.mark.parametrize("attributes", [{"subjectID": "sub-02"}, {"dataset_name": "BOLD5000"}])
def test_the_file_of_another_subject_is_refused(tmp_path, parcels, nsd, attributes):
    path = nsd_file(tmp_path, attributes=attributes)
    with pytest.raises(UserError, match=r"attribute \w+ is '\S+', which is not sub-01_NSD"):
        record(tmp_path, path, parcels, nsd)


# ---- tables and splits -----------------------------------------------------------------------------------------------


def test_a_table_lists_what_the_studys_subjects_saw_and_ids_do_not_depend_on_them(tmp_path):
    table = read_stimuli(files.write_table(tmp_path / "nsd.tsv", files.NSD_ROWS), "NSD")
    one, both = (seen_stimuli({"NSD": table}, names) for names in (["sub-01_NSD"], ["sub-01_NSD", "sub-02_NSD"]))
    assert len(one) == 6 and len(both) == 7
    assert "NSD/000000000885.jpg" in set(both["name"]) - set(one["name"])
    merged = one.merge(both, on="name")
    assert (merged["image_id_x"] == merged["image_id_y"]).all()
    bold = read_stimuli(files.write_table(tmp_path / "b.tsv", files.NSD_ROWS[:2], subjects=4), "BOLD5000")
    with_bold = seen_stimuli({"NSD": table, "BOLD5000": bold}, ["sub-01_NSD", "sub-01_BOLD5000"])
    assert with_bold.merge(one, on=["name", "image_id"]).shape[0] == len(one) and with_bold["image_id"].is_unique


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda table: table.drop(columns="sub-08_reps"), "has no column sub-08_reps"),
        (lambda table: table.assign(test_train="val"), "test_train has 'val'"),
        (lambda table: pd.concat([table, table[:1]]), "lists 000000000285.jpg twice"),
        (lambda table: table.assign(**{"sub-01_reps": "many"}), "must be whole numbers"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, change, message):
    path = files.write_table(tmp_path / "nsd.tsv", files.NSD_ROWS)
    change(pd.read_csv(path, sep="\t")).to_csv(path, sep="\t", index=False)
    with pytest.raises(UserError, match=message):
        read_stimuli(path, "NSD")


@pytest.fixture
def two_datasets(tmp_path):
    """NSD, and a BOLD5000 that tests one picture that NSD trains on, and trains on one that NSD tests."""
    bold = [
        ("000000000285.jpg", "COCO_train2014_000000000285.jpg", "COCO", "test", {1: 4}),
        ("000000001000.jpg", "COCO_train2014_000000001000.jpg", "COCO", "train", {1: 1}),
        ("n01440764_1.JPEG", "n/a", "ImageNet", "train", {1: 1}),
    ]
    tables = {
        "NSD": read_stimuli(files.write_table(tmp_path / "nsd.tsv", files.NSD_ROWS), "NSD"),
        "BOLD5000": read_stimuli(files.write_table(tmp_path / "b5000.tsv", bold, subjects=4), "BOLD5000"),
    }
    return seen_stimuli(tables, ["sub-01_NSD", "sub-02_NSD", "sub-01_BOLD5000"])


def test_what_one_dataset_tests_is_not_trained_on_in_another(two_datasets):
    parts = dict(zip(two_datasets["name"], published_parts(two_datasets), strict=True))
    assert parts["NSD/000000000285.jpg"] == parts["BOLD5000/000000001000.jpg"] == "unused"
    assert parts["BOLD5000/000000000285.jpg"] == parts["NSD/000000001000.jpg"] == "naturalistic"
    assert parts["NSD/012.jpg"] == "artificial" and parts["BOLD5000/n01440764_1.JPEG"] == "train"
    alone = two_datasets[two_datasets["constituent"] == "NSD"]
    assert "unused" not in set(published_parts(alone))  # of a dataset alone, the split is its own
    split = split_of(two_datasets, ["naturalistic", "artificial"])
    assert len(split.unused_ids) == 2 and len(split.test_sets["artificial"]) == 1


@pytest.fixture
def lists(tmp_path):
    """MOSAIC's lists: 285 stays NSD's training picture, 724 resembles a test picture and is in none."""
    entries = {
        "train": [
            ("sub-01_NSD", "000000000285.jpg", 2, "train"),
            ("sub-02_NSD", "000000000285.jpg", 1, "train"),
            ("sub-01_NSD", "000000000139.jpg", 1, "train"),
            ("sub-01_BOLD5000", "n01440764_1.JPEG", 1, "train"),
        ],
        "naturalistic": [("sub-01_NSD", "000000001000.jpg", 3, "test"), ("sub-05_THINGS", "a_01b.jpg", 3, "test")],
        "artificial": [("sub-01_NSD", "012.jpg", 2, "test")],
    }
    return {part: files.write_list(tmp_path / layout.FILTERED[part], own) for part, own in entries.items()}


def test_the_filtered_split_is_that_of_mosaics_lists(two_datasets, lists):
    parts = dict(zip(two_datasets["name"], filtered_parts(two_datasets, lists), strict=True))
    assert [name for name, part in parts.items() if part == "train"] == [
        "NSD/000000000139.jpg",
        "NSD/000000000285.jpg",
        "BOLD5000/n01440764_1.JPEG",
    ]
    assert parts["NSD/000000001000.jpg"] == "naturalistic" and parts["NSD/012.jpg"] == "artificial"
    # Left out: a neighbour of a test picture, test pictures that are not listed, and the other's of 285 and 1000.
    assert sum(part == "unused" for part in parts.values()) == 5
    split = split_of(two_datasets, ["naturalistic"], lists)
    assert len(split.unused_ids) == 6  # the artificial image, too


def test_lists_that_contradict_the_tables_or_each_other_are_refused(tmp_path, two_datasets, lists):
    files.write_list(lists["artificial"], [("sub-01_NSD", "000000001000.jpg", 1, "test")])
    with pytest.raises(UserError, match=r"lists NSD/000000001000.jpg, which another part of the split has too"):
        filtered_parts(two_datasets, lists)
    files.write_list(lists["artificial"], [("sub-01_NSD", "000000000724.jpg", 1, "train")])
    with pytest.raises(UserError, match=r"lists NSD/000000000724.jpg, whose part is train"):
        filtered_parts(two_datasets, lists)
    files.write_list(lists["naturalistic"], [("sub-01_HAD", "a.b.mp4", 1, "test")])
    files.write_list(lists["artificial"], [])
    with pytest.raises(UserError, match=r"lists none of the 10 stimuli of this study.*or use split published"):
        filtered_parts(two_datasets, lists)
    assert read_list(lists["naturalistic"]) == {"HAD/a.b.mp4"}
    lists["train"].write_text('{"sub-01_NSD": []}')
    with pytest.raises(UserError, match=r"not a list of MOSAIC's split"):
        read_list(lists["train"])


# ---- pictures --------------------------------------------------------------------------------------------------------


def colours(blocks):
    return np.concatenate(list(blocks)).mean(axis=(1, 2)).round().astype(int)[:, 0].tolist()


def test_pictures_are_found_by_name_alias_or_number_and_middle_frames_stand_for_videos(tmp_path):
    rows = [
        ("NSD", "000000000285.jpg", "2", "COCO"),
        ("NSD", "012.jpg", "12", "NSDsynthetic"),
        ("BOLD5000", "000000000285.jpg", "COCO_train2014_000000000285.jpg", "COCO"),
        ("BOLD5000", "n01440764_1.JPEG", "", "ImageNet"),
        ("deeprecon", "n9_1.JPEG", "9.000001", "ImageNet"),
        ("HAD", "v_a.1_label_2.mp4", "", "HumanActionClipsAndSegments"),
    ]
    stimuli = pd.DataFrame(rows, columns=["constituent", "filename", "alias", "source"])
    brick = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (1, 2, 3)])
    (tmp_path / "NSD").mkdir()
    with h5py.File(tmp_path / "NSD/nsd_stimuli.hdf5", "w") as file:
        file["imgBrick"] = brick
    files.write_picture(tmp_path / "NSD/synthetic/012.png", (40, 0, 0))
    files.write_picture(tmp_path / "BOLD5000/COCO/COCO_train2014_000000000285.png", (50, 0, 0))
    files.write_picture(tmp_path / "BOLD5000/ImageNet/n01440764_1.png", (60, 0, 0))
    files.write_picture(tmp_path / "GOD/training/n9_1.png", (70, 0, 0))  # Deeprecon shows GOD's pictures
    for number in (1, 2, 3, 4, 5):
        files.write_picture(
            tmp_path / f"HAD/v_a.1_label_2/v_a.1_label_2_frame-{number:04d}_0005.png", (80 + number, 0, 0)
        )
    assert colours(read_images(tmp_path, stimuli, 16)) == [3, 40, 50, 60, 70, 82]
    next((tmp_path / "HAD").rglob("*frame-0002_*")).unlink()
    with pytest.raises(
        UserError, match=r"HAD: lacks picture v_a.1_label_2.mp4 \(1 of 1 are missing\); get the pictures"
    ):
        list(read_images(tmp_path, stimuli, 16))


# ---- a study's checks ------------------------------------------------------------------------------------------------


def dataset(root, **settings):
    return Dataset("mosaic", FOLDER, Settings.read({"source": "copy", "root": str(root), **settings}))


def study(*subjects, split="published"):
    return SimpleNamespace(recorded=list(subjects), config={"split": split})


def test_what_is_missing_is_named_before_any_job(tmp_path):
    own = dataset(tmp_path)
    with pytest.raises(
        UserError, match=r"parcels/mmp_1.0.npz: no such file; download it from bucket mosaicfmri to there"
    ):
        own.check(study("sub-01_NSD"))
    files.write_parcels(tmp_path / layout.PARCELS)
    files.write_table(tmp_path / "tables/nsd_stiminfo.tsv", files.NSD_ROWS)  # anywhere below the folder
    with pytest.raises(UserError, match=r"sub-01_NSD.hdf5: no such file"):
        dataset(tmp_path).check(study("sub-01_NSD"))
    crc = files.write_betas(tmp_path / "flat/sub-01_NSD_crc32-0123abcd.hdf5", "sub-01_NSD", files.nsd_responses(1))
    assert dataset(tmp_path).betas("sub-01_NSD") == crc
    with pytest.raises(UserError, match=r"pictures/NSD: no such folder; MOSAIC has no pictures: get those of NSD from"):
        dataset(tmp_path).check(study("sub-01_NSD"))
    (tmp_path / "pictures/NSD").mkdir(parents=True)
    dataset(tmp_path).check(study("sub-01_NSD"))
    with pytest.raises(UserError, match=r"testtrain/train_naturalistic.json: no such file"):
        dataset(tmp_path).check(study("sub-01_NSD", split="filtered"))


def test_a_file_that_does_not_fit_is_refused_when_a_run_begins(tmp_path):
    own = dataset(tmp_path)
    own.check_files(study("sub-01_NSD"))  # nothing is there
    files.write_parcels(tmp_path / layout.PARCELS)
    path = files.write_betas(tmp_path / layout.betas("sub-01_NSD"), "sub-01_NSD", files.nsd_responses(1))
    own.check_files(study("sub-01_NSD"))
    files.write_betas(path, "sub-01_NSD", files.nsd_responses(1, elements=59))
    with pytest.raises(UserError, match=r"has shape \(59,\), not \(60,\) floats"):
        own.check_files(study("sub-01_NSD"))
    shutil.copy(path, tmp_path / "sub-02_NSD.hdf5")
    with pytest.raises(UserError, match=r"attribute subjectID is 'sub-01', which is not sub-02_NSD"):
        dataset(tmp_path).check_files(study("sub-02_NSD"))


def test_videos_artificial_images_and_terms_are_asked_for(tmp_path):
    own = dataset(tmp_path, source="download")
    with pytest.raises(UserError, match=r"key 'subjects': sub-02_BMD saw videos; .* set mosaic.videos to middle_frame"):
        own.check(study("sub-01_GOD", "sub-02_BMD"))
    with pytest.raises(UserError, match=r"which GOD has not \(NSD, deeprecon have\); use published"):
        own.check(study("sub-01_GOD", split="published_artificial"))
    for name in ("GOD", "NSD"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
    own.check(study("sub-01_GOD"))
    own.check_terms()
    own.check(study("sub-01_NSD", "sub-01_GOD"))
    assert own.licence["name"].startswith("NSD: NSD Data Sharing and Usage Agreement; GOD: none stated")
    with pytest.raises(UserError, match=r"key 'mosaic.terms_accepted': lacks NSD; read and sign the NSD Data Sharing"):
        own.check_terms()
    signed = dataset(tmp_path, source="download", terms_accepted=["NSD"])
    signed.check(study("sub-01_NSD"))
    signed.check_terms()


def test_what_is_downloaded_and_what_the_user_has_to_get_is_listed(tmp_path):
    own = dataset(tmp_path, source="download")
    found = own.inventory(study("sub-04_BOLD5000", "sub-02_NSD", split="filtered"))
    small, bold, _, nsd_pictures, pictures = found
    assert len(small.missing) == 6 and small.way == bold.way == "downloaded"  # two tables, three lists, parcellation
    assert bold.what == "betas of sub-04_BOLD5000" and bold.gigabytes == pytest.approx(2.27, abs=0.01)
    assert pictures.way == "placed" and "bold5000-dataset.github.io" in pictures.origin
    assert nsd_pictures.files == [tmp_path / "pictures/NSD"]
    with pytest.raises(UserError, match="lacks NSD; read and sign"):
        own.check_terms()
    keys = own.keys(["sub-04_BOLD5000"], "filtered")
    (line,) = announced("MOSAIC", found, [str(tmp_path / key) for key in keys])
    assert line.startswith(
        "MOSAIC: 6 files are downloaded from bucket mosaicfmri (key mosaic.source: download), about 2.3 GB"
    )
    assert {one.way for one in dataset(tmp_path).inventory(study("sub-01_GOD"))} == {"placed"}
    assert sum(map(layout.gigabytes, (f"sub-{k:02d}_NSD" for k in range(1, 9)))) == pytest.approx(159.9, abs=0.1)


def test_the_93_subjects_are_declared(tmp_path):
    own = dataset(tmp_path)
    assert set(own.record["subjects"]) == set(layout.SUBJECTS) and len(layout.SUBJECTS) == 93
    assert own.record["regions"] == list(layout.REGIONS)


# ---- downloads -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """A bucket with MOSAIC's layout: BOLD5000's betas twice named, a list in a folder of its own."""
    tree = tmp_path_factory.mktemp("bucket")
    files.write_table(tree / "stimulus_info/b5000_stiminfo.tsv", files.NSD_ROWS, subjects=4)
    folder = tree / files.BETAS / "BOLD5000"
    parts = {"train": (np.ones((1, 1, 9)), ["a.jpg"]), "test": (np.ones((1, 1, 9)), ["b.jpg"])}
    plain = files.write_betas(folder / "sub-01_BOLD5000.hdf5", "sub-01_BOLD5000", parts)
    for subject, crc in (("sub-02_BOLD5000", acquisition.crc32(plain)), ("sub-03_BOLD5000", "00000000")):
        shutil.copy(plain, folder / f"{subject}_crc32-{crc}.hdf5")
    files.write_betas(tree / files.BETAS / "NaturalScenesDataset/sub-01_NSD.hdf5", "sub-01_NSD", files.nsd_responses(1))
    files.write_list(tree / "derived/v1/train_naturalistic.json", [("sub-01_NSD", "a.jpg", 1, "train")])
    with s3_server() as (url, owner):
        serve_tree(owner, tree)
        yield Bucket(bucket=BUCKET, region=REGION, endpoint=url), owner


def test_files_are_found_downloaded_locked_and_compared_later(tmp_path, bucket):
    where, _ = bucket
    keys = [
        layout.table("BOLD5000"),
        layout.betas("sub-01_BOLD5000"),
        layout.betas("sub-02_BOLD5000"),
        layout.filtered("train"),
    ]
    for key in keys:
        path = acquisition.acquire(key, tmp_path, where, [])
        assert path == tmp_path / key and lockfile.read(tmp_path, key).size == path.stat().st_size
    assert (tmp_path / keys[1]).read_bytes() == (tmp_path / keys[2]).read_bytes()
    path = tmp_path / keys[1]
    assert checked(path, keys[1], tmp_path) == lockfile.read(tmp_path, keys[1]).sha256
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match="differs from what was downloaded"):
        checked(path, keys[1], tmp_path)
    with pytest.raises(UserError, match="differs from what was downloaded"):
        acquisition.acquire(keys[1], tmp_path, where, [])
    path.unlink()
    acquisition.acquire(keys[1], tmp_path, where, [])


def test_a_file_that_is_not_what_its_name_says_is_deleted(tmp_path, bucket):
    key = layout.betas("sub-03_BOLD5000")
    with pytest.raises(UserError, match=r"has the checksum \w{8} instead of 00000000, so it was deleted"):
        acquisition.acquire(key, tmp_path, bucket[0], [])
    assert not (tmp_path / key).exists() and lockfile.read(tmp_path, key) is None


def test_nothing_of_nsd_is_downloaded_before_its_agreement_is_signed(tmp_path, bucket):
    key = layout.betas("sub-01_NSD")
    with pytest.raises(UserError, match="lacks NSD; read and sign"):
        acquisition.acquire(key, tmp_path, bucket[0], [])
    assert acquisition.acquire(key, tmp_path, bucket[0], ["NSD"]).is_file()


def test_a_file_that_the_bucket_lacks_or_has_twice_is_named(tmp_path, bucket):
    where, owner = bucket
    with pytest.raises(
        UserError, match=r"none of the 1 files listed is test_naturalistic|none of the \d+ files listed is test_"
    ):
        acquisition.acquire(layout.filtered("naturalistic"), tmp_path, where, [])
    for place in ("a", "b"):
        owner.put_object(Bucket=BUCKET, Key=f"{place}/test_artificial.json", Body=b"[]", ACL="public-read")
    with pytest.raises(
        UserError, match=r"has 2 files test_artificial.json \(a/test_artificial.json, b/test_artificial"
    ):
        acquisition.acquire(layout.filtered("artificial"), tmp_path, where, [])


def test_a_listing_has_all_pages_and_is_refused_aloud(bucket, monkeypatch):
    where, _ = bucket
    remote = S3Object(BUCKET, "", REGION, where.endpoint)
    whole = any_acquisition.listing(remote)
    pages, listed = [], remote.client.list_objects_v2
    monkeypatch.setattr(remote.client, "list_objects_v2", lambda **given: pages.append(1) or listed(MaxKeys=2, **given))
    assert any_acquisition.listing(remote) == whole and len(pages) == -(-len(whole) // 2) > 2
    with faulty_server() as server, pytest.raises(UserError, match="404"):
        any_acquisition.listing(S3Object("closed", "", REGION, server.url))


def test_the_parcellation_must_be_the_one_that_was_read_here(tmp_path, monkeypatch):
    content = files.write_parcels(tmp_path / "own.npz").read_bytes()
    with faulty_server(objects={"/mmp.npz": content}) as server:
        monkeypatch.setattr(layout, "PARCELS_ADDRESS", f"{server.url}/mmp.npz")
        with pytest.raises(UserError, match="so it was deleted"):
            acquisition.acquire(layout.PARCELS, tmp_path / "root", Bucket(), [])
        monkeypatch.setattr(layout, "PARCELS_SHA256", acquisition.sha256(tmp_path / "own.npz"))
        acquisition.acquire(layout.PARCELS, tmp_path / "root", Bucket(), [])


# ---- the simulator ---------------------------------------------------------------------------------------------------

EVERY = [f"sub-01_{name}" for name in layout.CONSTITUENTS]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("mosaic")
    one = Simulation.read(
        {
            "seed": 1,
            "subjects": EVERY,
            "training": 24,
            "tested": 6,
            "repeats": 3,
            "image_size": 16,
            "grayordinates": 120,
        }
    )
    simulator.simulate(root, root / "pictures", one)
    return root


def test_all_eight_datasets_are_read_from_their_simulated_files(simulated, tmp_path):
    tables = {name: str(simulated / layout.table(name)) for name in layout.CONSTITUENTS}
    prepare_stimuli(tables, simulated / "pictures", EVERY, 16, str(tmp_path / "stimuli"))
    stimuli = Stimuli.open(tmp_path / "stimuli")
    assert len(stimuli.images) == 8 * 30 + 2 * 6 and stimuli.table["source"].str.contains("middle frame").sum() == 60
    assert set(stimuli.table["source"]) <= set(dataset(simulated).record["image_sources"])
    lists = {part: simulated / layout.filtered(part) for part in layout.FILTERED}
    parcels = read_parcels(simulated / layout.PARCELS)
    for lists_of, doubled in (({}, 0), (lists, simulator.DOUBLES)):
        split = make_split("any", "some", ["naturalistic"], stimuli.table, lists_of)
        for subject in EVERY:
            path = simulated / layout.betas(subject)
            write_recording(subject, path, parcels, OPTIONS, stimuli.table, split, {}, tmp_path / "recording")
            recording = Recording.open(tmp_path / "recording")
            shared = simulator.SHARED if subject == "sub-01_NSD" else 0  # which BOLD5000 tests
            assert len(recording.training_ids(1)) == 24 - shared - doubled
            assert len(recording.test_ids("naturalistic")) == 6
            assert recording.metadata["voxels_left_out"]["not_finite"] == simulator.MISSING
            assert recording.voxels["ncsnr"].median() == pytest.approx(0.6, abs=0.2)
            shutil.rmtree(tmp_path / "recording")


def test_a_simulation_is_repeated_exactly(simulated, tmp_path):
    one = Simulation.read(
        {
            "seed": 1,
            "subjects": EVERY[:2],
            "training": 24,
            "tested": 6,
            "repeats": 3,
            "image_size": 16,
            "grayordinates": 120,
        }
    )
    for place in ("a", "b"):
        simulator.simulate(tmp_path / place, tmp_path / place / "pictures", one)
    made = [
        sorted(path.relative_to(tmp_path / place) for path in (tmp_path / place).rglob("*") if path.is_file())
        for place in "ab"
    ]
    assert made[0] == made[1] and len(made[0]) > 30
    different = [
        name for name in made[0] if (tmp_path / "a" / name).read_bytes() != (tmp_path / "b" / name).read_bytes()
    ]
    assert different == []
