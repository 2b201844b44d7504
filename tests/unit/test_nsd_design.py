"""Trials: the right image and behaviour for each, and every disagreement between the three sources reported."""

import codecs

import numpy as np
import pandas as pd
import pytest
from nsd_tree import MISSED, PER_SESSION, RUN_TRIALS, SESSIONS, Tree, edit_cell
from prepared import DESIGN, STIMULUS_INFO, responses
from scipy.io import loadmat, savemat

from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.betas import count_trials
from fmri2img.datasets.nsd.design import read_design, read_trials
from fmri2img.datasets.opening import check_opens
from fmri2img.errors import UserError


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def trials_of(tree, subject):
    files = (tree.root / key for key in (responses(subject), DESIGN, STIMULUS_INFO))
    return read_trials(*files, subject)


@pytest.mark.parametrize("subject", SESSIONS)
def test_each_trial_has_its_image_session_run_and_repeat(tree, subject):
    trials, ids = trials_of(tree, subject), tree.ids(subject)
    np.testing.assert_array_equal(trials["trial"], np.arange(SESSIONS[subject] * PER_SESSION))
    np.testing.assert_array_equal(trials["image_id"], ids)
    np.testing.assert_array_equal(trials["session"], np.repeat(np.arange(SESSIONS[subject]) + 1, PER_SESSION))
    np.testing.assert_array_equal(trials["run"][:PER_SESSION], np.repeat(np.arange(12) + 1, RUN_TRIALS))
    assert trials["repeat"].tolist() == [(ids[:t] == ids[t]).sum() for t in range(len(ids))]
    assert set(trials.loc[trials["shared"], "image_id"]) == set(tree.shared) & set(ids)


def test_behaviour_of_a_lost_run_is_missing_and_the_rest_is_kept(tree):
    trials = trials_of(tree, MISSED[0])
    lost = ((trials["session"] == MISSED[1]) & (trials["run"] == MISSED[2])).to_numpy()
    assert lost.sum() == RUN_TRIALS[MISSED[2] - 1]
    for column in ("is_correct", "response_time_ms"):
        np.testing.assert_array_equal(trials[column].isna(), lost)
    assert trials["response_time_ms"][0] == 700.25
    np.testing.assert_array_equal(trials["is_old"], trials["repeat"] > 0)


def test_design_is_whole_numbers_from_zero(tree):
    design = read_design(tree.root / DESIGN)
    np.testing.assert_array_equal(design.order, tree.order)
    np.testing.assert_array_equal(design.images, tree.images)
    np.testing.assert_array_equal(design.shared, tree.shared)
    assert design.session_trials.tolist() == [PER_SESSION] * 3
    assert {array.dtype for array in vars(design).values()} == {np.dtype(np.int64)}


@pytest.mark.parametrize("column", ["73KID", "10KID"])
def test_one_wrong_cell_of_the_responses_is_found(tree, column):
    path, right = tree.root / responses("subj01"), {"73KID": tree.ids("subj01")[30], "10KID": tree.order[30]}
    edit_cell(path, 30, column, right[column] + 2)
    with pytest.raises(UserError, match=r"trial 31 has .*nsd_expdesign.mat says") as error:
        trials_of(tree, "subj01")
    assert str(error.value).startswith(str(path))


def test_one_wrong_cell_of_the_csv_is_found(tree):
    image = int(tree.ids("subj02")[0])
    edit_cell(tree.root / STIMULUS_INFO, image, "subject2_rep0", 0)
    with pytest.raises(UserError, match=rf"trial 1 has image_id {image}, but .*merged.csv says -1"):
        trials_of(tree, "subj02")
    trials_of(tree, "subj01")


def test_swapped_presentations_in_the_csv_are_found(tree):
    image = int(tree.ids("subj01")[0])
    trials = np.flatnonzero(tree.ids("subj01") == image) + 1
    edit_cell(tree.root / STIMULUS_INFO, image, "subject1_rep0", trials[1])
    edit_cell(tree.root / STIMULUS_INFO, image, "subject1_rep1", trials[0])
    with pytest.raises(UserError, match=r"trial 1 has repeat 0, but .*merged.csv says 1"):
        trials_of(tree, "subj01")


def test_responses_of_another_subject_are_found(tree):
    with pytest.raises(UserError, match=r"responses.tsv: column SUBJECT says 1, not subj02"):
        read_trials(*(tree.root / key for key in (responses("subj01"), DESIGN, STIMULUS_INFO)), "subj02")


def test_a_subject_with_a_name_of_its_own_has_the_number_that_its_responses_state(tree):
    files = [tree.root / key for key in (responses("subj02"), DESIGN, STIMULUS_INFO)]
    pd.testing.assert_frame_equal(read_trials(*files, "sub-pilot"), read_trials(*files, "subj02"))
    edit_cell(files[0], 5, "SUBJECT", 1)
    with pytest.raises(UserError, match="column SUBJECT says 2, 1, not sub-pilot"):
        read_trials(*files, "sub-pilot")


def test_files_that_an_editor_on_windows_saved_are_read_as_before(tree):
    files = [tree.root / key for key in (responses("subj02"), DESIGN, STIMULUS_INFO)]
    expected = read_trials(*files, "subj02")
    for path in (files[0], files[2]):
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        check_opens(path, path.name)
    pd.testing.assert_frame_equal(read_trials(*files, "subj02"), expected)
    assert count_trials(files[0]) == {1: 24, 2: 24} and layout.last_session(files[0]) == 2


def without_first_trial(path):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[2:]]) + "\n")


def shuffled_lines(path):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[5], *lines[1:5], *lines[6:]]) + "\n")


def without_session_two(path):
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if line.split("\t")[1] != "2") + "\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_first_trial, "differ"),
        (shuffled_lines, "not in the order"),
        (without_session_two, "some are missing"),
        (lambda path: path.write_text("SUBJECT\tSESSION\n1\t1\n"), "not a responses.tsv"),
        (lambda path: edit_cell(path, 3, "RT", "quick"), "not a responses.tsv"),
        (lambda path: path.unlink(), "no such file"),
    ],
)
def test_damaged_responses(tree, spoil, message):
    path = tree.root / responses("subj01")
    spoil(path)
    with pytest.raises(UserError, match=message) as error:
        trials_of(tree, "subj01")
    assert str(error.value).startswith(str(path))


def test_damaged_design(tree):
    path = tree.root / DESIGN
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match="not a complete MATLAB file"):
        read_design(path)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("stimpattern", np.ones((40, 12), np.uint8)),
        ("masterordering", np.zeros((0, 0))),
        ("subjectim", np.ones((2, 24, 3))),
        ("sharedix", np.zeros((1, 0))),
    ],
)
def test_design_of_another_shape(tree, name, values):
    path = tree.root / DESIGN
    content = {key: value for key, value in loadmat(path).items() if not key.startswith("__")}
    savemat(path, content | {name: values})
    with pytest.raises(UserError, match=r"nsd_expdesign.mat: .*of shapes .*are not NSD's") as error:
        read_design(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["", "soon"])
def test_a_cell_of_the_csv_that_is_no_number(tree, value):
    path = tree.root / STIMULUS_INFO
    edit_cell(path, 7, "subject1_rep1", value)
    with pytest.raises(UserError, match=r"not an nsd_stim_info_merged.csv") as error:
        trials_of(tree, "subj01")
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    trials_of(tree, "subj02")


def test_more_trials_than_planned(tree):
    path = tree.root / responses("subj01")
    last = path.read_text().splitlines()[-1].split("\t")
    with open(path, "a") as handle:
        handle.write("\t".join([last[0], "4", *last[2:]]) + "\n")
    with pytest.raises(UserError, match=r"plans 72 trials for 2 subjects, but .* holds 73"):
        trials_of(tree, "subj01")
