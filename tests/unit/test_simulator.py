"""The simulator's statistics, its generative model, and that a seed fixes every byte."""

import hashlib

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from simulated_nsd import CONFIGURATION, write_tree
from sklearn.linear_model import RidgeCV

from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.simulator import Simulation, simulate_stimuli, stimuli
from fmri2img.datasets.nsd.simulator.brain import session_turn
from fmri2img.datasets.nsd.simulator.design import plan, trial_order
from fmri2img.datasets.nsd.volumes import read_mask
from fmri2img.datasets.scenes import CATEGORIES
from fmri2img.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="module")
def truth(root):
    return {subject: dict(np.load(root / f"ground_truth/{subject}.npz")) for subject in CONFIGURATION["subjects"]}


@pytest.fixture(scope="module")
def full_order():
    """The order of NSD at its full size: 10,000 images, 40 sessions of 750 trials."""
    return trial_order(10_000, 40, np.random.default_rng(0))


def session_betas(root, subject, version, session, voxels):
    with h5py.File(root / layout.betas(subject, version, session)) as file:
        return file["betas"][:].T[tuple(voxels.T)].T / 300.0


def z_scored(root, subject, version, voxels):
    sessions = CONFIGURATION["subjects"][subject]["sessions"]
    blocks = [session_betas(root, subject, version, k, voxels) for k in range(1, sessions + 1)]
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.concatenate([(b - b.mean(0)) / b.std(0) for b in blocks]))


def trials(root, subject):
    return pd.read_csv(root / layout.responses(subject), sep="\t")


@pytest.mark.parametrize(
    "sessions, once, twice, thrice",
    [(27, 8779, None, None), (29, 9082, None, None), (30, 9209, 7846, 5445), (32, 9411, 8355, 6234),
     (37, 9841, None, None), (40, 10_000, 10_000, 10_000)],
)  # fmt: skip
def test_order_reproduces_the_published_image_counts(full_order, sessions, once, twice, thrice):
    times = np.bincount(full_order[: 750 * sessions], minlength=10_000)
    assert (times >= 1).sum() == pytest.approx(once, rel=0.01)
    if twice:
        assert (times >= 2).sum() == pytest.approx(twice, rel=0.015)
        assert (times >= 3).sum() == pytest.approx(thrice, rel=0.025)


def test_order_repeats_images_within_a_session_as_published(full_order):
    counts = np.zeros(4)
    for session in full_order.reshape(40, 750):
        counts += np.bincount(np.bincount(session), minlength=4)[:4]
    assert counts[1:] / 40 == pytest.approx([437, 106, 34], rel=0.06)


def test_shared_images_reach_shorter_participations_as_published(full_order):
    for sessions, seen in ((30, 907), (32, 930)):
        assert len(np.unique(full_order[: 750 * sessions][full_order[: 750 * sessions] < 1000])) == pytest.approx(
            seen, abs=30
        )


def test_recovered_ncsnr_follows_the_true_one(root, truth):
    for subject, known in truth.items():
        mask = read_mask(root / layout.roi(subject, "nsdgeneral"))
        for version in ("b2", "b3"):
            stored = nibabel.load(root / layout.ncsnr(subject, version)).get_fdata()[tuple(known["voxels"].T)]
            general = known["nsdgeneral"]
            assert np.array_equal(mask[tuple(known["voxels"].T)], general)
            assert np.corrcoef(stored[general], known[f"ncsnr_{version}"][general])[0, 1] > 0.75
            assert np.median(stored[general]) == pytest.approx(np.median(known[f"ncsnr_{version}"][general]), abs=0.1)
            assert stored[general].mean() > 2 * stored[~general].mean()
        assert np.allclose(known["ncsnr_b2"], 0.85 * known["ncsnr_b3"])


def test_true_ncsnr_has_the_configured_median(truth):
    for subject, known in truth.items():
        median = np.median(known["ncsnr_b3"][known["nsdgeneral"]])
        assert median == pytest.approx(CONFIGURATION["subjects"][subject]["ncsnr"], abs=0.08)


def test_betas_repeat_the_noise_free_response(root, truth):
    """The mean of an image's betas correlates with its noise-free response about as the true ncsnr predicts."""
    known = truth["subj01"]
    voxels = known["voxels"][known["nsdgeneral"]]
    ids = trials(root, "subj01")["73KID"].to_numpy() - 1
    mean = pd.DataFrame(z_scored(root, "subj01", "b3", voxels)).groupby(ids).mean()
    signal = known["signal"][mean.index]
    measured = [np.corrcoef(mean[v], signal[:, v])[0, 1] for v in range(len(voxels))]
    ncsnr = known["ncsnr_b3"][known["nsdgeneral"]]
    predicted = ncsnr / np.sqrt(ncsnr**2 + 1 / 3)
    assert np.corrcoef(measured, predicted)[0, 1] > 0.9
    assert np.mean(measured) == pytest.approx(np.mean(predicted), abs=0.06)


def test_version_b2_is_version_b3_with_more_noise(root, truth):
    known = truth["subj01"]
    voxels = known["voxels"][known["nsdgeneral"]]
    b2, b3 = (session_betas(root, "subj01", version, 1, voxels) for version in ("b2", "b3"))
    further = b2 - b3
    assert np.all(b2.std(0) / b3.std(0) > 0.95) and np.mean(b2.std(0) / b3.std(0)) > 1.05
    shared = [np.corrcoef(further[:, v], b3[:, v])[0, 1] for v in range(len(voxels))]
    assert abs(np.mean(shared)) < 0.05


def test_tuning_turns_steadily_over_sessions():
    simulation = Simulation.from_config(CONFIGURATION)
    turns = [session_turn(simulation, session) for session in range(1, 5)]
    assert turns[0] == -turns[-1] and np.all(np.diff(turns) > 0) and 0.3 < turns[-1] - turns[0] < 0.8


def test_neighbouring_voxels_share_noise(root, truth):
    """Betas of neighbours correlate beyond what their tuning explains, and those of distant voxels less."""
    known = truth["subj01"]
    outside = ~known["nsdgeneral"] & (known["ncsnr_b3"] < 0.1)
    voxels = known["voxels"][outside]
    correlation = np.corrcoef(session_betas(root, "subj01", "b3", 1, voxels).T)
    distance = np.linalg.norm(voxels[:, None] - voxels[None], axis=-1)
    assert correlation[distance == 1].mean() > correlation[distance > 5].mean() + 0.1


def test_ideal_observer_is_above_chance_and_not_perfect(truth):
    for known in truth.values():
        chance = known["identification_chance"]
        assert known["identification_nsdgeneral_mean"] > 4 * chance
        assert known["identification_nsdgeneral_mean"] >= known["identification_V1_mean"] > 2 * chance
        assert known["identification_V1_mean"] >= known["identification_V1_single"]
    # subj02, who missed the last session, has too few candidates to fail.
    assert all(truth[subject]["identification_V1_single"] < 1 for subject in ("subj01", "subj05"))


def test_early_voxels_carry_pixels_and_higher_voxels_meaning(root, truth):
    simulation = Simulation.from_config(CONFIGURATION)
    scenes = stimuli.scenes(simulation)
    with h5py.File(root / layout.STIMULI) as file:
        pictures = file["imgBrick"][:]
    # Blue against yellow in the four quarters of the picture, and the kinds of things that are in it.
    opponent = pictures[..., 2].astype(float) - pictures[..., :2].mean(axis=-1)
    pixels = opponent.reshape(len(pictures), 2, 24, 2, 24).mean(axis=(2, 4)).reshape(len(pictures), -1)
    kinds = sorted(set(CATEGORIES.values()))
    meaning = np.array([[float(any(CATEGORIES[o.category] == k for o in s.objects)) for k in kinds] for s in scenes])
    scores = {}
    for part in ("early", "higher"):
        for name, target in (("pixels", pixels), ("meaning", meaning)):
            scores[part, name] = np.mean([probe(root, s, known, part, target) for s, known in truth.items()])
    assert scores["early", "pixels"] > 0.4 and scores["higher", "meaning"] > 0.25
    assert scores["early", "pixels"] > scores["higher", "pixels"] + 0.05
    assert scores["higher", "meaning"] > scores["early", "meaning"] + 0.1


def probe(root, subject, known, part, target):
    """Mean correlation of ridge predictions of `target` for images held out."""
    chosen = known["nsdgeneral"] & (known["early"] == (part == "early"))
    ids = trials(root, subject)["73KID"].to_numpy() - 1
    mean = pd.DataFrame(z_scored(root, subject, "b3", known["voxels"][chosen])).groupby(ids).mean()
    held_out = np.arange(len(mean)) % 3 == 0
    model = RidgeCV(alphas=10.0 ** np.arange(0, 5)).fit(mean[~held_out], target[mean.index[~held_out]])
    predicted, actual = model.predict(mean[held_out]), target[mean.index[held_out]]
    varied = actual.std(axis=0) > 0
    return np.mean([np.corrcoef(p, a)[0, 1] for p, a in zip(predicted.T[varied], actual.T[varied], strict=True)])


def test_subjects_share_a_latent_space_and_keep_something_private(truth):
    """A linear map from one subject's responses to another's works for new images, and not for shuffled ones."""
    one, two = truth["subj01"]["signal"], truth["subj05"]["signal"]
    fit, test = np.arange(0, 320), np.arange(320, 480)

    def transfer(order):
        model = RidgeCV(alphas=10.0 ** np.arange(-1, 4)).fit(one[fit], two[order[fit]])
        predicted, actual = model.predict(one[test]), two[order[test]]
        return np.mean([np.corrcoef(p, a)[0, 1] for p, a in zip(predicted.T, actual.T, strict=True)])

    shared = transfer(np.arange(480))
    shuffled = transfer(np.random.default_rng(0).permutation(480))
    assert 0.4 < shared < 0.97
    assert abs(shuffled) < 0.1


def test_measured_geometry_of_shared_images_agrees_between_subjects(root, truth):
    """Correlations between the betas of two shared images rise and fall together in any two subjects."""
    order = plan(Simulation.from_config(CONFIGURATION)).order[: 3 * 120]
    seen = np.unique(order[order < 16])  # places of the shared images that all three subjects saw
    shared = plan(Simulation.from_config(CONFIGURATION)).shared[seen]
    geometry = []
    for subject, known in truth.items():
        ids = trials(root, subject)["73KID"].to_numpy() - 1
        betas = z_scored(root, subject, "b3", known["voxels"][known["nsdgeneral"]])
        geometry.append(np.corrcoef(pd.DataFrame(betas).groupby(ids).mean().loc[shared]))
    pairs = np.triu_indices(len(shared), 1)
    rng = np.random.default_rng(0)

    def agreement(shuffle):
        orders = [rng.permutation(len(shared)) if shuffle else np.arange(len(shared)) for _ in geometry]
        rows = [one[np.ix_(order, order)][pairs] for one, order in zip(geometry, orders, strict=True)]
        return np.corrcoef(rows)[np.triu_indices(3, 1)].mean()

    shuffled = [agreement(shuffle=True) for _ in range(300)]
    assert agreement(shuffle=False) > np.percentile(shuffled, 99)


def test_a_seed_fixes_every_byte_and_another_seed_changes_them(tmp_path_factory):
    small = CONFIGURATION | {
        "stimuli": 60,
        "trials_per_run": [7, 5],
        "subjects": {"subj02": {"sessions": 2, "dims": [9, 10, 8], "ncsnr": 0.5}},
    }

    def digests(configuration):
        tree = write_tree(tmp_path_factory.mktemp("seeded"), configuration)
        files = sorted(path for path in tree.rglob("*") if path.is_file())
        return {str(path.relative_to(tree)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    first, again, other = digests(small), digests(small), digests(small | {"seed": 6})
    assert first == again
    assert first.keys() == other.keys()
    names = [layout.EXPERIMENT_DESIGN, layout.STIMULI, layout.responses("subj02"), layout.betas("subj02", "b3", 2)]
    assert all(first[name] != other[name] for name in names)


def test_subjects_have_different_volumes_and_different_noise(truth):
    shapes = {known["voxels"].max(axis=0).tobytes() for known in truth.values()}
    assert len(shapes) == 3
    assert not np.allclose(truth["subj01"]["ncsnr_b3"][:50], truth["subj05"]["ncsnr_b3"][:50])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"stimuli": 400}, "stimuli': 400 is fewer than the 448"),
        ({"subjects": {"subj09": {"sessions": 1, "dims": [9, 10, 8], "ncsnr": 0.5}}}, "subj09 is not one of"),
        ({"subjects": {"subj01": {"sessions": 1, "dims": [9, 9, 8], "ncsnr": 0.5}}}, "three different numbers"),
    ],
)
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        Simulation.from_config(CONFIGURATION | change)


def test_one_session_of_one_subject_is_enough(tmp_path):
    smallest = CONFIGURATION | {"subjects": {"subj01": {"sessions": 1, "dims": [8, 9, 10], "ncsnr": 0.5}}}
    write_tree(tmp_path, smallest)
    assert (tmp_path / layout.betas("subj01", "b3", 1)).exists()
    simulate_stimuli(tmp_path, Simulation.from_config(smallest))  # a second run replaces the files
