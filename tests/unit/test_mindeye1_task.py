"""MindEye1's training: which presentations a step sees, mixtures, the low-level network's own batches, and decoding."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fmri2img.artifacts.cells import Cell
from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.artifacts.interfaces import Decoding
from fmri2img.artifacts.recording import Recording
from fmri2img.errors import UserError
from fmri2img.methods.mindeye1.data import Batches, presentations
from fmri2img.methods.mindeye1.decode import decode
from fmri2img.methods.mindeye1.network import load_model
from fmri2img.methods.mindeye1.settings import LossConfig
from fmri2img.methods.mindeye1.task import MindEye1Task
from fmri2img.methods.mindeye1.views import augmented
from fmri2img.training.backends import backend
from fmri2img.training.configuration import TrainingConfig
from fmri2img.training.loop import train
from fmri2img.training.processes import accelerator_for
from fmri2img.training.trials import open_trials

VOXELS, IMAGES, TEST = 24, 30, 6
CPU = torch.device("cpu")
PRIOR = {"depth": 1, "heads": 2, "head_width": 8, "feedforward": 2, "timesteps": 10, "rotary_width": 4}
DECODING = {"prior_steps": 10, "class_token_norm": True, "samples": 3, "batch": 4}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> dict:
    """Settings of a task: every image is presented three times, but image 0 once and image 2 twice."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    ids = np.arange(IMAGES) * 2  # not row numbers
    tokens = rng.normal(size=(IMAGES, 4, 6)).astype(np.float16)
    metadata = {"encoder": "tiny", "revision": "r1", "scaling_factor": 0.5, "trained_on": "nothing"}
    save_embeddings(folder / "tokens", ids, tokens, metadata)
    save_embeddings(folder / "latents", ids, rng.normal(size=(IMAGES, 16, 4)).astype(np.float16), metadata)
    views = [str(folder / f"view{view}") for view in range(3)]
    for path in views:
        save_embeddings(path, ids, rng.normal(size=(IMAGES, 4, 5)).astype(np.float16), metadata)
    image_id = np.tile(ids, 3)
    image_id = np.delete(image_id, [IMAGES, 2 * IMAGES, 2 * IMAGES + 1])
    n = len(image_id)
    with Recording.writer(folder / "subj01") as writer:
        betas = writer.betas(n, VOXELS)
        weights = rng.normal(size=(24, VOXELS))
        betas[:] = tokens[image_id // 2].reshape(n, -1).astype(float) @ weights / 5
        betas[:, 0] = np.arange(n) / 1000  # marks the trial
        trials = pd.DataFrame({"trial": np.arange(n), "session": np.arange(n) // 40 + 1, "run": 1})
        trials = trials.assign(image_id=image_id, repeat=0)
        trials["part"] = np.where(image_id >= 2 * (IMAGES - TEST), "test", "train")
        voxels = pd.DataFrame({"x": range(VOXELS), "y": 0, "z": 0, "ncsnr": 0.5})
        record = {"subject": "subj01", "split": "shared1000", "split_sha256": "ab", "test_sets": ["test"]}
        writer.finish(trials, voxels, record)
    network = {"hidden": 8, "blocks": 1, "seed_channels": 32, "channels": [32, 32]}
    return {
        "recordings": {"subj01": str(folder / "subj01")}, "sessions": {"subj01": 3},
        "embeddings": str(folder / "tokens"), "latents": str(folder / "latents"), "local_features": views,
        "model": {"hidden": 16, "blocks": 2, "projector": 8, "token_scale": 2.0, "prior": PRIOR},
        "losses": {}, "validation_share": 0.0, "initial": None,
        "low_level": {"autoencoder": "vae", "teacher": "t", "augmentations": 2, "batch": 4, "rate": 0.5,
                      "network": network},
    }  # fmt: skip


def training(**changes) -> TrainingConfig:
    return TrainingConfig.read({"epochs": 6, "batch": 8, "precision": "fp32", "clip": 0.0} | changes)


def task(settings: dict, **changes) -> MindEye1Task:
    config = training(**changes)
    torch.manual_seed(config.seed)
    return MindEye1Task(settings, config)


@pytest.fixture
def batches(study) -> Batches:
    (trials,) = open_trials(study["recordings"], study["sessions"], 0.0, 0)
    return Batches(trials, LossConfig(), 0)


def marked(betas: np.ndarray) -> np.ndarray:
    """Rows of the recording that unmixed betas come from."""
    return (np.asarray(betas)[:, 0] * 1000).round().astype(int)


def test_an_image_that_was_presented_less_often_repeats_its_trials():
    images, rows = presentations(np.array([7, 3, 7, 5, 7, 3, 7]), np.array([10, 11, 12, 13, 14, 15, 16]))
    assert images.tolist() == [3, 5, 7]
    assert rows.tolist() == [[11, 15, 11], [13, 13, 13], [10, 12, 14]]


def test_a_step_sees_all_images_at_the_same_presentation_and_the_next_step_at_the_next(batches, study):
    recording = Recording.open(study["recordings"]["subj01"])
    ids = recording.trials["image_id"].to_numpy()
    for step in range(4):
        share = batches.high_level(step, step, 8, 0, 1, mixing=False)
        assert (ids[marked(share.betas)] == share.ids).all()
        for row, image in zip(marked(share.betas), share.ids, strict=True):
            rows = np.flatnonzero(ids == image)
            assert row == rows[step % 3 % len(rows)]
    assert set(recording.trials["part"].to_numpy()[np.isin(ids, batches.images)]) == {"train"}


@pytest.mark.parametrize("mixing", [False, True])
def test_two_processes_together_see_the_batch_of_one(batches, mixing):
    whole = batches.high_level(5, 5, 8, 0, 1, mixing)
    halves = [batches.high_level(5, 5, 8, rank, 2, mixing) for rank in (0, 1)]
    np.testing.assert_allclose(np.concatenate([half.betas for half in halves]), whole.betas, rtol=1e-6)
    assert np.concatenate([half.places for half in halves]).tolist() == list(range(8))
    if mixing:
        assert all(np.array_equal(half.labels, whole.labels) for half in halves)
        np.testing.assert_allclose(whole.labels.sum(1), 1, rtol=1e-6)
    low = batches.low_level(5, 8, 0, 1)
    low_halves = [batches.low_level(5, 8, rank, 2) for rank in (0, 1)]
    np.testing.assert_allclose(np.concatenate([half.betas for half in low_halves]), low.betas, rtol=1e-6)


def test_the_low_level_network_sees_mixtures_means_and_single_presentations(batches, study):
    recording = Recording.open(study["recordings"]["subj01"])
    ids = recording.trials["image_id"].to_numpy()
    kinds = []
    for step in range(200):
        share = batches.low_level(step, 4, 0, 1)
        rows = [np.flatnonzero(ids == image) for image in share.ids]
        thrice = [n for n, found in enumerate(rows) if len(found) == 3]
        betas = share.betas[thrice]
        trials = np.stack([recording.betas[rows[n]] for n in thrice])
        if np.allclose(betas, trials.mean(1), atol=1e-5):
            kinds.append("mean")
        elif all(np.isclose(trial, beta, atol=1e-6).all(1).any() for trial, beta in zip(trials, betas, strict=True)):
            kinds.append("single")
        else:
            low, high = trials.min(1) - 1e-5, trials.max(1) + 1e-5
            assert ((betas >= low) & (betas <= high)).all()
            kinds.append("mixture")
    shares = {kind: kinds.count(kind) / len(kinds) for kind in ("mixture", "mean", "single")}
    assert shares == pytest.approx({"mixture": 0.5, "mean": 0.3, "single": 0.2}, abs=0.11)


def test_mixing_ends_after_a_third_of_the_epochs(study):
    trained = task(study, epochs=9)
    steps = trained.steps_per_epoch(8)
    assert steps == (IMAGES - TEST) // 8
    assert "labels" in trained.inputs(1 * steps, 1, 8, 0, 1, CPU)
    assert "labels" not in trained.inputs(2 * steps, 2, 8, 0, 1, CPU)


def test_losses_are_weighted_as_published(study):
    trained = task(study)
    batch = trained.inputs(0, 0, 8, 0, 1, CPU)
    module = trained.module.train()
    terms = module(batch)
    assert list(terms) == ["prior", "contrast", "latents", "local"]
    low = batch["low_level"]
    latents, _ = module.model.voxel2sd(low["betas"], low["kept"])
    expected = (latents - low["latents"].float()).abs().mean() / 0.5  # of unscaled latents
    torch.testing.assert_close(terms["latents"], expected)
    lighter = task(study | {"losses": {"prior": 3.0}})
    lighter.module.load_state_dict(module.state_dict())
    torch.testing.assert_close(lighter.module.train()(batch)["prior"] * 10, terms["prior"])


def test_the_low_level_network_has_its_own_learning_rate_and_biases_do_not_decay(study):
    trained = task(study)
    groups = trained.parameter_groups(0.01)
    assert groups[0]["rate"] == 1.0
    names = {id(parameter): name for name, parameter in trained.module.model.named_parameters()}
    for group in groups:
        of = [names[id(parameter)] for parameter in group["params"]]
        assert all(name.startswith("voxel2sd.") == (group["rate"] == 0.5) for name in of)
        assert all(("bias" in name) == (group["weight_decay"] == 0) for name in of)
    config = training()
    optimiser = backend(accelerator_for(config), config, trained.module, groups)
    optimiser.set_rates(2e-3, 0.9)
    assert {group["lr"] for group in optimiser._optimiser.param_groups} == {2e-3, 1e-3}
    assert optimiser.learning_rate == 2e-3


def test_settings_that_do_not_fit_are_refused(study):
    for changes, said in (
        ({"low_level": study["low_level"] | {"batch": 5}}, r"settings\.low_level\.batch"),
        ({"low_level": study["low_level"] | {"network": {"channels": [32, 32, 32]}}}, "places"),
        ({"extra": 1}, r"unknown key 'settings\.extra'"),
        ({"recordings": {}}, "name one"),
    ):
        with pytest.raises(UserError, match=said):
            task(study | changes, accumulation=2)


def test_a_training_decodes_test_images_and_draws_several_samples_of_each(study, tmp_path):
    config = {"task": "fmri2img.methods.mindeye1.task:MindEye1Task", "settings": study, "training": {"epochs": 40}}
    config["training"] |= {"batch": 8, "precision": "fp32", "learning_rate": 5e-3, "clip": 0.0, "seed": 0}
    train(config, tmp_path / "decoder", tmp_path / "work")
    log = pd.read_parquet(tmp_path / "decoder" / "log.parquet")
    assert log["loss_prior"].tail(9).mean() < 0.8 * log["loss_prior"].head(9).mean()
    assert log["loss_latents"].tail(9).mean() < log["loss_latents"].head(9).mean()
    metadata = load_model(tmp_path / "decoder")[1]
    assert (metadata["trials"], metadata["images"], metadata["initial"]) == (
        3 * (IMAGES - TEST) - 3,
        IMAGES - TEST,
        None,
    )

    recording = Recording.open(study["recordings"]["subj01"])
    targets = {"tiny": Embeddings.open(study["embeddings"])}
    cell = Cell("subj01", 3, 0, "test")
    made = decode(Decoding(cell, tmp_path / "decoder", recording, targets, DECODING))
    assert made.ids.tolist() == list(range(2 * (IMAGES - TEST), 2 * IMAGES, 2))
    assert {name: values.shape for name, values in made.arrays.items()} == {
        "tokens": (TEST, 4, 6), "retrieval": (TEST, 24), "latents": (TEST, 4, 4, 4), "candidates": (TEST, 2, 4, 6),
    }  # fmt: skip
    np.testing.assert_allclose(np.linalg.norm(made.arrays["tokens"][:, 0].astype(float), axis=-1), 1, atol=2e-3)
    assert not np.array_equal(made.arrays["tokens"], made.arrays["candidates"][:, 0])
    assert made.disclosure.test_averaging == "mean of repeats" and made.disclosure.training_subjects == ["subj01"]
    one = decode(Decoding(cell, tmp_path / "decoder", recording, targets, DECODING | {"samples": 1, "batch": 6}))
    assert "candidates" not in one.arrays
    np.testing.assert_allclose(one.arrays["tokens"].astype(float), made.arrays["tokens"].astype(float), atol=2e-3)
    assert json.loads(Path(tmp_path / "decoder" / "config.json").read_text())["voxels"] == {"subj01": VOXELS}


def test_an_augmented_copy_depends_on_the_image_and_the_view_alone():
    images = np.random.default_rng(0).integers(0, 255, (6, 16, 16, 3), np.uint8)
    ids = np.arange(6) * 3
    copies = augmented(images, ids, 1)
    assert copies.shape == images.shape and copies.min() >= 0 and copies.max() <= 1
    np.testing.assert_array_equal(augmented(images[::-1], ids[::-1], 1)[::-1], copies)
    assert not np.array_equal(augmented(images, ids, 2), copies)
