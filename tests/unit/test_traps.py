"""The known traps of the Natural Scenes Dataset, T1 to T20: each test fails when its trap is sprung.

The trees come from nsd_tree.py, which shares no code with the readers. Where a trap is a matter of another room (how
encoders resize, T15; which ceiling a score is compared with, T10), what the preparation owes it is tested here.
"""

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from nsd_tree import BETA_FOLDER, MISSED, PER_SESSION, SESSIONS, Tree, edit_cell, save_betas, save_volume
from prepared import DESIGN, STIMULUS_INFO, record, responses, stimuli
from scipy.io import loadmat, savemat

from fmri2img.artifacts.splits import Split
from fmri2img.datasets.normalise import Moments, percent_signal_change
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.betas import read_masked_session
from fmri2img.datasets.nsd.design import read_design, read_trials
from fmri2img.datasets.nsd.scripts.make_splits import shared982, shared1000
from fmri2img.datasets.nsd.stimuli import image_blocks
from fmri2img.datasets.nsd.volumes import read_mask, voxel_columns
from fmri2img.errors import UserError

# Not of resources: garbage of other tests in this process, as Snakemake's temporary folders, may be collected here.
pytestmark = pytest.mark.filterwarnings("error", "default::ResourceWarning")


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "tree")


def trials_of(tree, subject):
    return read_trials(*(tree.root / key for key in (responses(subject), DESIGN, STIMULUS_INFO)), subject)


def rewrite_trials(tree, chosen, change):
    """Apply `change` to the betas of the `chosen` trials (bool) of subj01, in every session file."""
    betas = tree.betas["subj01"].copy()
    betas[chosen] = change(betas[chosen])
    for session in range(1, SESSIONS["subj01"] + 1):
        block = betas[(session - 1) * PER_SESSION : session * PER_SESSION]
        save_betas(tree.betas_file("subj01", session), block)


def test_T01_ids_count_from_one_outside_and_from_zero_inside(tree, tmp_path):
    recording, pictures = record(tree, tmp_path), stimuli(tree, tmp_path)
    np.testing.assert_array_equal(recording.trials["image_id"], tree.ids("subj01"))
    assert recording.trials["session"].min() == 1 and recording.trials["run"].min() == 1
    assert recording.trials["trial"].min() == 0
    # The picture of a trial, reached through every join, is the one that was shown.
    shown = pictures.images[pictures.rows(recording.trials["image_id"].to_numpy())]
    np.testing.assert_array_equal(shown, tree.pixels[tree.ids("subj01")])


@pytest.mark.parametrize("source", ["responses", "design", "csv"])
def test_T01_a_source_that_counts_from_the_wrong_end_is_refused(tree, source):
    if source == "responses":
        for row, image in enumerate(tree.ids("subj01")):
            edit_cell(tree.root / responses("subj01"), row, "73KID", image)
    elif source == "design":
        content = {k: v for k, v in loadmat(tree.root / DESIGN).items() if not k.startswith("__")}
        savemat(tree.root / DESIGN, content | {"subjectim": content["subjectim"] + 1})
    else:
        for image in range(50):
            edit_cell(tree.root / STIMULUS_INFO, image, "nsdId", image + 1)
    with pytest.raises(UserError, match="trial 1 has image_id"):
        trials_of(tree, "subj01")


def test_T02_10KID_is_no_image_id(tree):
    # Beyond the shared images one 10KID is a different image for each subject.
    first, second = (trials_of(tree, subject)["image_id"].to_numpy()[:48] for subject in SESSIONS)
    private = tree.order[:48] >= len(tree.shared)
    assert (first[private] != second[private]).all() and (first[~private] == second[~private]).all()
    for row, place in enumerate(tree.order):
        edit_cell(tree.root / responses("subj01"), row, "73KID", place + 1)
    with pytest.raises(UserError, match="image_id"):
        trials_of(tree, "subj01")


def test_T03_planned_trials_that_never_ran_leave_no_trace(tree, tmp_path):
    never = tree.images[1, -1]  # planned for subj02 in its third session, which does not exist
    recording, pictures = record(tree, tmp_path, "subj02"), stimuli(tree, tmp_path, ("subj02",))
    assert len(recording.trials) == 2 * PER_SESSION
    assert never not in set(recording.trials["image_id"]) and never not in set(pictures.ids)
    counts = recording.trials.groupby("image_id").size()
    ids, times = np.unique(tree.ids("subj02"), return_counts=True)
    assert counts.loc[ids].tolist() == times.tolist() and {1, 2, 3} == set(times)


def test_T04_stored_integers_are_scaled_and_do_not_overflow():
    betas = np.array([[32767, -32768], [32767, -32768], [32764, 32767]], np.int16)
    psc = percent_signal_change(betas, layout.INT16_PER_PERCENT)
    np.testing.assert_allclose(psc[0], [109.22333, -109.22667], atol=1e-5)
    moments = Moments(2)
    moments.add(psc)
    np.testing.assert_allclose(moments.mean, [32766 / 300, (32767 - 2 * 32768) / 900])
    np.testing.assert_allclose(moments.sd, [np.sqrt(3) / 300, 65535 / np.sqrt(3) / 300])


def test_T04_saturated_session_has_finite_zscores(tree, tmp_path):
    rewrite_trials(tree, np.ones(72, bool), lambda b: np.where(b > 0, 32767, -32768).astype(np.int16))
    betas = record(tree, tmp_path).betas
    assert np.isfinite(betas).all() and abs(betas).max() < np.sqrt(PER_SESSION)


@pytest.mark.parametrize("subject", SESSIONS)
def test_T05_axes_and_voxel_order(tree, subject, tmp_path):
    # Each voxel's first trial says where it lies.
    shape = tree.labels[subject]["nsdgeneral"].shape
    place = np.arange(np.prod(shape)).reshape(shape)
    betas = tree.betas[subject][:PER_SESSION].copy()
    betas[0] = place
    save_betas(tree.betas_file(subject, 1), betas)
    masked = read_masked_session(tree.betas_file(subject, 1), read_mask(tree.roi(subject)), PER_SESSION)
    voxels = record(tree, tmp_path, subject).voxels
    np.testing.assert_array_equal(masked[0], place[voxels["x"], voxels["y"], voxels["z"]])
    assert (np.diff(masked[0].astype(int)) > 0).all()


@pytest.mark.parametrize("axes", [(2, 1, 0), (1, 0, 2), (0, 2, 1)])
def test_T05_transposed_mask_is_refused(tree, axes):
    save_volume(tree.roi("subj02"), tree.labels["subj02"]["nsdgeneral"].transpose(axes))
    with pytest.raises(UserError, match="do not match the mask"):
        read_masked_session(tree.betas_file("subj02", 1), read_mask(tree.roi("subj02")), PER_SESSION)


def test_T06_mask_is_the_label_one_alone(tree):
    labels = tree.labels["subj01"]["nsdgeneral"]
    assert {-1, 0, 1} == set(np.unique(labels))
    np.testing.assert_array_equal(read_mask(tree.roi("subj01")), labels == 1)


def test_T07_voxels_without_data_in_any_session_are_left_out_before_statistics(tree, tmp_path):
    before = record(tree, tmp_path)
    lost = before.voxels.loc[[0, 7], ["x", "y", "z"]].to_numpy()
    valid = np.ones(tree.labels["subj01"]["nsdgeneral"].shape, np.int16)
    betas = tree.betas["subj01"][PER_SESSION : 2 * PER_SESSION].copy()
    for x, y, z in lost:
        valid[x, y, z] = 0
        betas[: PER_SESSION // 2, x, y, z] = 0  # some runs only: the voxel still varies
    save_volume(tree.func("subj01", "valid_session02.nii.gz"), valid)
    save_betas(tree.betas_file("subj01", 2), betas)
    after = record(tree, tmp_path)
    assert len(after.voxels) == len(before.voxels) - 2 == after.betas.shape[1]
    assert after.metadata["voxels_left_out"] == {"without_data": 2, "not_finite": 0, "constant": 0}
    np.testing.assert_array_equal(after.betas, np.delete(before.betas, [0, 7], axis=1))


def test_T07_voxels_that_are_zero_throughout_a_session_give_no_nan(tree, tmp_path):
    before = record(tree, tmp_path)
    x, y, z = before.voxels.loc[3, ["x", "y", "z"]]
    betas = tree.betas["subj01"][:PER_SESSION].copy()
    betas[:, x, y, z] = 0
    save_betas(tree.betas_file("subj01", 1), betas)
    after = record(tree, tmp_path)
    assert np.isfinite(after.betas).all()
    np.testing.assert_array_equal(after.betas, np.delete(before.betas, 3, axis=1))


@pytest.mark.parametrize("subject", SESSIONS)
def test_T08_all_repeats_of_an_image_are_on_one_side(tree, subject, tmp_path):
    recording = record(tree, tmp_path, subject)
    for rows in (recording.training_rows(recording.n_sessions), recording.test_rows("shared1000")):
        rest = np.delete(np.arange(len(recording.trials)), rows)
        ids = recording.trials["image_id"].to_numpy()
        assert len(rows) and not set(ids[rows]) & set(ids[rest])
    held_out = Split("some", "", {"some": sorted(tree.images[0, [3, 10, 20]].tolist())})
    split = record(tree, tmp_path, split=held_out).trials
    assert set(split.loc[split["part"] == "some", "image_id"]) == set(held_out.test_ids)
    assert split.groupby("image_id")["part"].nunique().max() == 1


@pytest.mark.parametrize("normalise", ["session", "pooled"])
def test_T09_test_trials_have_no_part_in_the_statistics(tree, tmp_path, normalise):
    before = record(tree, tmp_path / "before", normalise=normalise)
    rewrite_trials(tree, np.isin(tree.ids("subj01"), tree.shared), lambda b: 3 * b + 500)
    after = record(tree, tmp_path / "after", normalise=normalise)
    train, test = before.training_rows(3), before.test_rows("shared1000")
    np.testing.assert_array_equal(after.betas[train], before.betas[train])
    assert (after.betas[test] != before.betas[test]).mean() > 0.99
    # The canary does sing where all trials are asked for.
    loud = [record(tree, tmp_path / "all", normalise=normalise, statistics="all").betas[train], after.betas[train]]
    assert (loud[0] != loud[1]).mean() > 0.99


def test_T09_test_trials_are_not_normalised_by_each_other(tree, tmp_path):
    before = record(tree, tmp_path / "before")
    test = before.test_rows("shared1000")
    rewrite_trials(tree, np.arange(72) == test[0], lambda b: b + 700)
    after = record(tree, tmp_path / "after")
    np.testing.assert_array_equal(np.delete(after.betas, test[0], 0), np.delete(before.betas, test[0], 0))


def test_T09_sessions_after_the_budget_have_no_part_in_earlier_ones(tree, tmp_path):
    before = record(tree, tmp_path / "before")
    rewrite_trials(tree, np.arange(72) >= 2 * PER_SESSION, lambda b: 2 * b - 300)
    after = record(tree, tmp_path / "after")
    np.testing.assert_array_equal(after.betas[: 2 * PER_SESSION], before.betas[: 2 * PER_SESSION])
    assert after.metadata["betas"] == {
        "version": "b3", "mask": "nsdgeneral", "labels": [], "normalise": "session", "statistics": "train",
    }  # fmt: skip


def test_T10_unequal_repeats_are_averaged_without_padding(tree, tmp_path):
    recording = record(tree, tmp_path, "subj02")
    ids, means = recording.averaged(np.arange(len(recording.trials)))
    shown = recording.trials["image_id"].to_numpy()
    assert {1, 2, 3} <= set(np.unique(shown, return_counts=True)[1])
    for image, mean in zip(ids, means, strict=True):
        np.testing.assert_allclose(mean, recording.betas[shown == image].astype(float).mean(0), atol=1e-6)


def test_T11_splits_are_told_apart_by_their_ids(tree, tmp_path):
    design = read_design(tree.root / DESIGN)
    assert shared982(design, 1).unused_ids, "no shared image comes after session 1: the tree cannot tell splits apart"
    assert shared982(design, 1).sha256 != shared1000(design).sha256
    recording = record(tree, tmp_path)
    assert recording.metadata["split_sha256"] == shared1000(design).sha256
    ids, _ = recording.averaged(recording.test_rows("shared1000"))
    assert ids.tolist() == sorted(ids) == shared1000(design).test_ids


@pytest.mark.parametrize("version", BETA_FOLDER)
def test_T12_ncsnr_comes_from_the_folder_of_the_betas(tree, tmp_path, version):
    folders = {key.rsplit("/", 1)[0] for key in (layout.ncsnr("subj01", version), layout.betas("subj01", version, 7))}
    assert folders == {f"nsddata_betas/ppdata/subj01/func1pt8mm/{BETA_FOLDER[version]}"}
    voxels = record(tree, tmp_path, version=version).voxels
    own = tree.ncsnr["subj01"][version][voxels["x"], voxels["y"], voxels["z"]]
    np.testing.assert_array_equal(voxels["ncsnr"], own)


def test_T13_dorsal_and_ventral_parts_are_one_area_and_regions_stay_in_the_mask(tree, tmp_path):
    recording, labels = record(tree, tmp_path), tree.labels["subj01"]
    inside = labels["prf-visualrois"][labels["nsdgeneral"] == 1]
    for area, codes in {"V1": {1, 2}, "V2": {3, 4}, "V3": {5, 6}, "hV4": {7}}.items():
        assert recording.voxels[area].tolist() == [code in codes for code in inside]
    assert len(recording.voxels) == (labels["nsdgeneral"] == 1).sum()
    assert ((labels["floc-faces"] > 0) & (labels["nsdgeneral"] != 1)).any()


def test_T13_regions_are_read_from_the_file_of_both_hemispheres(tree, tmp_path):
    # A voxel that lh. and rh. both claim is resolved in the combined file; the single ones are never asked for.
    for side in ("lh", "rh"):
        save_volume(tree.roi("subj01", f"{side}.prf-visualrois"), np.full((7, 9, 5), 3, np.int16))
    labels = tree.labels["subj01"]
    voxels = record(tree, tmp_path).voxels
    assert voxels["V2"].sum() == np.isin(labels["prf-visualrois"][labels["nsdgeneral"] == 1], [3, 4]).sum()
    assert not any(name in layout.roi("subj01", roi) for roi in layout.ROI_LABELS for name in ("lh.", "rh."))


def test_T14_volumes_are_matched_by_index_whatever_their_affine(tree):
    mask, path = read_mask(tree.roi("subj01")), tree.roi("subj01", "streams")
    ncsnr = tree.betas_file("subj01", 1).with_name("ncsnr.nii.gz")
    before, _ = voxel_columns(mask, ncsnr, {"streams": path}, layout.ROI_LABELS)
    affine = np.array([[0, -1.8, 0, 40], [1.8, 0, 0, -7], [0, 0, -1.8, 3], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(tree.labels["subj01"]["streams"], affine), path)
    after, _ = voxel_columns(mask, ncsnr, {"streams": path}, layout.ROI_LABELS)
    pd.testing.assert_frame_equal(before, after)


def test_T15_pictures_are_neither_cropped_again_nor_resized_nor_compressed(tree, tmp_path):
    # cropBox of the csv is not (0, 0, 0, 0), but has been applied already.
    opened = stimuli(tree, tmp_path)
    np.testing.assert_array_equal(opened.images, tree.pixels[opened.ids])


def test_T16_lost_behaviour_is_missing_not_a_number(tree, tmp_path):
    trials = record(tree, tmp_path, MISSED[0]).trials
    lost = (trials["session"] == MISSED[1]) & (trials["run"] == MISSED[2])
    assert lost.any() and trials["is_correct"][lost].isna().all() and trials["is_correct"][~lost].notna().all()
    assert trials["response_time_ms"].dtype == np.float64 and trials["response_time_ms"][1] == 701.25
    assert trials["image_id"].dtype == np.int64 and (trials.loc[lost, "part"] != "unused").all()


def test_T17_images_out_of_order_are_refused_not_scrambled(tmp_path):
    with h5py.File(tmp_path / "s.hdf5", "w") as file:
        file["imgBrick"] = np.arange(9, dtype=np.uint8).reshape(9, 1, 1, 1).repeat(3, axis=3)
    for ids in ([3, 1], [2, 2]):
        with pytest.raises(ValueError, match="ascending and unique"):
            list(image_blocks(tmp_path / "s.hdf5", ids))
    assert np.concatenate(list(image_blocks(tmp_path / "s.hdf5", [1, 3, 8])))[:, 0, 0, 0].tolist() == [1, 3, 8]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64])
def test_T18_matlab_arrays_of_any_type(tree, dtype):
    content = {k: v.astype(dtype) for k, v in loadmat(tree.root / DESIGN).items() if not k.startswith("__")}
    savemat(tree.root / DESIGN, content)
    design = read_design(tree.root / DESIGN)
    assert design.order.min() == 0 and design.order.shape == (72,) and design.shared.ndim == 1
    assert {array.dtype for array in vars(design).values()} == {np.dtype(np.int64)}
    np.testing.assert_array_equal(design.order, tree.order)
    np.testing.assert_array_equal(design.images, tree.images)
    np.testing.assert_array_equal(design.shared, tree.shared)
    # A 0, which no file that counts from 1 holds, must neither wrap around (unsigned) nor mean the last one (signed).
    for name in ("masterordering", "subjectim", "sharedix"):
        spoilt = content[name].copy()
        spoilt[0, 3] = 0
        savemat(tree.root / DESIGN, content | {name: spoilt})
        with pytest.raises(UserError, match="must count from 1"):
            read_design(tree.root / DESIGN)


def test_T19_session_wise_zscores_undo_offset_and_gain_of_a_session_and_pooled_ones_do_not(tree, tmp_path):
    second = (np.arange(72) >= PER_SESSION) & (np.arange(72) < 2 * PER_SESSION)
    plain, pooled = record(tree, tmp_path / "a"), record(tree, tmp_path / "b", normalise="pooled")
    rewrite_trials(tree, second, lambda b: 2 * b + 1000)
    np.testing.assert_allclose(record(tree, tmp_path / "c").betas, plain.betas, atol=1e-4)
    shift = record(tree, tmp_path / "d", normalise="pooled").betas[second].mean() - pooled.betas[second].mean()
    assert shift > 0.3


def test_T20_old_and_new_presentations_can_be_told_apart(tree, tmp_path):
    trials = record(tree, tmp_path).trials
    assert (trials["is_old"] == (trials["repeat"] > 0)).all()
    assert set(trials.loc[trials["part"] == "shared1000", "is_old"]) == {0.0, 1.0}
