"""The simulated NSD-Imagery and NSD-Synthetic: their files are read as the real ones, and what was planted is found."""

import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat
from simulated_nsd import CONFIGURATION

from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.betas import read_masked_session
from fmri2img.datasets.nsd.simulator import Simulation, simulate_stimuli, simulate_transfer, simulate_transfer_stimuli
from fmri2img.datasets.nsd.simulator import volumes as anatomies
from fmri2img.datasets.nsd.simulator.transfer import NOISE, STRENGTH
from fmri2img.datasets.nsd.transfer_pictures import transfer_pictures
from fmri2img.datasets.nsd.transfer_sets import EXPERIMENT, experiments, image_ids, picture_keys, trial_keys
from fmri2img.datasets.nsd.transfer_trials import read_imagery, read_volumes
from fmri2img.datasets.nsd.volumes import read_volume

SUBJECT, TEST_SETS = "subj02", list(EXPERIMENT)  # of the simulated subjects, the one whose head moved


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder, simulation = tmp_path_factory.mktemp("simulated"), Simulation.from_config(CONFIGURATION)
    simulate_stimuli(folder, simulation)
    for experiment in experiments(TEST_SETS):
        simulate_transfer_stimuli(folder, simulation, experiment)
    simulate_transfer(folder, simulation, SUBJECT, experiments(TEST_SETS))
    return folder


@pytest.fixture(scope="module")
def truth(root):
    """signal (pictures, voxels of nsdgeneral), ncsnr and scale (voxels,)."""
    return dict(np.load(root / f"ground_truth/{SUBJECT}_transfer.npz"))


@pytest.fixture(scope="module")
def volumes(root):
    return read_volumes(SUBJECT, TEST_SETS, {key: root / key for key in trial_keys(SUBJECT, TEST_SETS)})


@pytest.fixture(scope="module")
def betas(root, truth, volumes):
    """Percent signal change over scale, of voxels with data: experiment -> (volumes, voxels)."""
    simulation = Simulation.from_config(CONFIGURATION)
    anatomy = anatomies.build(simulation.subjects[SUBJECT].dims, simulation.stream(SUBJECT, "anatomy"))
    mask = anatomy.rois["nsdgeneral"] == 1
    return {
        experiment: read_masked_session(root / layout.experiment_betas(SUBJECT, "b3", experiment), mask, len(table))
        / layout.INT16_PER_PERCENT
        / truth["scale"]
        for experiment, table in volumes.items()
    }


def place(image_id: int) -> int:
    """The row of the truth of a picture."""
    if image_id < 110_000:
        return image_id % 1000
    return 12 + (image_id - 110_000 if image_id < 120_000 else 220 + image_id % 100)


def within(values, groups):
    return values - pd.DataFrame(values).groupby(groups).transform("mean").to_numpy()


def fitted(betas, volumes, truth, task, epoch=""):
    """Strength of the true response in the betas of a task, and deviation of what is left."""
    experiment = EXPERIMENT.get(task, layout.SYNTHETIC)
    table = volumes[experiment]
    rows = np.flatnonzero((table["test_set"] == task) & (table["epoch"] == epoch))
    signal = truth["ncsnr"] * truth["signal"][[place(i) for i in table["image_id"].iloc[rows]]]
    run = table["run"].iloc[rows].to_numpy()
    x, y = within(signal, run), within(betas[experiment][rows], run)
    with_data = y.std(axis=0) > 0
    x, y = x[:, with_data], y[:, with_data]
    slope = (x * y).sum() / (x * x).sum()
    return slope, (y - slope * x).std()


def test_planted_strength_and_noise_are_found(betas, volumes, truth):
    seen, noise = fitted(betas, volumes, truth, "vision")
    found = {
        "imagery": fitted(betas, volumes, truth, "imagery"),
        "attention": fitted(betas, volumes, truth, "attention", "detection"),
    }
    for task, (slope, deviation) in found.items():
        assert slope / seen == pytest.approx(STRENGTH[task], abs=0.1)
        assert deviation / noise == pytest.approx(NOISE[task], abs=0.06)
    assert seen > found["attention"][0] > found["imagery"][0] > 0.2
    cued = fitted(betas, volumes, truth, "attention", "cue")[0]
    assert cued / seen == pytest.approx(STRENGTH["imagery"], abs=0.08)
    assert fitted(betas, volumes, truth, "synthetic")[0] == pytest.approx(1, abs=0.35)  # times the session's gain


def test_the_wrong_map_finds_nothing_of_imagery(betas, volumes, truth):
    """Volume n read as trial n: pictures are those of trials 432 to 575 in place of runs imgA_1, imgB_1, ..."""
    table = volumes[layout.IMAGERY]
    trials = table[table["epoch"] != "detection"].reset_index(drop=True)  # 576 rows: one a trial
    wrong = {layout.IMAGERY: pd.concat([trials, trials.iloc[:144].assign(test_set="")], ignore_index=True)}
    assert len(wrong[layout.IMAGERY]) == 720
    right = fitted(betas, volumes, truth, "imagery")[0]
    assert abs(fitted(betas, wrong, truth, "imagery")[0]) < 0.3 * right


def test_files_are_as_the_loaders_of_others_expect_them(root):
    stimulus = loadmat(root / layout.IMAGERY_DESIGN)["stimulus"].ravel()
    events = [int(np.count_nonzero(run)) for run in stimulus]
    assert events == [48, 96, 48] * 3 + [48] * 3
    assert {run.shape for run in stimulus} == {(240, 36), (480, 36)}
    pairs = loadmat(root / "nsddata/experiments/nsdimagery/B_pair_list.mat", squeeze_me=True)["pair_list"]
    assert pairs.shape == (6, 3) and [row.tolist() for row in pairs[[0, 5]]] == [
        [1, "shared0385_nsd28752.png", "W"], [6, "shared0000_nsd00000.png", "T"],
    ]  # fmt: skip
    order = loadmat(root / layout.SYNTHETIC_DESIGN)
    assert order["masterordering"].shape == (1, 744) and order["stimpattern"].shape == (1, 8, 107)
    assert (order["stimpattern"].sum(axis=2) == 93).all()
    shown = np.bincount(order["masterordering"].ravel().astype(int), minlength=285)
    assert shown[0] == 0 and shown[1:].min() >= 2
    information = pd.read_csv(root / layout.SYNTHETIC_INFO)
    assert list(information) == [
        "Image number", "Image", "Image subclass number", "Image subclass", "Image class number", "Image class",
    ]  # fmt: skip
    assert information["Image subclass number"].nunique() == 71 and information["Image"].is_unique
    words = information[information["Image class"] == "Single words"]["Image"]
    assert len(words) == 40 and {"word4_pos1_1", "word6_pos5_4"} <= set(words)


def test_vision_trials_carry_wrong_letters_and_imagery_none(root):
    tables = {run: pd.read_csv(root / layout.imagery_responses(SUBJECT, run), sep="\t") for run in layout.IMAGERY_RUNS}
    assert set(map(len, tables.values())) == {48} and list(tables["visA"])[3:6] == ["TRIAL", "CONDITION", "CUE"]
    for run, table in tables.items():
        share = (table["CONDITION"] != table["CUE"]).mean()
        assert share == (0.5 if run.startswith("vis") else 0)
        assert table["CONDITION"].value_counts().tolist() == [8] * 6
    read_imagery({run: root / layout.imagery_responses(SUBJECT, run) for run in tables}, root / layout.IMAGERY_DESIGN)


def test_pictures_are_read_and_the_words_outside_flagged(root):
    files = {key: root / key for key in picture_keys([SUBJECT], TEST_SETS)}
    table, pictures = transfer_pictures(TEST_SETS, [SUBJECT], files, CONFIGURATION["image_size"])
    assert len(table) == len(pictures) == sum(len(image_ids(name, [SUBJECT])) for name in TEST_SETS)
    flagged = table.loc[table["flag"].notna(), "name"]
    assert sorted(flagged) == sorted(f"word{n}_pos{p}_{k}" for n in (4, 6) for p in (1, 5) for k in range(1, 5))
    by_source = table["source"].value_counts()
    assert by_source["nsdsynthetic_spiral_gratings"] == 112 and by_source["nsdsynthetic_chromatic_noise"] == 68
    grey = pictures[(table["source"] != "nsdsynthetic_chromatic_noise") & (table["image_id"] >= 110_000)]
    assert (np.ptp(grey, axis=3) == 0).all()
    coloured = pictures[table["image_id"] >= 120_000]
    assert (np.ptp(coloured, axis=3) > 0).any(axis=(1, 2)).all()
    assert len({picture.tobytes() for picture in pictures[:12]}) == 12
    np.testing.assert_array_equal(pictures[:12], pictures[12:24])  # seen and imagined: the same pictures


def test_another_subject_sees_other_colours(root):
    files = {key: root / key for key in picture_keys(["subj01", SUBJECT], ["synthetic"])}
    table, pictures = transfer_pictures(["synthetic"], ["subj01", SUBJECT], files, 32)
    one, other = (pictures[table["image_id"] // 100 == 1200 + number] for number in (1, 2))
    assert one.shape == other.shape == (64, 32, 32, 3) and (one != other).any()


def test_some_voxels_left_the_scanned_volume(root):
    valid = read_volume(root / layout.experiment_valid(SUBJECT, layout.IMAGERY))
    assert set(np.unique(valid)) == {0, 1} and 0 < (valid == 0).sum() < 0.02 * valid.size
    everything = np.ones(valid.shape, bool)
    betas = read_masked_session(root / layout.experiment_betas(SUBJECT, "b3", layout.IMAGERY), everything, 720)
    assert not betas[:, valid[everything] == 0].any()
    zipped = root / layout.experiment_betas(SUBJECT, "b3", layout.IMAGERY, "nii.gz")
    np.testing.assert_array_equal(read_masked_session(zipped, everything, 720), betas)


def test_a_seed_fixes_every_byte(root, tmp_path):
    simulation = Simulation.from_config(CONFIGURATION)
    for experiment in experiments(TEST_SETS):
        simulate_transfer_stimuli(tmp_path, simulation, experiment)
    again = [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith("checksums.json")]
    assert len(again) > 20
    for path in again:
        assert path.read_bytes() == (root / path.relative_to(tmp_path)).read_bytes(), path
