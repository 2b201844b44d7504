"""The recording of a subject: z-scores by an independent formula, voxels, regions, and the same bytes each time."""

import shutil

import numpy as np
import pandas as pd
import pytest
from nsd_tree import PER_SESSION, Tree, save_betas, save_volume
from prepared import DESIGN, record

from fmri2img.artifacts.splits import Split
from fmri2img.datasets.nsd.betas import open_masked_session
from fmri2img.datasets.nsd.design import read_design
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
    assert after.metadata["voxels_left_out"] == {"constant": 1, "without_data": 0}
    pd.testing.assert_frame_equal(after.voxels, before.drop(4).reset_index(drop=True))
    # Over all sessions together that voxel does vary.
    assert len(record(tree, tmp_path, normalise="pooled").voxels) == len(before)


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
