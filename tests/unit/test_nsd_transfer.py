"""NSD-Imagery and NSD-Synthetic as test sets: the map of 720 volumes, labels, z-scores, pictures, and what stays.

Files are those of transfer_files.py, written without the library.
"""

import csv

import numpy as np
import pandas as pd
import pytest
from configurations import merged
from nsd_tree import PER_SESSION, SIZE, Tree, save_betas, save_volume
from prepared import DESIGN, STIMULUS_INFO, record, responses, stimuli
from transfer_files import BLANK, BLOCKS, LETTERS, PICTURES, TransferFiles

from fmri2img.artifacts.splits import Split
from fmri2img.datasets.nsd.scripts.list_test_images import list_test_images
from fmri2img.datasets.nsd.scripts.make_splits import make_splits
from fmri2img.datasets.nsd.scripts.mask_experiment import mask_experiment
from fmri2img.datasets.nsd.transfer_pictures import OUTSIDE
from fmri2img.datasets.nsd.transfer_sets import image_ids, picture_keys, trial_keys
from fmri2img.datasets.nsd.transfer_trials import imagery_volumes, read_imagery
from fmri2img.errors import UserError
from fmri2img.study import Study
from fmri2img.training.trials import open_trials

ALL = ["vision", "imagery", "attention", "synthetic"]
DESIGNS = {
    "nsdimagery": "nsddata/experiments/nsdimagery/designmatrixGLMsingle.mat",
    "nsdsynthetic": "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat",
}
TASK = {"vis": "vision", "att": "attention", "img": "imagery"}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    tree = Tree(tmp_path_factory.mktemp("transfer") / "tree")
    return tree, TransferFiles(tree)


@pytest.fixture
def written(tmp_path):
    """A tree whose files a test may change."""
    tree = Tree(tmp_path / "tree")
    return tree, TransferFiles(tree)


def split_of(tree, test_sets=ALL, number=0):
    return make_splits(tree.root / DESIGN, 2, test_sets, ["subj01"])[number]


def recorded(written, results, test_sets=ALL, normalise="published", split=None):
    """The recording of subject 1 with further test sets."""
    tree, _ = written
    masked = {}
    for experiment in dict.fromkeys("nsdsynthetic" if name == "synthetic" else "nsdimagery" for name in test_sets):
        masked[experiment] = results / f"{experiment}.npy"
        betas = written[1].betas_file(experiment)
        mask_experiment(experiment, betas, tree.roi("subj01"), tree.root / DESIGNS[experiment], masked[experiment])
    keys = trial_keys("subj01", test_sets)
    keys += [f"nsddata/ppdata/subj01/func1pt8mm/valid_{experiment}.nii.gz" for experiment in masked]
    transfer = {"test_sets": list(test_sets), "normalise": normalise, "masked": masked}
    files = [tree.root / key for key in keys]
    return record(tree, results, split=split or split_of(tree, test_sets), transfer=transfer, further=files)


@pytest.fixture(scope="module")
def whole(pristine, tmp_path_factory):
    return recorded(pristine, tmp_path_factory.mktemp("whole"))


def runs_of(files):
    return {run: files.run_file(run) for run in BLOCKS}


# Which volume is which trial


def test_the_720_volumes_are_those_of_the_manual():
    volumes = imagery_volumes()
    assert len(volumes) == 720 and len(volumes.groupby(["run", "trial"])) == 576
    for run, (first, last) in BLOCKS.items():
        block = volumes.iloc[first:last]
        assert set(block["run_name"]) == {run} and set(block["task"]) == {TASK[run[:3]]}
        assert set(block["stimulus_set"]) == {run[3]}
        cue = block["epoch"].to_numpy()
        if run.startswith("att"):
            assert cue.tolist() == ["cue", "detection"] * 48
            assert block["trial"].tolist() == np.repeat(np.arange(48), 2).tolist()
        else:
            assert set(cue) == {""} and block["trial"].tolist() == list(range(48))


def test_a_volume_is_not_a_trial(pristine):
    """The wrong reading, volume n is trial n: most imagery would have another trial's picture, or none."""
    found = read_imagery(runs_of(pristine[1]), pristine[0].root / DESIGNS["nsdimagery"])
    naive = [(run, trial) for run in BLOCKS for trial in range(48)]
    right = found[["run_name", "trial"]].apply(tuple, axis=1).tolist()
    agreeing = [volume for volume, trial in enumerate(naive) if trial == right[volume]]
    assert agreeing == [*range(48), 48]  # the first run, and the first cue of the second
    letters = [pristine[1].cue[run][trial] for run, trial in naive]
    imagined = np.flatnonzero(found["task"][:576] == "imagery")
    assert (found["letter"].to_numpy()[imagined] == np.array(letters)[imagined]).mean() < 0.3


def test_betas_with_one_volume_a_trial_are_refused(written, tmp_path):
    save_betas(written[1].betas_file("nsdimagery"), written[1].betas["nsdimagery"][:576])
    with pytest.raises(UserError, match=r"betas_nsdimagery.hdf5: 576 trials, but designmatrixGLMsingle.mat lists 720"):
        recorded(written, tmp_path)


def test_seen_pictures_are_the_condition_and_imagined_ones_the_cue(pristine):
    files = pristine[1]
    found = read_imagery(runs_of(files), pristine[0].root / DESIGNS["nsdimagery"])
    for run, (first, last) in BLOCKS.items():
        expected = files.condition[run] if run.startswith("vis") else files.cue[run]
        each = 2 if run.startswith("att") else 1
        assert found["letter"][first:last].tolist() == np.repeat(expected, each).tolist()
    assert (files.condition["visA"] != files.cue["visA"]).any()
    seen = found[found["task"] == "vision"]["letter"].value_counts()
    imagined = found[found["task"] == "imagery"]["letter"].value_counts()
    assert set(seen) == {8} and set(imagined) == {16}
    name = dict(zip(LETTERS["A"] + LETTERS["B"], PICTURES["A"] + PICTURES["B"], strict=True))
    pictured = found[found["stimulus_set"] != "C"]
    assert pictured["name"].tolist() == [name[letter] for letter in pictured["letter"]]


def edit(path, change):
    with open(path, newline="") as file:
        header, *rows = csv.reader(file, delimiter="\t")
    rows = change(rows, header.index)
    with open(path, "w", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([header, *rows])


def exchanged(rows, at):
    """Two trials that imagine different pictures change places."""
    other = next(k for k, row in enumerate(rows) if row[at("CUE")] != rows[0][at("CUE")])
    for column in ("CUE", "CONDITION"):
        one = at(column)
        rows[0][one], rows[other][one] = rows[other][one], rows[0][one]
    return rows


def renamed(rows, at):
    rows[5][at("CUE")] = "Q"
    return rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (exchanged, "imgB_2.tsv: lists the trials of run imgB_2 in another order than .*designmatrixGLMsingle.mat"),
        (renamed, "imgB_2.tsv: CUE 'Q' is not one of W, K, B, C, D, T"),
        (lambda rows, at: rows[:-1], "imgB_2.tsv: does not list trials 1 to 48, each once"),
    ],
)
def test_a_run_that_does_not_fit_the_design_is_refused(written, change, message):
    edit(written[1].run_file("imgB_2"), change)
    with pytest.raises(UserError, match=message):
        read_imagery(runs_of(written[1]), written[0].root / DESIGNS["nsdimagery"])


def test_the_order_of_rows_in_a_run_does_not_matter(written):
    before = read_imagery(runs_of(written[1]), written[0].root / DESIGNS["nsdimagery"])
    edit(written[1].run_file("attC"), lambda rows, at: rows[::-1])
    pd.testing.assert_frame_equal(read_imagery(runs_of(written[1]), written[0].root / DESIGNS["nsdimagery"]), before)


# The recording


def test_nothing_of_the_main_sessions_changes(pristine, whole, tmp_path):
    alone = record(pristine[0], tmp_path)
    n = len(alone.trials)
    assert whole.betas[:n].tobytes() == alone.betas.tobytes()
    pd.testing.assert_frame_equal(whole.voxels, alone.voxels)
    pd.testing.assert_frame_equal(whole.trials[alone.trials.columns][:n], alone.trials, check_dtype=False)
    assert set(whole.trials["part"][n:]) == set(ALL) and set(whole.trials["session"][n:]) == {0}
    assert whole.n_sessions == alone.n_sessions == 3
    for sessions in (1, 2, 2.5, 3):
        np.testing.assert_array_equal(whole.training_rows(sessions), alone.training_rows(sessions))
    np.testing.assert_array_equal(whole.test_rows("shared1000"), alone.test_rows("shared1000"))
    with pytest.raises(UserError, match="4 training sessions requested, but subj01 has 3"):
        whole.training_rows(4)
    (one,), (other,) = (open_trials({"subj01": path}, {"subj01": 2}, 0.0, 0) for path in (whole.path, alone.path))
    assert one.epoch_trials == other.epoch_trials == 2 * PER_SESSION
    assert "transfer" not in alone.metadata and list(alone.trials) == [c for c in whole.trials if c in alone.trials]


def psc_of(pristine, experiment):
    general = pristine[0].labels["subj01"]["nsdgeneral"] == 1
    return pristine[1].betas[experiment].astype(np.float64)[:, general] / 300


def textbook(psc, groups):
    frame = pd.DataFrame(psc).groupby(groups)
    return ((psc - frame.transform("mean")) / frame.transform("std")).to_numpy()


def used_imagery():
    """The volumes of sets A and B, and the run of each of the 720."""
    run = np.concatenate([[name] * (last - first) for name, (first, last) in BLOCKS.items()])
    return np.flatnonzero([name[3] != "C" for name in run]), run


@pytest.mark.parametrize("normalise", ["published", "session", "training"])
def test_zscores_by_the_textbook(pristine, tmp_path, normalise):
    found = recorded(pristine, tmp_path, normalise=normalise)
    used, run = used_imagery()
    imagery, synthetic = psc_of(pristine, "nsdimagery"), psc_of(pristine, "nsdsynthetic")
    if normalise == "training":
        tree = pristine[0]
        psc = tree.betas["subj01"].astype(np.float64)[:, tree.labels["subj01"]["nsdgeneral"] == 1] / 300
        training = psc[~np.isin(tree.ids("subj01"), tree.shared)]
        expected = [(part - training.mean(0)) / training.std(0, ddof=1) for part in (imagery, synthetic)]
    else:
        groups = run if normalise == "published" else np.zeros(720)
        expected = [textbook(imagery, groups), textbook(synthetic, np.zeros(744))]
    expected = np.concatenate([expected[0][used], expected[1]])
    np.testing.assert_allclose(found.betas[-len(expected) :], expected, rtol=1e-4, atol=1e-4)
    by = {"published": ("run", "session"), "session": ("session",) * 2, "training": ("training",) * 2}[normalise]
    assert found.metadata["transfer"]["normalise"] == dict(zip(("nsdimagery", "nsdsynthetic"), by, strict=True))


def test_every_volume_has_its_picture_task_and_repeat(pristine, whole):
    files, trials = pristine[1], whole.trials[whole.trials["experiment"] != "nsd"]
    used, run = used_imagery()
    imagery = trials[trials["experiment"] == "nsdimagery"]
    assert len(imagery) == 480
    first = {"vision": 101_000, "imagery": 102_000, "attention": 103_000}
    known = LETTERS["A"] + LETTERS["B"]
    for volume, row in zip(used, imagery.itertuples(), strict=True):
        task, start = TASK[run[volume][:3]], BLOCKS[run[volume]][0]
        trial = (volume - start) // (2 if task == "attention" else 1)
        letter = (files.condition if task == "vision" else files.cue)[run[volume]][trial]
        assert (row.part, row.task, row.image_id) == (task, task, first[task] + known.index(letter))
    assert imagery.groupby("image_id").size().groupby(lambda i: i // 1000).first().tolist() == [8, 16, 16]
    for _, of_image in imagery.groupby("image_id"):
        assert of_image["repeat"].tolist() == list(range(len(of_image)))
    assert imagery["is_correct"].isna().sum() == 2 + 4 + 2 * 2 and trials["is_old"].isna().all()
    assert imagery[imagery["task"] == "attention"]["epoch"].tolist() == ["cue", "detection"] * 96

    synthetic = trials[trials["experiment"] == "nsdsynthetic"]
    expected = [110_000 + n if n < 220 else 120_100 + n - 220 for n in files.order]
    assert synthetic["image_id"].tolist() == expected and set(synthetic["part"]) == {"synthetic"}
    assert synthetic["run"].tolist() == np.repeat(np.arange(1, 9), 93).tolist()
    assert synthetic.groupby("task")["run"].unique().map(list).to_dict() == {
        "fixation": [1, 3, 5, 7], "one-back": [2, 4, 6, 8],
    }  # fmt: skip
    assert whole.trials["trial"].is_unique and whole.trials["trial"].is_monotonic_increasing


def test_a_voxel_without_data_there_is_0_there_and_stays_a_voxel(written, tmp_path):
    tree, files = written
    before = recorded(written, tmp_path / "a")
    x, y, z = np.argwhere(tree.labels["subj01"]["nsdgeneral"] == 1)[[4, 9]].T
    valid = np.ones(tree.labels["subj01"]["nsdgeneral"].shape, np.int16)
    valid[x[0], y[0], z[0]] = 0
    save_volume(files.valid_file("nsdimagery"), valid)
    values = files.betas["nsdimagery"].copy()
    values[576:624, x[1], y[1], z[1]] = 0  # in one run
    save_betas(files.betas_file("nsdimagery"), values)
    after = recorded(written, tmp_path / "b")
    pd.testing.assert_frame_equal(after.voxels, before.voxels)
    of_imagery = (after.trials["experiment"] == "nsdimagery").to_numpy()
    assert not after.betas[np.ix_(of_imagery, [4, 9])].any()
    others = np.delete(np.arange(len(after.voxels)), [4, 9])
    np.testing.assert_array_equal(after.betas[:, others], before.betas[:, others])
    np.testing.assert_array_equal(after.betas[~of_imagery], before.betas[~of_imagery])
    assert after.metadata["transfer"]["voxels_without_data"] == {"nsdimagery": 2, "nsdsynthetic": 0}
    assert after.metadata["transfer"]["volumes_unused"] == {"nsdimagery": 240, "nsdsynthetic": 0}


def test_only_the_test_sets_that_are_asked_for_are_there(pristine, tmp_path):
    found = recorded(pristine, tmp_path, ["imagery"])
    assert found.test_sets == ["shared1000", "imagery"]
    assert found.trials["part"].value_counts()["imagery"] == 192 and set(found.trials["task"][72:]) == {"imagery"}


# Splits, test images, pictures


def test_the_same_images_are_listed_without_betas(pristine, whole, tmp_path):
    tree = pristine[0]
    for number, name in enumerate(("shared1000", "shared982")):
        split_of(tree, number=number).save(tmp_path / "split.json")
        split = Split.open(tmp_path / "split.json")
        assert list(split.test_sets) == [name, *ALL]
        files = {key: tree.root / key for key in trial_keys("subj01", ALL)}
        own = (tree.root / key for key in (responses("subj01"), DESIGN, STIMULUS_INFO))
        listed = list_test_images("subj01", 3, tmp_path / "split.json", *own, ALL, files)
        for test_set in ALL:  # sessions after the last that shared982 uses leave them alone
            np.testing.assert_array_equal(listed.test_sets[test_set], whole.test_ids(test_set))
            assert split.test_sets[test_set] == image_ids(test_set, ["subj01"])
        # What NSD's own tables call its images is known of those alone.
        assert set(listed.only(name).numberings) == {"73KID", "10KID", "shared1000", "coco_id"}
        assert listed.only("imagery").numberings == {}
    alone = make_splits(tree.root / DESIGN, 2)
    assert [list(split.test_sets) for split in alone] == [["shared1000"], ["shared982"]]


def test_pictures_are_what_photographs_would_be_and_words_outside_are_flagged(pristine, tmp_path):
    tree, files = pristine
    keys = picture_keys(["subj01"], ALL)
    transfer = {"test_sets": ALL, "subjects": ["subj01"], "files": {key: tree.root / key for key in keys}}
    alone, found = stimuli(tree, tmp_path / "a"), stimuli(tree, tmp_path / "b", transfer=transfer)
    n = len(alone.ids)
    np.testing.assert_array_equal(found.ids[:n], alone.ids)
    np.testing.assert_array_equal(found.images[:n], alone.images)
    assert found.images.shape[1:] == (SIZE, SIZE, 3)
    table = found.table.set_index("image_id")
    assert found.captions[n:] == [None] * (len(found.ids) - n) and None not in found.captions[:n]
    for first in (101_000, 102_000, 103_000):
        names = table.loc[first : first + 11]
        assert names["name"].tolist() == PICTURES["A"] + PICTURES["B"]
        assert names["source"].tolist() == ["nsdimagery_A"] * 6 + ["nsdimagery_B"] * 6
        for image_id, name in names["name"].items():
            np.testing.assert_array_equal(found.images[found.rows([image_id])[0]], files.targets[name])
    # As the authors' code: root of the stored pixel, rounded down; then the middle of the screen.
    expected = (np.sqrt(files.pictures / 255) * 255).astype(np.uint8)[:, :, 4:12]
    ids = np.concatenate([110_000 + np.arange(220), 120_100 + np.arange(64)])
    np.testing.assert_array_equal(found.images[found.rows(ids)], expected)
    flagged = table.index[table["flag"] == OUTSIDE]
    assert flagged.tolist() == [110_000 + number for number in BLANK] and table["flag"].isna().sum() == len(table) - 2
    assert table.loc[110_039, "source"] == "nsdsynthetic_single_words" and table.loc[120_163, "name"] == "image_283"
    assert table.loc[120_163, "source"] == "nsdsynthetic_chromatic_noise"


def test_the_colours_are_those_of_the_subject():
    assert image_ids("synthetic", ["subj02"]) == [*range(110_000, 110_220), *range(120_200, 120_264)]
    both = image_ids("synthetic", ["subj02", "subj08"])
    assert len(both) == 220 + 128 and both[-1] == 120_863 and both == sorted(set(both))


# Configuration


def study(**nsd):
    config = merged("transfer.yaml")
    split = nsd.pop("split", config["split"])
    return Study(config | {"split": split, "nsd": config["nsd"] | nsd})


def test_test_sets_stand_after_that_of_the_split_in_one_order():
    assert study(transfer=["synthetic", "vision"]).test_sets == ["shared1000", "vision", "synthetic"]
    assert study(split="shared982", transfer=["attention"]).test_sets == ["shared982", "attention"]
    assert study(transfer=[]).test_sets == ["shared1000"]


@pytest.mark.parametrize(
    ("nsd", "message"),
    [
        ({"transfer": ["dreams"]}, r"nsd\.transfer"),
        ({"split": "cluster0"}, r"nsd\.transfer': split cluster0 is computed from all pictures.*set it to \[\]"),
        ({"source": "images", "images": {"fetched": "x", "pictures": "y", "ids": "z"}}, "needs recordings"),
    ],
)
def test_what_cannot_be_tested_is_refused_before_any_job(nsd, message):
    with pytest.raises(UserError, match=message) as error:
        study(**nsd)
    assert "\n" not in str(error.value)
