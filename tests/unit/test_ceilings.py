"""Ceilings and floors that need no decoder: the brain against itself, the captioner on true images, MindEye2's prior
without a brain."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from designs import DISCLOSURE

from fmri2img.artifacts.prediction import Prediction, save_prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import Stimuli, save_stimuli
from fmri2img.backbones.registry import load_registry
from fmri2img.errors import UserError
from fmri2img.methods.mindeye2.decode import without_brain
from fmri2img.methods.registry import read_methods
from fmri2img.methods.repeat_ceiling.control import repeat_responses
from fmri2img.metrics.brain import MeasuredBrain
from fmri2img.metrics.registry import is_scored, read_metrics
from fmri2img.metrics.scoring import score
from fmri2img.networks.prior import PriorNetwork, sample, sampling_times
from fmri2img.networks.settings import PriorConfig

CONFIG = Path(__file__).parents[2] / "config"
REGISTRY = read_metrics(CONFIG / "metrics.yaml")
METHODS = read_methods()
METADATA = {
    "method": "m", "subject": "subj01", "sessions": 1, "seed": 0, "split": "shared1000", "split_sha256": "0",
    "test_set": "test", "disclosure": DISCLOSURE,
}  # fmt: skip
N_IMAGES, VOXELS, NOISE = 40, 300, 1.5
SHOWN_ONCE = 4  # of the images


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Responses are the image's own pattern plus noise of 1.5 times its spread. Images come three times (the last four
    once), in random order, image i as image_id 5 i; every tenth trial is a training image's."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("repeats") / "recording"
    patterns = rng.standard_normal((N_IMAGES, VOXELS)).astype(np.float32)
    image = np.concatenate([np.repeat(np.arange(N_IMAGES - SHOWN_ONCE), 3), np.arange(N_IMAGES - SHOWN_ONCE, N_IMAGES)])
    image = rng.permutation(image)
    image = np.insert(image, np.arange(0, len(image), 10), -1)
    n = len(image)
    trials = pd.DataFrame(
        {"trial": np.arange(n), "session": 1, "run": 1, "image_id": np.where(image < 0, 999, image * 5), "repeat": 0}
    ).assign(part=np.where(image < 0, "train", "test"))
    areas = {name: np.arange(VOXELS) % 5 == k for k, name in enumerate(("V1", "V2", "V3", "hV4"))}
    voxels = pd.DataFrame({"x": np.arange(VOXELS), "y": 0, "z": 0, "ncsnr": 1 / NOISE} | areas)
    with Recording.writer(path) as writer:
        betas = writer.betas(n, VOXELS)
        betas[:] = patterns[image] + NOISE * rng.standard_normal((n, VOXELS))
        writer.finish(
            trials, voxels, {"subject": "subj01", "split": "shared1000", "split_sha256": "0", "test_sets": ["test"]}
        )
    return Recording.open(path)


@pytest.fixture(scope="module")
def halves(planted):
    """By hand: image_id -> (first response, mean of the others or None)."""
    found = {}
    for row, (image_id, part) in enumerate(zip(planted.trials["image_id"], planted.trials["part"], strict=True)):
        if part == "test":
            found.setdefault(image_id, []).append(planted.betas[row].astype(float))
    return {i: (r[0], np.mean(r[1:], axis=0) if len(r) > 1 else None) for i, r in sorted(found.items())}


def scored(planted, tmp_path, *metrics, **measured):
    ids, responses = repeat_responses(planted, "test")
    save_prediction(tmp_path / "p", ids, METADATA, responses=responses)
    chosen = {name: REGISTRY[name] for name in metrics}
    brain = MeasuredBrain.of(planted, lambda images: None, "test")
    pools = {"pool": 300, "resamples": 3}
    return score([Prediction.open(tmp_path / "p")], None, None, chosen, None, {}, pools, brain).set_index("image_id")


def test_the_first_response_and_the_mean_of_the_others(planted, halves):
    ids, responses = repeat_responses(planted, "test")
    assert ids.tolist() == list(halves)
    for (first, others), found in zip(halves.values(), responses, strict=True):
        if others is None:
            assert np.isnan(found).all()
        else:
            np.testing.assert_allclose(found, [first, others], rtol=1e-5, atol=1e-6)


def test_images_are_told_by_correlation_over_voxels(planted, halves, tmp_path):
    """As numpy's corrcoef has it, in both directions; an image shown once is undefined, not wrong."""
    table = scored(planted, tmp_path, "retrieval_image", "retrieval_brain")
    twice = [i for i, (_, others) in halves.items() if others is not None]
    r = np.corrcoef([halves[i][0] for i in twice], [halves[i][1] for i in twice])[: len(twice), len(twice) :]
    for metric, axis in (("retrieval_image", 1), ("retrieval_brain", 0)):
        found = table.loc[table["metric"] == metric, "value"]
        assert (found[twice] == (r.argmax(axis=axis) == np.arange(len(twice)))).all()
        assert found.drop(twice).isna().all() and len(found) == N_IMAGES


def test_a_shift_of_a_whole_response_changes_nothing(planted, tmp_path):
    ids, responses = repeat_responses(planted, "test")
    shift = np.random.default_rng(1).uniform(5, 20, (len(ids), 2, 1))
    pools, metrics = {"pool": 300, "resamples": 3}, {"retrieval_image": REGISTRY["retrieval_image"]}
    values = []
    for name, shown in (("as_is", responses), ("shifted", responses + shift)):
        save_prediction(tmp_path / name, ids, METADATA, responses=shown)
        values.append(score([Prediction.open(tmp_path / name)], None, None, metrics, None, {}, pools)["value"])
    np.testing.assert_array_equal(*values)


def test_brain_correlation_is_what_signal_and_noise_give(planted, halves, tmp_path):
    """One response against the mean of two: 1 / sqrt((1 + noise) (1 + noise / 2)) for signal of variance 1."""
    table = scored(planted, tmp_path, "brain_correlation_visual_cortex", "voxel_correlation_visual_cortex")
    patterns = table.loc[table["metric"] == "brain_correlation_visual_cortex", "value"]
    expected = {i: np.corrcoef(*pair)[0, 1] if pair[1] is not None else np.nan for i, pair in halves.items()}
    np.testing.assert_allclose(patterns[list(expected)], list(expected.values()), atol=2e-3)
    theory = 1 / np.sqrt((1 + NOISE**2) * (1 + NOISE**2 / 2))
    assert patterns.mean() == pytest.approx(theory, abs=0.02)
    voxel = table.loc[table["metric"] == "voxel_correlation_visual_cortex"]
    assert voxel.index.tolist() == [-1] and voxel["value"].item() == pytest.approx(theory, abs=0.02)


def test_only_at_the_metrics_where_it_means_something(planted, tmp_path):
    names = ("retrieval_image", "pixcorr", "brain_correlation_v1", "brain_correlation_v1_normalised", "caption_rougeL")
    table = scored(planted, tmp_path, *names)
    assert set(table["metric"]) == {"retrieval_image", "brain_correlation_v1"}
    wanted = {name for name in names if is_scored(METHODS["repeat_ceiling"], REGISTRY[name])}
    assert wanted == set(table["metric"])
    assert is_scored(METHODS["ridge"], REGISTRY["brain_correlation_v1_normalised"])


def test_predicted_betas_are_shown_with_the_prediction_they_are_of(planted, tmp_path):
    """What maps are drawn of: the betas that each prediction with pictures predicts, none of others."""
    ids, responses = repeat_responses(planted, "test")
    for name, arrays in {
        "dark": {"images": np.zeros((len(ids), 2, 2, 3), np.uint8)},
        "light": {"images": np.full((len(ids), 2, 2, 3), 200, np.uint8)},
        "none": {"responses": responses},
    }.items():
        save_prediction(tmp_path / name, ids, METADATA | {"seed": len(name)}, **arrays)
    predictions = [Prediction.open(tmp_path / name) for name in ("dark", "light", "none")]
    metrics, seen = {"brain_correlation_v1": REGISTRY["brain_correlation_v1"]}, []
    voxels = planted.betas.shape[1]
    brain = MeasuredBrain.of(planted, lambda images: np.repeat(images[:, 0, 0, :1], voxels, axis=1), "test")
    score(predictions, None, None, metrics, None, {}, {}, brain, see=lambda *given: seen.append(given))
    assert [(prediction.path.name, betas.max()) for prediction, _, betas in seen] == [("dark", 0), ("light", 200)]


def test_captions_against_people_and_against_the_captioner(planted, tmp_path):
    """The captioner's words about the true images, joined by id, as the reference: repeating them is perfect."""
    ids = np.array([4, 9, 20])
    table = pd.DataFrame(
        {
            "image_id": ids,
            "name": "x",
            "source": "x",
            "cluster": None,
            "captions": [["a red bus", "x"]] * 3,
            "categories": [["b"]] * 3,
        }
    )
    stimuli = Stimuli(tmp_path, np.zeros((3, 4, 4, 3), np.uint8), table, {})
    captioned = pd.DataFrame({"image_id": [2, 4, 9, 20], "caption": ["no", "a dog runs", "two cats", "a red bus"]})
    save_prediction(tmp_path / "p", ids, METADATA, captions=["a dog runs", "two cats", "a red bus"])
    metrics = {name: REGISTRY[name] for name in ("caption_rougeL", "caption_rougeL_git")}
    found = score([Prediction.open(tmp_path / "p")], stimuli, None, metrics, None, {}, {}, captioned=captioned)
    values = found.pivot(index="image_id", columns="metric", values="value")
    assert values["caption_rougeL_git"].tolist() == [1, 1, 1]
    assert values["caption_rougeL"].tolist() == pytest.approx([1 / 3, 0, 1])
    with pytest.raises(UserError, match="captions of the true images: lacks image_id 9"):
        score([Prediction.open(tmp_path / "p")], stimuli, None, metrics, None, {}, {}, captioned=captioned[:2])


def test_every_metric_of_the_papers_second_table_has_its_git_reference():
    table = yaml.safe_load((CONFIG / "paper_tables" / "table02.yaml").read_text(encoding="utf-8"))
    for name in table["metrics"]:
        kind = "captioner" if name.endswith("_git") else "first"
        assert REGISTRY[name]["parameters"]["references"] == kind
        plain = REGISTRY[name.removesuffix("_git")]
        assert {k: plain[k] for k in ("function", "network")} == {k: REGISTRY[name][k] for k in ("function", "network")}


def test_the_captioner_sees_the_test_images_alone(tmp_path):
    from caption_images import caption_images

    ids, rng = np.array([1, 5, 6, 30]), np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "image_id": ids,
            "name": "x",
            "source": "x",
            "cluster": None,
            "captions": [["a"]] * 4,
            "categories": [["b"]] * 4,
        }
    )
    images = rng.integers(0, 256, (4, 64, 64, 3), np.uint8)
    save_stimuli(tmp_path / "stimuli", images, table, {})
    Split("shared1000", "planted", {"shared1000": [5, 30, 77]}).save(tmp_path / "split.json")
    registry = load_registry()
    pair = registry["demo_captioner"], registry["demo_clip"]
    caption_images(tmp_path / "stimuli", tmp_path / "split.json", *pair, tmp_path / "captions.parquet")
    found = pd.read_parquet(tmp_path / "captions.parquet")
    assert found["image_id"].tolist() == [5, 30] and found["caption"].str.len().gt(0).all()
    with pytest.raises(UserError, match="embed with demo_clip"):
        caption_images(tmp_path / "stimuli", tmp_path / "split.json", pair[0], None, tmp_path / "again.parquet")


def prior(**settings):
    torch.manual_seed(0)
    config = PriorConfig(depth=1, heads=2, head_width=8, feedforward=2, timesteps=20, rotary_width=4, **settings)
    return PriorNetwork(config, tokens=3, width=16).eval()


def test_the_prior_without_a_brain_is_that_of_a_dropped_condition():
    """Sampling from the null tokens is what training saw where it dropped the brain: whatever brain that was."""
    network, images = prior(), 4
    noises = [torch.randn(images, 3, 16) for _ in sampling_times(20, 5)]
    tokens = sample(network, without_brain(network, images), noises, 5)

    def dropped(noisy, t, brain):
        return PriorNetwork.forward(
            network, noisy, t, torch.randn_like(brain), torch.zeros(len(brain), dtype=torch.bool)
        )

    network.forward = dropped
    torch.testing.assert_close(sample(network, torch.zeros(images, 3, 16), noises, 5), tokens)
    assert (tokens[0] - tokens[1]).abs().max() > 1e-3  # noise alone tells images apart


def test_a_prior_that_never_did_without_a_brain_is_refused():
    with pytest.raises(UserError, match="condition_drop is 0"):
        without_brain(prior(condition_drop=0.0), 2)
