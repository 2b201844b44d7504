"""The resting state as a pool of recordings without pictures: reading, averaging over windows, its place in a study."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.helpers.configurations import DEMO

from fmri2img.artifacts.recording import NO_IMAGE, Recording
from fmri2img.datasets.dataset import Dataset
from fmri2img.datasets.hcp import dataset, patterns, simulator
from fmri2img.datasets.hcp.settings import Settings, Simulation
from fmri2img.errors import UserError
from fmri2img.methods.plan import MethodQueries
from fmri2img.settings.configuration import read_configuration
from fmri2img.study import Study
from fmri2img.training.trials import open_trials

FOLDER = Path(dataset.__file__).parent


def write(path, volumes=47, dtype=np.float32, **changes):
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(10_000, 90, (volumes, size)).astype(dtype)
              for name, size in (("V4", 3), ("V1", 5), ("V2", 4), ("V3", 2))} | changes  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return arrays


@pytest.mark.parametrize("volumes", [40, 47, 9])
def test_patterns_are_means_over_windows_normalised_as_in_mind_vis(tmp_path, volumes):
    arrays = write(tmp_path / "100307" / dataset.FILE, volumes, np.float64)
    patterns.write_recording("hcp/100307", tmp_path / "100307" / dataset.FILE, 10, tmp_path / "recording")
    signal = np.concatenate([arrays[name] for name in ("V1", "V2", "V3", "V4")], axis=1)
    # 8 s hold ten volumes of 0.75 s; what is left over lengthens the first windows
    sizes = {40: [10] * 4, 47: [12, 12, 12, 11], 9: [9]}[volumes]
    ends = np.cumsum(sizes)
    means = np.stack([signal[end - size : end].mean(axis=0) for end, size in zip(ends, sizes, strict=True)])
    expected = (means - means.mean()) / means.std()
    recording = Recording.open(tmp_path / "recording")
    np.testing.assert_allclose(recording.betas, expected, atol=2e-3)
    assert (recording.trials["image_id"] == NO_IMAGE).all() and recording.test_sets == []
    assert recording.voxels[["V1", "V2", "V3", "V4"]].sum().tolist() == [5, 4, 2, 3]
    assert Settings.read({"source": "copy", "root": "x"}, key="hcp").volumes_per_window == 10


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"V3": None}, "has no array 'V3', only V4, V1, V2"),
        ({"V2": np.ones((46, 4))}, r"V1 to V4 have \[46, 47\] volumes"),
        ({"V2": np.ones(47)}, "array 'V2': is .* not numbers of shape"),
    ],
)
def test_a_wrong_file_is_named_with_the_remedy(tmp_path, changes, message):
    path = tmp_path / "100307" / dataset.FILE
    write(path, **changes)
    with pytest.raises(UserError, match=message) as caught:
        patterns.read_volumes(path)
    assert str(caught.value).startswith(str(path)) and ";" in str(caught.value)


def test_voxels_that_are_nan_or_infinite_are_left_out_and_counted(tmp_path):
    path = tmp_path / "100307" / dataset.FILE
    write(path)
    with np.load(path) as arrays:
        spoilt = arrays["V2"].copy()
    spoilt[5, 1], spoilt[0, 3] = np.nan, np.inf
    write(path, V2=spoilt)
    patterns.write_recording("hcp/100307", path, 10, tmp_path / "recording")
    recording = Recording.open(tmp_path / "recording")
    assert recording.metadata["voxels_left_out"] == {"not_finite": 2, "constant": 0}
    assert recording.voxels[["V1", "V2", "V3", "V4"]].sum().tolist() == [5, 2, 2, 3]
    assert recording.voxels["x"].tolist() == [0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13]
    write(path, V1=np.full((47, 5), np.nan), V2=spoilt * np.nan, V3=np.full((47, 2), np.nan), V4=spoilt[:, :3] * np.nan)
    with pytest.raises(UserError, match=r"every voxel is NaN or infinite in some trial"):
        patterns.write_recording("hcp/100307", path, 10, tmp_path / "recording")


def hcp(root, **changes):
    return dataset.Dataset("hcp", FOLDER, Settings.read({"source": "copy", "root": str(root)} | changes, key="hcp"))


def test_subjects_are_the_folders_that_hold_a_file(tmp_path):
    with pytest.raises(UserError, match=r"key 'hcp.root': there is no folder .*/there; .* or leave hcp out of pools"):
        hcp(tmp_path / "there").check(None)
    with pytest.raises(
        UserError, match=r"no folder of a subject with HCP_visual_voxel.npz; .* or leave hcp out of pools"
    ):
        hcp(tmp_path).check(None)
    write(tmp_path / "npz/100307" / dataset.FILE)
    write(tmp_path / "npz/100206/REST1_LR" / dataset.FILE)
    (tmp_path / "npz/999999").mkdir()
    with pytest.raises(UserError, match=rf"key 'hcp.root': .*; did you mean {tmp_path}/npz\?"):
        hcp(tmp_path / "npz" / "100307").check(None)
    assert hcp(tmp_path).sessions == hcp(tmp_path / "npz").sessions == {"100206": 1, "100307": 1}
    with pytest.raises(UserError, match=r"key 'hcp.terms_accepted': is false; read HCP's data use terms at https"):
        hcp(tmp_path).check_terms()
    hcp(tmp_path, terms_accepted=True).check_terms()


def test_the_simulator_writes_a_file_that_is_read_and_predicts_itself(tmp_path):
    settings = Simulation(seed=1, volumes=120, voxels=40, subjects=2)
    path = tmp_path / "100001" / dataset.FILE
    simulator.simulate(path, settings, "100001", 0)
    volumes, voxels = patterns.read_volumes(path)
    assert volumes.shape == (120, 40) and voxels == {"V1": 14, "V2": 12, "V3": 8, "V4": 6}
    neighbours = np.corrcoef(volumes.T).diagonal(1)
    assert 0.3 < neighbours.mean() < 0.9


class Queries(MethodQueries):
    """A study of GOD's subjects with one decoder that is pretrained, also on a pool."""

    def __init__(self, pool, subjects):
        training = {"pretrained": True, "settings": {}}
        entry = {"kind": "decoder", "decoder": "masked", "folder": "masked", "training": training, "task": "a:B"}
        self.registries = {"methods": {"masked": entry}}
        self.config = {"masked": {"pretraining": {"subjects": subjects, "pools": ["hcp"]}}}
        self.pools, self.subjects = {"hcp": pool}, ["Subject1"]
        self.available_sessions = {"Subject1": 3, "Subject2": 3, "Subject3": 3}


def test_a_pretraining_has_the_subjects_of_the_pools_that_its_settings_name(tmp_path):
    write(tmp_path / "100307" / dataset.FILE)
    write(tmp_path / "100206" / dataset.FILE)
    study = Queries(hcp(tmp_path), ["Subject2"])
    found = study.pretraining("masked", "Subject1")
    assert found.subjects == ["Subject2", "hcp/100206", "hcp/100307"] and found.path == "masked/Subject2+hcp"
    assert [study.recorded_sessions(subject) for subject in found.subjects] == [3, 1, 1]
    assert Queries(hcp(tmp_path), "all").pretraining("masked", "Subject1").path == "masked/without_Subject1+hcp"


def test_recordings_without_pictures_train_next_to_those_of_any_split(tmp_path):
    write(tmp_path / "100307" / dataset.FILE, 400)
    path = tmp_path / "recording"
    patterns.write_recording("hcp/100307", tmp_path / "100307" / dataset.FILE, 10, path)
    (trials,) = open_trials({"hcp/100307": path}, {"hcp/100307": 1}, 0.1, 0)
    assert len(trials.rows) == 40 and not len(trials.held_out)


def test_a_study_names_its_pools_and_their_settings(tmp_path):
    write(tmp_path / "100307" / dataset.FILE)
    section = {"source": "copy", "root": str(tmp_path)}
    study = Study(DEMO | {"pools": ["hcp"], "hcp": section})
    assert list(study.pools) == ["hcp"] and study.pools["hcp"].sessions == {"100307": 1}
    assert "hcp" not in read_configuration(DEMO | {"pools": [], "hcp": section}).to_dict()
    for change, message in [
        ({"pools": ["hpc"]}, "key 'pools': there is no dataset 'hpc'; did you mean 'hcp'?"),
        ({"pools": ["nsd"]}, "key 'pools': nsd is a dataset with pictures"),
        ({"dataset": "hcp"}, "key 'dataset': hcp has no pictures; name it under pools"),
    ]:
        with pytest.raises(UserError) as caught:
            Study(DEMO | {"hcp": section} | change)
        assert message in str(caught.value)


def test_only_a_pool_or_a_class_that_finds_them_has_no_subjects_and_splits(tmp_path):
    sizes = dict.fromkeys(("images", "image_size", "test_images", "session_trials", "voxels"), 1)
    record = {"title": "T", "description": "D", "reference": "R", "captions": False, "sizes": sizes}
    record["licence"] = {"name": "n", "url": "u"}
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(record | {"pool": True}))
    assert Dataset("toy", tmp_path).splits == {}
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(record))
    with pytest.raises(UserError, match=r"dataset.yaml: key 'subjects': is empty; give at least 1"):
        Dataset("toy", tmp_path)

    class Finds(Dataset):
        sessions = property(lambda self: {"sub-01": 1})

    with pytest.raises(UserError, match=r"dataset.yaml: key 'splits': is empty; give at least 1"):
        Finds("toy", tmp_path)
