"""Decoding with a trained MindEye2: what is averaged, what the draws depend on, and the control without a brain."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fmri2img.artifacts.cells import Cell
from fmri2img.artifacts.interfaces import Decoding, Made
from fmri2img.artifacts.recording import Recording
from fmri2img.methods.mindeye2.decode import decode, decode_without_brain
from fmri2img.methods.mindeye2.network import MindEye2, load_model, save_model
from fmri2img.methods.mindeye2.settings import ModelConfig

VOXELS = 5
IMAGES = [30, 10, 20, 10, 30, 10]  # image_id of each trial
SETTINGS = {"prior_steps": 4, "batch": 2}
MODEL = {
    "hidden": 8, "backbone": "residual_mlp", "blocks": 1, "tokens": 4, "token_width": 6,
    "low_level": {"latent_side": 8, "seed_channels": 32, "channels": [32, 32], "maps_width": 8},
    "prior": {"depth": 1, "heads": 2, "head_width": 8, "feedforward": 2, "timesteps": 10, "rotary_width": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Recording:
    path = tmp_path_factory.mktemp("recording") / "subj01"
    trials = pd.DataFrame({"trial": range(len(IMAGES)), "image_id": IMAGES})
    trials = trials.assign(session=1, run=1, repeat=0, part="test")
    places = pd.DataFrame({"x": range(VOXELS), "y": 0, "z": 0, "ncsnr": 1.0})
    metadata = {"subject": "subj01", "split": "shared1000", "split_sha256": "0" * 64, "test_sets": ["test"]}
    with Recording.writer(path) as writer:
        writer.betas(len(trials), VOXELS)[:] = np.random.default_rng(0).standard_normal((len(trials), VOXELS))
        writer.finish(trials, places, metadata)
    return Recording.open(path)


def stored(path: Path, **changes) -> Path:
    torch.manual_seed(0)
    model = MindEye2(ModelConfig.read(MODEL | changes), {"subj01": VOXELS})
    save_model(path, model, {"trials": 7, "images": 5, "training_subjects": ["subj01"]})
    return path


def decoded(path: Path, recording: Recording, seed: int = 0, function=decode, **settings) -> Made:
    return function(Decoding(Cell("subj01", 1, seed, "test"), path, recording, {}, SETTINGS | settings))


def test_outputs_are_averaged_over_repeats_and_not_the_betas(recording, tmp_path):
    path = stored(tmp_path / "decoder")
    made = decoded(path, recording)
    assert made.ids.tolist() == [10, 20, 30] and made.ids.dtype == np.int64
    model, _ = load_model(path)
    with torch.inference_mode():
        encoded = model({"subj01": torch.from_numpy(np.array(recording.betas))})
    for image, image_id in enumerate(made.ids):
        repeats = torch.tensor(IMAGES) == image_id
        for name, output in (("retrieval", encoded.projected.flatten(1)), ("latents", encoded.latents)):
            wanted = output[repeats].mean(0).numpy()
            np.testing.assert_allclose(made.arrays[name][image], wanted, rtol=1e-4, atol=1e-5)
    assert made.arrays["tokens"].shape == (3, 4, 6) and made.arrays["tokens"].dtype == np.float16
    assert made.disclosure.training_trials == 7 and made.facts["training"]["images"] == 5


def test_draws_depend_on_the_seed_and_the_image_and_not_on_the_batch(recording, tmp_path):
    path = stored(tmp_path / "decoder")
    together = decoded(path, recording, batch=6).arrays["tokens"]
    np.testing.assert_allclose(decoded(path, recording, batch=1).arrays["tokens"], together, rtol=1e-2, atol=1e-2)
    assert np.abs(decoded(path, recording, seed=1).arrays["tokens"] - together).max() > 0.1


def test_without_a_brain_the_tokens_do_not_depend_on_it(recording, tmp_path):
    path = stored(tmp_path / "decoder", low_level=None)
    made = decoded(path, recording, function=decode_without_brain)
    assert made.ids.tolist() == [10, 20, 30] and set(made.arrays) == {"tokens"}
    assert made.disclosure.test_averaging.startswith("none")
    assert set(decoded(path, recording).arrays) == {"tokens", "retrieval"}
    model, metadata = load_model(path)
    with torch.no_grad():
        model.adapters["subj01"].weight.zero_()
    save_model(tmp_path / "other", model, metadata)
    same = decoded(tmp_path / "other", recording, function=decode_without_brain)
    np.testing.assert_array_equal(same.arrays["tokens"], made.arrays["tokens"])
