"""The simulated tree against NSD's published layout, read with plain h5py, nibabel, scipy and pandas."""

import ast
import json

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat
from simulated_nsd import write_tree

SESSIONS = {"subj01": 4, "subj02": 3, "subj05": 4}
DIMS = {"subj01": (13, 15, 11), "subj02": (12, 16, 11), "subj05": (14, 13, 12)}
TRIALS, POOL, SHARED, STIMULI = 120, 160, 16, 480
LAST_LABEL = {
    "nsdgeneral": 1, "prf-visualrois": 7, "prf-eccrois": 5, "floc-bodies": 4, "floc-faces": 5, "floc-places": 3,
    "floc-words": 5, "streams": 7, "Kastner2015": 25, "HCP_MMP1": 180, "visualsulc": 14, "corticalsulc": 28, "fVTC": 1,
}  # fmt: skip
RESPONSE_COLUMNS = (
    "SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID", "TIME", "ISOLD", "ISCORRECT", "RT", "CHANGEMIND",
    "MEMORYRECENT", "MEMORYFIRST", "ISOLDCURRENT", "ISCORRECTCURRENT", "TOTAL1", "TOTAL2", "BUTTON", "MISSINGDATA",
)  # fmt: skip
BETAS = ("betas_fithrf", "betas_fithrf_GLMdenoise_RR")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="module")
def design(root):
    return loadmat(root / "nsddata/experiments/nsd/nsd_expdesign.mat")


@pytest.fixture(scope="module")
def information(root):
    return pd.read_csv(root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv")


@pytest.fixture(scope="module", params=SESSIONS)
def subject(request):
    return request.param


@pytest.fixture(scope="module")
def answers(root, subject):
    return pd.read_csv(root / f"nsddata/ppdata/{subject}/behav/responses.tsv", sep="\t")


def betas(root, subject, folder, session):
    path = root / f"nsddata_betas/ppdata/{subject}/func1pt8mm/{folder}/betas_session{session:02d}.hdf5"
    with h5py.File(path) as file:
        return file["betas"][:]


def volume(root, subject, name):
    return np.asanyarray(nib.load(root / f"nsddata/ppdata/{subject}/func1pt8mm/{name}.nii.gz").dataobj)


def roi(root, subject, name):
    return volume(root, subject, f"roi/{name}").astype(int)


def test_design_is_matlab_version_5_with_ones_based_rows(root, design):
    assert (root / "nsddata/experiments/nsd/nsd_expdesign.mat").read_bytes()[:10] == b"MATLAB 5.0"
    assert design["masterordering"].shape == (1, 4 * TRIALS)
    assert np.array_equal(np.bincount(design["masterordering"][0].astype(int))[1:], np.full(POOL, 3))
    assert design["subjectim"].shape == (8, POOL)
    assert design["sharedix"].shape == (1, SHARED)
    assert np.all(np.diff(design["sharedix"][0]) > 0)
    assert np.array_equal(design["subjectim"][:, :SHARED], np.tile(design["sharedix"], (8, 1)))
    assert design["subjectim"].max() <= STIMULI


def test_private_images_are_private_and_some_are_never_shown(design):
    shown = design["subjectim"][[0, 1, 4], SHARED:].astype(int)
    assert len(np.unique(shown)) == 3 * (POOL - SHARED)
    assert len(np.unique(design["subjectim"][[0, 1, 4]])) == STIMULI - 32


def test_subjects_that_are_not_simulated_have_full_image_lists_too(design):
    assert design["subjectim"].min() >= 1
    assert all(len(np.unique(row)) == POOL for row in design["subjectim"])


def test_stimpattern_has_the_trials_of_every_run(design):
    pattern = design["stimpattern"]
    assert pattern.shape[:2] == (4, 12)
    assert np.array_equal(pattern.sum(axis=2), np.tile([11, 9], (4, 6)))
    assert not pattern[:, :, [0, -1]].any()


def test_basiccnt_counts_images_per_session(design):
    for session, block in enumerate(design["masterordering"].reshape(4, TRIALS)):
        times = np.unique(block, return_counts=True)[1]
        assert np.array_equal(design["basiccnt"][:, session], [(times == k).sum() for k in (1, 2, 3)])


def test_stimulus_table_has_the_41_columns(information):
    expected = ["Unnamed: 0", "cocoId", "cocoSplit", "cropBox", "loss", "nsdId", "flagged", "BOLD5000", "shared1000"]
    expected += [f"subject{s}" for s in range(1, 9)]
    expected += [f"subject{s}_rep{r}" for s in range(1, 9) for r in range(3)]
    assert list(information.columns) == expected
    assert np.array_equal(information["nsdId"], np.arange(STIMULI))
    assert np.array_equal(information["Unnamed: 0"], np.arange(STIMULI))
    assert information["cocoId"].is_unique
    assert set(information["cocoSplit"]) == {"train2017", "val2017"}
    assert information["shared1000"].dtype == bool and information["shared1000"].sum() == SHARED


def test_crop_boxes_leave_a_square(information):
    boxes = information["cropBox"].map(ast.literal_eval)
    top, bottom, left, right = np.array(boxes.tolist()).T
    assert np.all((top + bottom == 0) | (left + right == 0))
    assert np.allclose(top + bottom + left + right, 0.25)


def test_design_table_and_responses_agree_on_every_trial(design, information, subject, answers):
    number = int(subject[-1])
    ten_k = design["masterordering"][0].astype(int)[: len(answers)]
    seventy_three_k = design["subjectim"][number - 1].astype(int)[ten_k - 1]
    assert np.array_equal(answers["10KID"], ten_k)
    assert np.array_equal(answers["73KID"], seventy_three_k)
    planned = np.zeros(4 * TRIALS, int)
    for repeat in range(3):
        rows = information[information[f"subject{number}_rep{repeat}"] > 0]
        planned[rows[f"subject{number}_rep{repeat}"] - 1] = rows["nsdId"] + 1
    assert np.array_equal(planned[: len(answers)], seventy_three_k)
    assert (planned > 0).all()  # also the trials that were planned and never run
    reps = information[[f"subject{number}_rep{r}" for r in range(3)]].to_numpy()
    shown = reps[:, 0] > 0
    assert np.array_equal(information[f"subject{number}"] == 1, shown)
    assert np.all(np.diff(reps[shown], axis=1) > 0) and not reps[~shown].any()


def test_responses_columns_and_chronology(root, subject, answers):
    header = (root / f"nsddata/ppdata/{subject}/behav/responses.tsv").read_text().split("\n", 1)[0]
    assert tuple(header.split("\t")) == RESPONSE_COLUMNS
    assert len(answers) == TRIALS * SESSIONS[subject]
    assert (answers["SUBJECT"] == int(subject[-1])).all()
    assert answers["TIME"].is_monotonic_increasing
    assert np.array_equal(
        answers.groupby(["SESSION", "RUN"]).size().unstack(), np.tile([11, 9], (SESSIONS[subject], 6))
    )
    for _, run in answers.groupby(["SESSION", "RUN"]):
        assert np.array_equal(run["TRIAL"], np.arange(1, len(run) + 1))


def test_memory_columns_match_a_slow_count(answers):
    seen, first, session_seen = {}, {}, {}
    for trial, row in enumerate(answers.to_dict("records")):
        image, session = row["73KID"], row["SESSION"]
        is_old, is_old_here = image in seen, session_seen.get(image) == session
        assert (row["ISOLD"], row["ISOLDCURRENT"]) == (is_old, is_old_here)
        if is_old:
            since = [trial - before[image] - 1 for before in (seen, first)]
            assert [row["MEMORYRECENT"], row["MEMORYFIRST"]] == since
        else:
            assert np.isnan(row["MEMORYRECENT"]) and np.isnan(row["MEMORYFIRST"])
        seen[image], session_seen[image] = trial, session
        first.setdefault(image, trial)


def test_answers_are_scored_against_old_and_new(answers):
    given = answers[answers["BUTTON"].notna()]
    says_old = given["BUTTON"] == 2
    assert np.array_equal(given["ISCORRECT"] == 1, says_old == (given["ISOLD"] == 1))
    assert np.array_equal(given["ISCORRECTCURRENT"] == 1, says_old == (given["ISOLDCURRENT"] == 1))
    assert given["ISCORRECT"].mean() > 0.6
    assert given["RT"].between(200, 4000).all()
    silent = answers[answers["BUTTON"].isna()]
    assert silent[["ISCORRECT", "RT", "CHANGEMIND", "ISCORRECTCURRENT"]].isna().all(axis=None)


def test_behaviour_of_two_runs_of_two_subjects_is_lost(root):
    lost = {}
    for subject in SESSIONS:
        path = root / f"nsddata/ppdata/{subject}/behav/responses.tsv"
        assert "\tNaN\t" in path.read_text()
        table = pd.read_csv(path, sep="\t")
        missing = table[table["MISSINGDATA"] == 1]
        assert missing["BUTTON"].isna().all()
        if len(missing):
            lost[subject] = set(zip(missing["SESSION"], missing["RUN"], strict=True))
            assert len(missing) == 11 if next(iter(lost[subject]))[1] % 2 else 9
    assert len(lost) == 2 and all(len(runs) == 1 for runs in lost.values())


@pytest.mark.parametrize("folder", BETAS)
def test_betas_are_the_same_in_hdf5_and_nifti_with_axes_reversed(root, subject, folder):
    for session in range(1, SESSIONS[subject] + 1):
        stem = root / f"nsddata_betas/ppdata/{subject}/func1pt8mm/{folder}/betas_session{session:02d}"
        with h5py.File(f"{stem}.hdf5") as file:
            dataset = file["betas"]
            assert dataset.shape == (TRIALS, *DIMS[subject][::-1])
            assert dataset.dtype == np.dtype("<i2") and dataset.chunks == (TRIALS, 1, 1, 1)
            assert dataset.compression is None and not dataset.shuffle
            values = dataset[:]
        image = nib.load(f"{stem}.nii.gz")
        assert image.get_data_dtype() == np.int16
        assert np.array_equal(np.asanyarray(image.dataobj), values.T)
        assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
        assert np.allclose(image.header.get_zooms(), (1.8, 1.8, 1.8, 4 / 3))
        assert np.allclose(image.affine[:3, 3], -(np.array(DIMS[subject]) - 1) / 2 * 1.8)
    assert not (
        root / f"nsddata_betas/ppdata/{subject}/func1pt8mm/{folder}/betas_session{session + 1:02d}.hdf5"
    ).exists()


def test_betas_are_percent_signal_change_inside_the_brain_only(root, subject):
    brain = volume(root, subject, "brainmask") == 1
    assert 0.3 < brain.mean() < 0.7
    values = betas(root, subject, BETAS[1], 1).T
    assert not values[~brain].any()
    deviation = (values[brain] / 300.0).std(axis=1)
    low, high = np.percentile(deviation, (1, 99))
    assert low > 0.5 and high < 4.5


def test_invalid_voxels_are_zero_in_one_session_of_one_subject(root):
    seen = []
    for subject, sessions in SESSIONS.items():
        brain = volume(root, subject, "brainmask") == 1
        maps = [volume(root, subject, f"valid_session{k:02d}") for k in range(1, sessions + 1)]
        assert np.allclose(volume(root, subject, "valid"), np.mean(maps, axis=0))
        for session, valid in enumerate(maps, start=1):
            for folder in BETAS:
                constant = (betas(root, subject, folder, session).T[brain] == 0).all(axis=1)
                assert np.array_equal(constant, valid[brain] == 0)
            if (valid == 0).any():
                seen.append((subject, session))
                inside = (valid == 0) & (roi(root, subject, "nsdgeneral") == 1)
                assert inside.any()
    assert len(seen) == 1


def test_region_labels(root, subject):
    brain = volume(root, subject, "brainmask") == 1
    cortex = roi(root, subject, "nsdgeneral") != -1
    assert (cortex <= brain).all()
    for name, last in LAST_LABEL.items():
        both, left, right = (roi(root, subject, prefix + name) for prefix in ("", "lh.", "rh."))
        assert both.shape == DIMS[subject]
        assert both.min() == -1 and both.max() <= last
        if last < 100:
            assert set(range(1, last + 1)) <= set(np.unique(both))
        assert np.array_equal(both != -1, cortex)
        assert np.array_equal(np.where(left != -1, left, right), both)
        half = np.arange(DIMS[subject][0]) > (DIMS[subject][0] - 1) / 2  # x runs from left to right
        assert (left[half] == -1).all() and (right[~half] == -1).all()
    lines = (root / f"nsddata/freesurfer/{subject}/label/prf-visualrois.mgz.ctab").read_text().splitlines()
    assert [line.split() for line in lines][1:4] == [["1", "V1v"], ["2", "V1d"], ["3", "V2v"]]
    assert (root / "nsddata/freesurfer/fsaverage/label/floc-faces.mgz.ctab").exists()


def test_regions_reach_beyond_nsdgeneral_and_fill_part_of_it(root, subject):
    general = roi(root, subject, "nsdgeneral")
    size = (general == 1).sum()
    assert 0.04 * general.size < size < 0.09 * general.size
    for name in ("prf-visualrois", "floc-faces", "floc-places", "streams"):
        labelled = roi(root, subject, name) > 0
        assert (labelled & (general == 1)).any() and (labelled & (general != 1)).any()
    assert (roi(root, subject, "streams")[general == 1] > 0).all()


def test_ncsnr_file_follows_the_published_formula(root, subject, answers):
    brain = volume(root, subject, "brainmask") == 1
    for folder in BETAS:
        sessions = []
        for session in range(1, SESSIONS[subject] + 1):
            percent = betas(root, subject, folder, session).T[brain].T / 300.0
            with np.errstate(invalid="ignore"):
                sessions.append((percent - percent.mean(0)) / percent.std(0, ddof=1))
        z = np.concatenate(sessions)
        triples = [rows for rows in answers.groupby("73KID").indices.values() if len(rows) == 3]
        variance = np.nanmean([z[rows].var(axis=0, ddof=1) for rows in triples], axis=0)
        expected = np.sqrt(np.maximum(0, 1 - variance)) / np.sqrt(variance)
        stored = nib.load(root / f"nsddata_betas/ppdata/{subject}/func1pt8mm/{folder}/ncsnr.nii.gz").get_fdata()
        assert np.allclose(stored[brain], expected, atol=2e-3)
        assert not stored[~brain].any()


def test_images_and_coco_annotations(root, information):
    with h5py.File(root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        assert file["imgBrick"].shape == (STIMULI, 48, 48, 3) and file["imgBrick"].dtype == np.uint8
        assert len(np.unique(file["imgBrick"][:].reshape(STIMULI, -1), axis=0)) == STIMULI
    for split, rows in information.groupby("cocoSplit"):
        captions = json.loads((root / f"annotations/captions_{split}.json").read_text())
        assert {image["id"] for image in captions["images"]} == set(rows["cocoId"])
        per_image = pd.DataFrame(captions["annotations"]).groupby("image_id")["caption"]
        assert set(per_image.size()) == {5} and set(per_image.groups) == set(rows["cocoId"])

        instances = json.loads((root / f"annotations/instances_{split}.json").read_text())
        categories = {c["id"]: (c["name"], c["supercategory"]) for c in instances["categories"]}
        assert categories[17] == ("cat", "animal")
        sizes = {image["id"]: (image["width"], image["height"]) for image in instances["images"]}
        crops = rows.set_index("cocoId")["cropBox"].map(ast.literal_eval)
        assert len(instances["annotations"]) >= 0.9 * len(rows)
        for item in instances["annotations"]:
            assert item["category_id"] in categories
            x, y, w, h = item["bbox"]
            width, height = sizes[item["image_id"]]
            top, bottom, left, right = crops[item["image_id"]]
            assert left * width - 1 <= x and x + w <= (1 - right) * width + 1
            assert top * height - 1 <= y and y + h <= (1 - bottom) * height + 1
