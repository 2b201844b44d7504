"""BOLD5000's files, written by others than its simulator, read into the artifacts; and what the simulator writes."""

import codecs
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tests.helpers import bold5000_files as files

from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.datasets.bold5000 import layout, simulator
from fmri2img.datasets.bold5000.dataset import Dataset
from fmri2img.datasets.bold5000.presentations import all_names, read_trials, repeated_names
from fmri2img.datasets.bold5000.scripts.prepare_recording import prepare_recording
from fmri2img.datasets.bold5000.scripts.prepare_stimuli import prepare_stimuli
from fmri2img.datasets.bold5000.settings import Settings, Simulation
from fmri2img.errors import UserError

FOLDER = Path(layout.__file__).parent
OPTIONS = {"version": layout.VERSION, "normalise": "session", "statistics": "train"}


def recording_of(root, options=OPTIONS, subject="CSI1"):
    stimuli = root / "BOLD5000_Stimuli"
    split = prepare_stimuli(stimuli, [subject], 32, root / "stimuli")
    split.save(root / "repeated.json")
    found = list(layout.find_betas(root, subject, layout.VERSION).values())
    seen = prepare_recording(
        subject, found, stimuli, root / "stimuli", root / "repeated.json", options, root / "recording"
    )
    return Recording.open(root / "recording"), seen


@pytest.fixture
def tree(tmp_path):
    files.write_lists(tmp_path)
    files.write_pictures(tmp_path)
    return tmp_path


@pytest.mark.parametrize("variant", [{"end": "\r\n"}, {"prefix": "CSI01"}], ids=["windows", "prefix"])
def test_trials_are_in_the_order_of_sessions_and_runs(tmp_path, variant):
    trials = read_trials(files.write_lists(tmp_path, **variant), "CSI1")
    assert trials["name"].tolist() == files.NAMES
    assert trials["session"].tolist() == [1] * 8 + [2] * 8
    assert trials["run"].tolist() == [1, 1, 1, 1, 2, 2, 2, 2] * 2


def test_the_split_holds_out_the_repeated_pictures_and_stimuli_have_source_and_class(tree):
    split = prepare_stimuli(tree / "BOLD5000_Stimuli", ["CSI1"], 16, tree / "stimuli")
    stimuli = Stimuli.open(tree / "stimuli")
    table = stimuli.table.set_index("name")
    assert split.test_sets == {"repeated": sorted(table.loc[files.REPEATED, "image_id"])}
    assert sorted(table.index) == list(table.index) == sorted(set(files.NAMES))
    assert stimuli.images.shape == (len(set(files.NAMES)), 16, 16, 3)
    expected = [files.colour(name) for name in table.index]
    assert np.abs(stimuli.images.mean(axis=(1, 2)) - expected).max() < 6
    assert table.loc["n01440764_55.JPEG", "categories"].tolist() == ["tench", "Tinca tinca"]
    assert table.loc["boat_deck12.jpg", "categories"].tolist() == ["boat_deck"]
    assert table["source"].value_counts().to_dict() == {"COCO": 4, "ImageNet": 4, "Scene": 4}


def test_image_id_does_not_depend_on_the_subjects_of_the_study(tree):
    files.write_lists(tree, "CSI2", [["zoo1.jpg", "a_first1.jpg"], files.REPEATED])
    files.write_pictures(tree, [*files.NAMES, "zoo1.jpg", "a_first1.jpg"])
    stimuli = tree / "BOLD5000_Stimuli"
    names = all_names(stimuli)
    for subjects in (["CSI1"], ["CSI2"], ["CSI1", "CSI2"]):
        prepare_stimuli(stimuli, subjects, 16, tree / "stimuli")
        table = Stimuli.open(tree / "stimuli").table
        assert [names[k] for k in table["image_id"]] == table["name"].tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_regions_are_concatenated_left_before_right_and_z_scored_by_training_trials_of_a_session(tree, dtype):
    betas = files.write_betas(tree, dtype=dtype, spell={"RHRSC": "RHRRSC", "LHLOC": "LHLO"})
    recording, seen = recording_of(tree)
    tested = np.isin(files.NAMES, files.REPEATED)
    for session in (slice(0, 8), slice(8, 16)):
        training = betas[session][~tested[session]]
        expected = (betas[session] - training.mean(axis=0)) / training.std(axis=0, ddof=1)
        np.testing.assert_allclose(recording.betas[session], expected, rtol=1e-3, atol=1e-4)
    for region, numbers in files.VOXELS.items():
        assert recording.voxels[region].sum() == sum(numbers)
    assert np.flatnonzero(recording.voxels["LOC"]).tolist() == [7, 8, 9, 10]
    assert recording.trials["part"].eq("repeated").tolist() == tested.tolist()
    assert recording.trials["repeat"].max() == 2 and recording.n_sessions == 2
    assert len(recording.training_rows(1)) == 5 and len(recording.training_rows(2)) == 10
    ids, averaged = recording.averaged(recording.test_rows("repeated"))
    assert ids.tolist() == seen.test_sets["repeated"].tolist() and averaged.shape == (2, 19)


def test_the_originals_normalisation_is_a_switch(tree):
    betas = files.write_betas(tree)
    recording, _ = recording_of(tree, OPTIONS | {"normalise": "global", "statistics": "all"})
    np.testing.assert_allclose(recording.betas, (betas - betas.mean()) / betas.std(), rtol=1e-4, atol=1e-5)
    assert recording.metadata["betas"]["statistics"] == "all"


def test_mind_vis_dictionary_of_pictures_is_read_without_running_what_it_holds(tmp_path):
    files.write_lists(tmp_path)
    files.write_pictures(tmp_path, arrays=True)
    stimuli = tmp_path / "BOLD5000_Stimuli"
    prepare_stimuli(stimuli, ["CSI1"], 32, tmp_path / "stimuli")
    table = Stimuli.open(tmp_path / "stimuli")
    assert table.images[0, 0, 0].tolist() == files.colour(table.table["name"].iloc[0])

    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    np.save(stimuli / layout.ARRAYS, {"abbey1.jpg": Harmful()})
    with pytest.raises(
        UserError,
        match=r"img_dict.npy: not a dictionary of pictures .*\(it contains \w+.mkdir, which is not an array\)",
    ):
        prepare_stimuli(stimuli, ["CSI1"], 32, tmp_path / "stimuli")
    assert not (tmp_path / "harm").exists()


def test_a_missing_picture_or_list_is_named_with_its_source(tree):
    stimuli = tree / "BOLD5000_Stimuli"
    (stimuli / layout.PICTURES / "Scene/atrium5.jpg").unlink()
    with pytest.raises(
        UserError, match=r"lacks picture atrium5.jpg \(1 of 12 are missing\); download BOLD5000_Stimuli"
    ):
        prepare_stimuli(stimuli, ["CSI1"], 16, tree / "stimuli")
    (stimuli / layout.REPEATED[0]).rename(stimuli / layout.REPEATED[1])
    assert repeated_names(stimuli)[:2] == files.REPEATED
    (stimuli / layout.REPEATED[1]).write_text("elsewhere1.jpg\n")
    with pytest.raises(UserError, match="0 of the 12 pictures that were shown are in the list of repeated ones"):
        prepare_stimuli(stimuli, ["CSI1"], 16, tree / "stimuli")
    (stimuli / layout.REPEATED[1]).unlink()
    with pytest.raises(UserError, match=r"repeated_stimuli_113_list.txt: no such file"):
        prepare_stimuli(stimuli, ["CSI1"], 16, tree / "stimuli")
    with pytest.raises(UserError, match="CSI3: no presentation lists"):
        read_trials(stimuli, "CSI3")
    next(stimuli.rglob("*run01.txt")).write_text("\n")
    with pytest.raises(UserError, match=r"run01.txt: lists no picture; replace it"):
        read_trials(stimuli, "CSI1")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda path: np.save(path, np.zeros((15, 3))), "15 trials, but the presentation lists name 16"),
        (
            lambda path: np.save(path, np.zeros((16, 3, 1))),
            r"is \(16, 3, 1\) float64, not numbers of shape \(any, any\)",
        ),
        (lambda path: os.truncate(path, path.stat().st_size - 9), "not a complete"),
        (lambda path: path.write_bytes(b"PK\x03\x04"), "not a complete"),
        (lambda path: np.save(path, np.array([{"a": 1}])), "holds Python objects"),
    ],
)
def test_damaged_betas_are_named(tree, change, message):
    files.write_betas(tree)
    path = tree / layout.betas("CSI1", "EarlyVis", "RH")
    change(path)
    with pytest.raises(UserError, match=message) as caught:
        recording_of(tree)
    assert str(caught.value).startswith(str(path)) and ";" in str(caught.value)


def test_constant_voxels_are_left_out(tree):
    files.write_betas(tree)
    path = tree / layout.betas("CSI1", "PPA", "LH")
    block = np.load(path)
    block[:, 0] = 0
    np.save(path, block)
    recording, _ = recording_of(tree)
    assert recording.betas.shape == (16, 18) and recording.voxels["PPA"].sum() == 2
    assert recording.metadata["voxels_left_out"] == {"constant": 1, "not_finite": 0}


@pytest.mark.parametrize("normalise", ["session", "global"])
def test_voxels_that_are_nan_or_infinite_in_any_trial_are_left_out_and_counted(tree, normalise):
    files.write_betas(tree)
    expected, _ = recording_of(tree, OPTIONS | {"normalise": normalise})
    path = tree / layout.betas("CSI1", "PPA", "LH")
    block = np.load(path)
    block[3, 0], block[15, 1] = np.nan, -np.inf
    np.save(path, block)
    recording, _ = recording_of(tree, OPTIONS | {"normalise": normalise})
    assert recording.metadata["voxels_left_out"] == {"constant": 0, "not_finite": 2}
    kept = recording.voxels["x"].to_numpy()
    if normalise == "session":  # of each voxel alone, so the others do not change
        np.testing.assert_array_equal(recording.betas, expected.betas[:, np.isin(expected.voxels["x"], kept)])
    block[:] = np.nan
    for region in layout.REGIONS:
        for hemisphere in layout.HEMISPHERES:
            np.save(tree / layout.betas("CSI1", region, hemisphere), block)
    with pytest.raises(UserError, match=r"betas of CSI1: every voxel is NaN .*trial 1 has no other value.*replace"):
        recording_of(tree, OPTIONS | {"normalise": normalise})


def test_what_other_systems_leave_in_folders_is_not_read(tree):
    files.write_betas(tree)
    expected, _ = recording_of(tree)
    lists = sorted((tree / layout.STIMULI).rglob("*.txt"))
    for path in [*lists, *(tree / layout.STIMULI).rglob("*sess*")]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    for path in lists:
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes().replace(b"\n", b"\r\n"))
    again, _ = recording_of(tree)
    pd.testing.assert_frame_equal(again.trials, expected.trials)


def test_files_that_the_user_has_to_provide_are_named_before_the_run(tmp_path):
    settings = Settings.read({"source": "copy", "root": str(tmp_path)}, key="bold5000")
    dataset, study = Dataset("bold5000", FOLDER, settings), SimpleNamespace(recorded=["CSI1"])
    with pytest.raises(
        UserError, match=r"allses_LHEarlyVis.npy: no such file; download BOLD5000_GLMsingle_ROI_betas.zip"
    ):
        dataset.check(study)
    files.write_betas(tmp_path, folder="BOLD5000_GLMsingle_ROI_betas/py")  # unpacked into a folder of its name
    with pytest.raises(UserError, match=r"CSI1: no presentation lists; download BOLD5000_Stimuli.zip from https"):
        dataset.check(study)
    assert dataset.sessions == {"CSI1": 15, "CSI2": 15, "CSI3": 15, "CSI4": 9}
    files.write_lists(tmp_path)
    dataset.check(study)
    for wrong in (tmp_path / layout.STIMULI, tmp_path.with_name("nowhere") / tmp_path.name, tmp_path.parent):
        settings = Settings.read({"source": "copy", "root": str(wrong)}, key="bold5000")
        with pytest.raises(UserError, match=r"key 'bold5000.root': .*; (did you mean|correct the path)"):
            Dataset("bold5000", FOLDER, settings).check(study)
    assert dataset.sessions["CSI1"] == 2 and len(dataset.betas("CSI1")) == 10


def test_the_simulator_writes_the_published_layout(tmp_path):
    small = Simulation(seed=2, subjects=2, sessions=2, runs_per_session=2, trials_per_run=10, repeated=4, repeats=3,
                       voxels=40, image_size=16)  # fmt: skip
    simulator.simulate(tmp_path, small)
    stimuli = tmp_path / layout.STIMULI
    assert len(all_names(stimuli)) == 40 - 4 * 2 and len(repeated_names(stimuli)) == 4
    for subject in ("CSI1", "CSI2"):
        counts = read_trials(stimuli, subject)["name"].value_counts()
        assert counts[repeated_names(stimuli)].tolist() == [3] * 4 and (counts == 1).sum() == 28
        assert len(layout.find_betas(tmp_path, subject, layout.VERSION)) == 10
    first = stimuli / layout.LISTS / "CSI1/CSI1_sess01/CSI_sess01_run01.txt"
    assert len(first.read_text().splitlines()) == 10
    assert "rep_" in "".join(path.read_text() for path in stimuli.rglob("CSI_sess02*.txt"))
    recording, _ = recording_of(tmp_path)
    assert recording.betas.shape == (40, 40) and recording.voxels["EarlyVis"].sum() == 16
    assert 0.2 < recording.voxels["ncsnr"].median() < 1.2


def test_too_many_repeats_are_refused():
    with pytest.raises(
        UserError, match=r"key 'bold5000.simulation.repeated': 60 pictures, 4 times each, leave too few"
    ):
        Simulation.read({"seed": 1, "repeated": 60}, key="bold5000.simulation")
