"""The recording of a subject: z-scores by an independent formula, voxels, regions, and the same bytes each time."""

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from nsd_tree import PER_SESSION, Tree, save_betas, save_volume
from prepared import DESIGN, record

from fmri2img.artifacts.anatomy import Anatomy
from fmri2img.artifacts.splits import Split
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.betas import open_masked_session
from fmri2img.datasets.nsd.design import read_design
from fmri2img.datasets.nsd.scripts.copy_anatomy import copy_anatomy
from fmri2img.datasets.nsd.scripts.make_splits import shared1000
from fmri2img.datasets.nsd.volumes import read_volume
from fmri2img.errors import UserError


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "tree")


@pytest.mark.parametrize("normalise", ["session", "pooled"])
@pytest.mark.parametrize("statistics", ["train", "all"])
def test_zscores_by_the_textbook(tree, tmp_path, normalise, statistics):
    recording = record(tree, tmp_path, normalise=normalise, statistics=statistics)
    psc = tree.betas["subj01"].astype(np.float64)[:, tree.labels["subj01"]["nsdgeneral"] == 1] / 300
    frame = pd.DataFrame(psc)
    counts = ~np.isin(tree.ids("subj01"), tree.shared) | (statistics == "all")
    group = np.repeat([1, 2, 3], PER_SESSION) if normalise == "session" else np.ones(len(psc))
    fitted = frame[counts].groupby(group[counts])
    mean, sd = fitted.mean().loc[group].to_numpy(), fitted.std(ddof=1).loc[group].to_numpy()
    np.testing.assert_allclose(recording.betas, (psc - mean) / sd, rtol=1e-5, atol=1e-5)
    assert recording.metadata["betas"]["normalise"] == normalise
    assert recording.metadata["betas"]["statistics"] == statistics


def test_voxels_carry_place_ncsnr_and_regions(tree, tmp_path):
    voxels = record(tree, tmp_path, "subj02").voxels
    general, visual = (tree.labels["subj02"][name] for name in ("nsdgeneral", "prf-visualrois"))
    expected = np.argwhere(general == 1)
    np.testing.assert_array_equal(voxels[["x", "y", "z"]], expected)
    place = tuple(expected.T)
    np.testing.assert_array_equal(voxels["ncsnr"], tree.ncsnr["subj02"]["b3"][place])
    np.testing.assert_array_equal(voxels["V1"], (visual[place] == 1) | (visual[place] == 2))
    np.testing.assert_array_equal(voxels["hV4"], visual[place] == 7)
    faces = tree.labels["subj02"]["floc-faces"][place]
    np.testing.assert_array_equal(voxels["FFA"], (faces == 2) | (faces == 3))
    assert {"nsdgeneral", "V2", "V3", "EBA", "OFA", "OPA", "PPA", "RSC", "VWFA", "early", "ventral"} <= set(voxels)


def test_same_tree_same_bytes_wherever_it_lies(tree, tmp_path):
    record(tree, tmp_path / "one")
    moved = Tree.__new__(Tree)
    vars(moved).update(vars(tree))
    moved.root = tmp_path / "elsewhere" / "deep" / "nsd"
    shutil.copytree(tree.root, moved.root)
    record(moved, tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one/recordings/subj01").iterdir())
    assert names == ["betas.npy", "checksums.json", "metadata.json", "trials.parquet", "voxels.parquet"]
    for name in names:
        first, second = (tmp_path / run / "recordings/subj01" / name for run in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()
        assert str(tmp_path).encode() not in first.read_bytes()


def test_metadata_names_what_the_recording_was_made_from(tree, tmp_path):
    metadata = record(tree, tmp_path).metadata
    assert metadata["subject"] == "subj01" and metadata["n_sessions"] == 3 and metadata["split"] == "shared1000"
    assert metadata["split_sha256"] == Split.open(tmp_path / "split.json").sha256
    sources = metadata["sources_sha256"]
    assert "nsddata/ppdata/subj01/func1pt8mm/valid_session03.nii.gz" in sources
    assert "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR/ncsnr.nii.gz" in sources
    assert sorted(metadata["masked_sessions_sha256"]) == ["session01", "session02", "session03"]
    changed = tree.betas["subj01"][:PER_SESSION].copy()
    changed[0] += 1
    save_betas(tree.betas_file("subj01", 1), changed)
    again = record(tree, tmp_path).metadata["masked_sessions_sha256"]
    same = {name: value == again[name] for name, value in metadata["masked_sessions_sha256"].items()}
    assert same == {"session01": False, "session02": True, "session03": True}


def test_fewer_sessions_give_the_same_numbers(tree, tmp_path):
    # Session-wise statistics of training trials: what comes later has no part in what was recorded before.
    whole, part = record(tree, tmp_path / "a"), record(tree, tmp_path / "b", sessions=2)
    assert part.n_sessions == 2
    np.testing.assert_array_equal(part.betas, whole.betas[: 2 * PER_SESSION])


def test_constant_voxel_is_left_out_and_counted(tree, tmp_path):
    before = record(tree, tmp_path).voxels
    x, y, z = before.loc[4, ["x", "y", "z"]]
    values = tree.betas["subj01"][PER_SESSION : 2 * PER_SESSION].copy()
    values[:, x, y, z] = -177
    save_betas(tree.betas_file("subj01", 2), values)
    after = record(tree, tmp_path)
    assert len(after.voxels) == len(before) - 1 and np.isfinite(after.betas).all()
    assert after.metadata["voxels_left_out"] == {"constant": 1, "not_finite": 0, "without_data": 0}
    pd.testing.assert_frame_equal(after.voxels, before.drop(4).reset_index(drop=True))
    # Over all sessions together that voxel does vary.
    assert len(record(tree, tmp_path, normalise="pooled").voxels) == len(before)


def as_floats(tree, change=lambda values: values):
    """Betas of subject 1 in percent signal change, changed, (trials, X, Y, Z)."""
    values = change(tree.betas["subj01"].astype(np.float32) / 300)
    for session in (1, 2, 3):
        part = values[PER_SESSION * (session - 1) : PER_SESSION * session]
        with h5py.File(tree.betas_file("subj01", session), "w") as file:
            file["betas"] = part.transpose(0, 3, 2, 1)


@pytest.mark.parametrize("normalise", ["session", "pooled"])
def test_float_betas_give_the_recording_of_integers(tree, tmp_path, normalise):
    expected = record(tree, tmp_path / "a", normalise=normalise)
    as_floats(tree)
    found = record(tree, tmp_path / "b", normalise=normalise)
    np.testing.assert_allclose(found.betas, expected.betas, atol=1e-4)
    pd.testing.assert_frame_equal(found.voxels, expected.voxels)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("normalise", ["session", "pooled"])
@pytest.mark.parametrize("of", ["train", "test"])
def test_a_voxel_that_is_not_finite_in_one_trial_is_left_out_and_counted(tree, tmp_path, value, normalise, of):
    expected = record(tree, tmp_path / "a", normalise=normalise)
    trial = np.flatnonzero((expected.trials["part"] == "train") == (of == "train"))[5]
    x, y, z = expected.voxels.loc[7, ["x", "y", "z"]]

    def spoilt(values):
        values[trial, x, y, z] = value
        return values

    as_floats(tree, spoilt)
    found = record(tree, tmp_path / "b", normalise=normalise)
    np.testing.assert_allclose(found.betas, np.delete(expected.betas, 7, axis=1), atol=1e-4)
    assert found.metadata["voxels_left_out"] == {"constant": 0, "not_finite": 1, "without_data": 0}


def test_a_trial_without_any_value_leaves_no_voxel_and_is_said(tree, tmp_path):
    as_floats(tree, lambda values: np.where(np.arange(72)[:, None, None, None] == 30, np.nan, values))
    with pytest.raises(UserError, match=r"no voxel of the mask has data in all sessions .*'not_finite': \d+.*betas"):
        record(tree, tmp_path)


def test_ceilings_that_are_not_finite_are_0_and_counted(tree, tmp_path):
    values = tree.ncsnr["subj01"]["b3"].copy()
    x, y, z = np.nonzero(tree.labels["subj01"]["nsdgeneral"] == 1)
    for k, value in ((3, np.nan), (5, np.inf), (8, -np.inf)):
        values[x[k], y[k], z[k]] = value
    save_volume(tree.betas_file("subj01", 1).with_name("ncsnr.nii.gz"), values)
    recording = record(tree, tmp_path)
    assert recording.voxels["ncsnr"][[3, 5, 8]].tolist() == [0, 0, 0] and np.isfinite(recording.voxels["ncsnr"]).all()
    assert recording.metadata["not_finite"] == {"ncsnr": 3}
    save_volume(tree.betas_file("subj01", 1).with_name("ncsnr.nii.gz"), values * np.nan)
    with pytest.raises(UserError, match=r"ncsnr.nii.gz: NaN or infinite in every voxel of the mask; delete it"):
        record(tree, tmp_path)


def test_nan_in_a_region_file_is_outside_of_its_regions_and_counted(tree, tmp_path):
    expected = record(tree, tmp_path / "a")
    general, visual = (tree.labels["subj01"][name].astype(float) for name in ("nsdgeneral", "prf-visualrois"))
    save_volume(tree.roi("subj01"), np.where(general == 1, 1.0, np.nan))
    save_volume(tree.roi("subj01", "prf-visualrois"), np.where(np.isin(visual, (3, 4)), np.nan, visual))
    found = record(tree, tmp_path / "b")
    assert found.metadata["not_finite"] == {"prf-visualrois": int(expected.voxels["V2"].sum())}
    assert not found.voxels["V2"].any()
    pd.testing.assert_frame_equal(found.voxels.drop(columns="V2"), expected.voxels.drop(columns="V2"))
    for values in (np.where(visual == 3, np.inf, visual), np.where(visual == 3, 0.7, visual)):
        save_volume(tree.roi("subj01", "prf-visualrois"), values)
        with pytest.raises(UserError, match=r"holds values that are not labels .*threshold"):
            record(tree, tmp_path / "c")


def test_validity_that_is_not_a_number_means_no_data(tree, tmp_path):
    valid = np.ones(tree.labels["subj01"]["nsdgeneral"].shape)
    place = tuple(np.argwhere(tree.labels["subj01"]["nsdgeneral"] == 1)[2])
    valid[place] = np.nan
    save_volume(tree.func("subj01", "valid_session02.nii.gz"), valid)
    assert record(tree, tmp_path).metadata["voxels_left_out"]["without_data"] == 1


@pytest.mark.parametrize(
    ("mask", "labels", "chosen"),
    [("V1", [], (1, 2)), ("prf-visualrois", [4, 7], (4, 7)), ("prf-visualrois", [], range(1, 8))],
)
def test_a_region_or_labels_of_a_file_are_a_mask(tree, tmp_path, mask, labels, chosen):
    recording = record(tree, tmp_path, mask=mask, labels=labels)
    expected = np.argwhere(np.isin(tree.labels["subj01"]["prf-visualrois"], chosen))
    np.testing.assert_array_equal(recording.voxels[["x", "y", "z"]], expected)
    assert recording.metadata["betas"]["labels"] == labels and recording.metadata["betas"]["mask"] == mask


def test_labels_that_no_voxel_has_are_named_with_those_there_are(tree, tmp_path):
    with pytest.raises(UserError, match=r"has no voxel with label 9 \(labels above 0: 1, 2, 3, .*nsd.betas.labels"):
        record(tree, tmp_path, mask="prf-visualrois", labels=[9])


def test_a_volume_may_have_a_fourth_axis_of_one(tree, tmp_path):
    expected = record(tree, tmp_path / "a").voxels
    save_volume(tree.roi("subj01"), tree.labels["subj01"]["nsdgeneral"][..., None])
    pd.testing.assert_frame_equal(record(tree, tmp_path / "b").voxels, expected)


def test_anatomy_has_no_position_where_the_map_is_not_finite(tree, tmp_path):
    brain = np.ones((3, 4, 5))
    brain[1, 2, 3] = np.nan
    places = np.ones((4, 4, 4, 3), np.float32)
    places[0, 0, 0, 1], places[1, 1, 1] = np.nan, np.inf
    files = [tree.root / key for key in (layout.func("subj01", "brainmask.nii.gz"), layout.to_mni("subj01"))]
    for path, values in zip(files, (brain, places), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_volume(path, values)
    mask = tree.root / "mask.nii.gz"
    save_volume(mask, np.ones((3, 4, 5)))
    copy_anatomy("subj01", files[0], mask, files[1], tmp_path / "anatomy")
    anatomy = Anatomy.open(tmp_path / "anatomy")
    assert anatomy.brain.sum() == 59
    assert (anatomy.mni == 9999).sum() == 4 and np.isfinite(anatomy.mni).all()


def test_the_brain_of_another_subject_is_refused(tree, tmp_path):
    brain, mask = tmp_path / "brain.nii.gz", tmp_path / "mask.nii.gz"
    save_volume(brain, np.ones((3, 4, 5)))
    save_volume(mask, np.ones((4, 3, 5)))
    with pytest.raises(UserError, match=r"brain\.nii\.gz: volume of shape \(3, 4, 5\), expected \(4, 3, 5\)"):
        copy_anatomy("subj01", brain, mask, None, tmp_path / "anatomy")


def test_no_voxel_left(tree, tmp_path):
    valid = np.zeros(tree.labels["subj01"]["nsdgeneral"].shape, np.int16)
    save_volume(tree.func("subj01", "valid_session02.nii.gz"), valid)
    with pytest.raises(UserError, match="no voxel of the mask has data in all sessions"):
        record(tree, tmp_path)
    assert not (tmp_path / "recordings/subj01").exists()


def test_session_without_training_trials(tree, tmp_path):
    everything = Split("all", "test: all images of session 2", {"all": sorted(set(tree.ids("subj01")[24:48].tolist()))})
    with pytest.raises(UserError, match=r"betas.normalise: session 2 has 0 training trials"):
        record(tree, tmp_path, split=everything)


def test_masked_session_of_another_shape(tmp_path):
    path = tmp_path / "session01.npy"
    np.save(path, np.zeros((24, 100), np.int16))
    with pytest.raises(UserError, match=r"session01.npy: \(24, 100\) int16, expected \(24, 99\) int16"):
        open_masked_session(path, (24, 99))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "not a complete NumPy array"),
        (lambda content: content[:100], "not a complete NumPy array"),
        (lambda content: b"", "not a complete NumPy array"),
        (lambda content: content.replace(b"(24, 99)", b"(24, 99 "), "not a complete NumPy array"),
        (None, "no such file"),
    ],
)
def test_damaged_masked_session(tmp_path, damage, message):
    path = tmp_path / "session01.npy"
    np.save(path, np.zeros((24, 99), np.int16))
    content = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(content))
    with pytest.raises(UserError, match=message) as error:
        open_masked_session(path, (24, 99))
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08\x00", None])
def test_damaged_volume(tree, content):
    path = tree.roi("subj01")
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with pytest.raises(UserError, match="not a complete NIfTI file") as error:
        read_volume(path)
    assert str(error.value).startswith(str(path))


def test_region_file_of_another_grid(tree, tmp_path):
    save_volume(tree.roi("subj01", "streams"), tree.labels["subj02"]["streams"])
    with pytest.raises(UserError, match=r"streams.nii.gz: volume of shape \(6, 8, 10\), expected \(7, 9, 5\)"):
        record(tree, tmp_path)


def test_region_file_that_holds_no_labels(tree, tmp_path):
    save_volume(tree.roi("subj01", "streams"), tree.ncsnr["subj01"]["b3"])
    with pytest.raises(UserError, match=r"streams.nii.gz: holds values that are not labels"):
        record(tree, tmp_path)


def test_float_label_files_are_read_as_labels(tree, tmp_path):
    first = record(tree, tmp_path / "a").voxels
    for name, labels in tree.labels["subj01"].items():
        save_volume(tree.roi("subj01", name), labels.astype(np.float32))
    pd.testing.assert_frame_equal(record(tree, tmp_path / "b").voxels, first)


def test_split_that_ends_early_marks_nothing_after_it_as_training(tree, tmp_path):
    split = Split("two", "", shared1000(read_design(tree.root / DESIGN)).test_sets, max_sessions=2)
    trials = record(tree, tmp_path, split=split, statistics="all").trials
    assert set(trials.loc[trials["session"] == 3, "part"]) == {"unused"}
