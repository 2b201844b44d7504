"""MindEye1's networks: parity with the published code, import of published checkpoints, published sizes.

tests/fixtures/mindeye1_reference.safetensors holds the outputs of the published implementation (fMRI-reconstruction-NSD
6b30ea5 with dalle2-pytorch 1.15.6) for small networks, the names and shapes of their weights (file metadata "prior" and
"low_level"), and the tables of the noise schedule. Weights and inputs are drawn from seeds, here as there.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from published_weights import drawn
from recordings import small_recording
from safetensors import safe_open

from fmri2img.artifacts.recording import Recording
from fmri2img.backbones.registry import Backbone
from fmri2img.errors import UserError
from fmri2img.methods.mindeye1.card import parameters_by_part
from fmri2img.methods.mindeye1.network import HighLevel, LowLevel, MindEye1, load_model, save_model
from fmri2img.methods.mindeye1.released import (
    FINAL_LAYER_PRIOR,
    high_level_shapes,
    import_final_layer,
    import_high_level,
    import_low_level,
    import_model,
)
from fmri2img.methods.mindeye1.settings import HighLevelConfig, LowLevelConfig
from fmri2img.networks.prior import PriorNetwork, prior_loss, sample, sample_every_step
from fmri2img.networks.published import SCHEDULE
from import_mindeye1 import import_networks

REPOSITORY = Path(__file__).resolve().parents[2]
TOKENS, WIDTH, VOXELS, IMAGES = 12, 32, 20, 3
EARLIER = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


@pytest.fixture(scope="module")
def reference() -> dict:
    with safe_open(REPOSITORY / "tests/fixtures/mindeye1_reference.safetensors", "pt") as file:
        outputs = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dictionary)
        return outputs | {name: json.loads(shapes) for name, shapes in file.metadata().items()}


@pytest.fixture(scope="module")
def high_level(reference):
    return drawn(reference, "prior", 0, SCHEDULE)


@pytest.fixture(scope="module")
def low_level(reference):
    return drawn(reference, "low_level", 1, SCHEDULE)


def write(path: Path, state: dict) -> Path:
    torch.save({"epoch": 239, "model_state_dict": state, "train_losses": [1.0], "lrs": [3e-4]}, path)
    return path


@pytest.fixture(scope="module")
def model(high_level, low_level, tmp_path_factory) -> MindEye1:
    folder = tmp_path_factory.mktemp("released")
    return import_model(write(folder / "last.pth", high_level), write(folder / "epoch120.pth", low_level))


@pytest.fixture(scope="module")
def inputs() -> dict:
    draws = np.random.RandomState(2)

    def draw(*shape):
        return torch.from_numpy(draws.standard_normal(shape).astype(np.float32))

    return {
        "betas": draw(IMAGES, VOXELS),
        "target": draw(IMAGES, TOKENS, WIDTH),
        "noise": draw(IMAGES, TOKENS, WIDTH),
        "noises": draw(100, IMAGES, TOKENS, WIDTH),
        "few": draw(19, IMAGES, TOKENS, WIDTH),
        "t": torch.tensor([3, 57, 99]),
    }


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 2e-5) -> None:
    torch.testing.assert_close(ours.detach(), theirs, rtol=tolerance, atol=tolerance)


def test_networks_equal_the_published_codes(model, reference, inputs):
    encoded = model(inputs["betas"])
    close(encoded.tokens, reference["tokens"])
    close(encoded.projected, reference["projected"])
    latents, maps = model.voxel2sd(inputs["betas"])
    assert torch.equal(latents, encoded.latents) and latents.shape == (IMAGES, 4, 64, 64)
    close(latents[:, :, ::4, ::4], reference["latents"])
    close(maps[:, ::16, ::64], reference["maps"])


def test_training_loss_equals_the_published_codes(model, reference, inputs):
    """The published code multiplies the target by the square root of the token width."""
    scaled = model.high_level_config.token_scale * inputs["target"]
    keep = (torch.tensor([True, False, True]), torch.tensor([True, True, False]))
    loss, predicted = prior_loss(model.prior, scaled, reference["tokens"], inputs["t"], inputs["noise"], *keep)
    assert model.high_level_config.token_scale == pytest.approx(WIDTH**0.5)
    close(loss, reference["loss"])
    close(predicted, reference["predicted_dropped"])


def test_samples_equal_the_published_codes(model, reference, inputs):
    scale = model.high_level_config.token_scale
    close(sample_every_step(model.prior, reference["tokens"], inputs["noises"]) / scale, reference["sample"], 5e-4)
    close(sample(model.prior, reference["tokens"], inputs["few"], 20) / scale, reference["sample20"], 5e-4)


def test_sizes_follow_from_the_shapes(model):
    high, low = model.high_level_config, model.low_level_config
    assert (high.hidden, high.blocks, high.tokens, high.token_width, high.projector) == (48, 4, TOKENS, WIDTH, 2048)
    assert (high.prior.depth, high.prior.heads, high.prior.head_width, high.prior.timesteps) == (2, 3, 36, 100)
    assert (low.hidden, low.seed_side, low.latent_side, low.channels, low.layers) == (48, 16, 64, (64, 128, 256), 1)


def test_networks_trained_with_earlier_diffusers_are_the_same(low_level, model, inputs, tmp_path):
    attention = "upsampler.mid_block.attentions.0."
    state = dict(low_level)
    for later, earlier in EARLIER.items():
        for part in ("weight", "bias"):
            state[f"{attention}{earlier}.{part}"] = state.pop(f"{attention}{later}.{part}")
    _, network = import_low_level(write(tmp_path / "epoch120.pth", state))
    assert torch.equal(network(inputs["betas"])[0], model.voxel2sd(inputs["betas"])[0])


def test_a_low_level_network_without_local_features_is_imported(low_level, model, inputs, tmp_path):
    state = {key: value for key, value in low_level.items() if not key.startswith("maps_projector.")}
    config, network = import_low_level(write(tmp_path / "epoch120.pth", state))
    latents, maps = network(inputs["betas"])
    assert config.maps_width is None and maps is None
    assert torch.equal(latents, model.voxel2sd(inputs["betas"])[0])


@pytest.mark.parametrize(
    ("network", "key", "value", "named"),
    [
        ("high_level", "voxel2clip.projector.5.weight", None, "missing voxel2clip.projector.5.weight"),
        ("high_level", "voxel2clip.lin0.0.weight", None, "missing voxel2clip.lin0.0.weight"),
        ("high_level", "noise_scheduler.p2_loss_weight", None, "missing noise_scheduler.p2_loss_weight"),
        ("high_level", "net.causal_transformer.layers.1.0.rotary_emb.freqs", None, "rotary_emb"),
        ("high_level", "voxel2clip.lin2.bias", torch.zeros(3), "unexpected voxel2clip.lin2.bias"),
        ("high_level", "voxel2clip.mlp.2.1.weight", torch.zeros(47), r"mlp\.2\.1\.weight \(47,\) instead of \(48,\)"),
        ("high_level", "noise_scheduler.betas", torch.full((100,), 0.01), "betas differs from the published"),
        ("low_level", "maps_projector.0.weight", None, "missing maps_projector.0.weight"),
        ("high_level", "net.null_brain_embeds", None, "missing net.null_brain_embeds"),
        ("low_level", "lin0.0.bias", torch.zeros(48), "unexpected lin0.0.bias"),
        ("low_level", "upsampler.mid_block.attentions.0.extra.bias", torch.zeros(1), "unexpected"),
    ],
)
def test_every_key_is_accounted_for(request, tmp_path, network, key, value, named):
    state = dict(request.getfixturevalue(network))
    state.pop(key, None)
    if value is not None:
        state[key] = value
    load = import_high_level if network == "high_level" else import_low_level
    with pytest.raises(UserError, match=named) as error:
        load(write(tmp_path / "last.pth", state))
    assert "last.pth" in str(error.value) and "\n" not in str(error.value)


def test_checkpoints_of_two_subjects_are_refused(high_level, low_level, tmp_path):
    other = dict(low_level) | {"lin0.0.weight": torch.zeros(48, VOXELS + 1)}
    with pytest.raises(UserError, match="is for 21 voxels"):
        import_model(write(tmp_path / "last.pth", high_level), write(tmp_path / "epoch120.pth", other))


def test_the_network_of_clips_final_layer_is_imported_without_its_prior(high_level, inputs, tmp_path):
    own = {key: value for key, value in high_level.items() if key.startswith(("voxel2clip.", SCHEDULE))}
    own["voxel2clip.lin1.weight"] = own["voxel2clip.lin1.weight"][:WIDTH]
    own["voxel2clip.lin1.bias"] = own["voxel2clip.lin1.bias"][:WIDTH]
    prior = ["net.learned_query", "net.null_text_embeds", "net.to_time_embeds.0.weight"]
    prior += ["net.causal_transformer.layers.11.1.3.g", "net.causal_transformer.layers.0.0.null_kv"]
    state = own | {key: torch.zeros(2) for key in prior}
    network = import_final_layer(write(tmp_path / "last.pth", state))
    vectors, projected = network(inputs["betas"])
    assert vectors.shape == projected.shape == (IMAGES, 1, WIDTH)
    with pytest.raises(UserError, match=r"unexpected net\.other"):
        import_final_layer(write(tmp_path / "other.pth", state | {"net.other": torch.zeros(1)}))
    assert "net" in FINAL_LAYER_PRIOR


def test_published_networks_must_fit_the_recording_that_they_will_decode(high_level, low_level, tmp_path):
    """The files of the registered entry are the high-level checkpoint and the low-level one, in this order."""
    files = ["mindeye_models/high/last.pth", "mindeye_models/low/epoch120.pth"]
    for name, state in zip(files, (high_level, low_level), strict=True):
        (tmp_path / name).parent.mkdir(parents=True)
        write(tmp_path / name, state)
    record = {"kind": "mindeye1", "source": {"folder": str(tmp_path)}, "files": dict.fromkeys(files)}
    published = Backbone("mindeye1_subj01_2sess", record)
    with pytest.raises(UserError, match="has 19 voxels, but the published network has 20"):
        other = Recording.open(small_recording(tmp_path / "other", "subj01", VOXELS - 1))
        import_networks(published, other, 2, str(tmp_path / "refused"))
    recording = Recording.open(small_recording(tmp_path / "subj01", "subj01", VOXELS))
    import_networks(published, recording, 2, str(tmp_path / "model"))
    model, metadata = load_model(tmp_path / "model")
    assert model.voxel2sd is not None and metadata["training_subjects"] == ["subj01"]
    assert (metadata["trials"], metadata["images"], metadata["origin"]) == (4, 3, files)


def test_networks_have_the_published_sizes():
    """As counted from the published code: 940.2 million parameters, 7.4 million of the projector."""
    high = HighLevelConfig(tokens=257, token_width=768)
    low = LowLevelConfig()
    record = {"model": {"high_level": high.to_dict(), "low_level": low.to_dict()}, "voxels": {"subj01": 15724}}
    counts = parameters_by_part(record)
    mapped = counts["first layer"] + counts["residual blocks"] + counts["map to tokens"]
    assert (mapped, counts["projector"]) == (940_225_280, 7_354_624)
    with torch.device("meta"):
        network = HighLevel(high, 15724), PriorNetwork(high.prior, 257, 768)
        grid = LowLevel(low, 15724)
    assert len(high_level_shapes(*network, high.prior)) == 34 + 12 + 6 * 10 + 13  # trunk, prior, its layers, schedule
    assert grid.lin1.weight.shape == (16384, 4096) and low.positions == 256
    assert {"lin0.0.weight", "lin0.1.bias", "mlp.3.1.weight", "norm.bias", "maps_projector.6.bias"} <= set(
        grid.state_dict()
    )
    assert "lin0.0.bias" not in grid.state_dict() and "lin1.bias" not in grid.state_dict()


def test_a_model_is_stored_and_read(model, inputs, tmp_path):
    save_model(tmp_path / "model", model, "subj01", {"trials": 3})
    again, metadata = load_model(tmp_path / "model")
    assert metadata == {"trials": 3} and again.voxels == VOXELS
    assert all(torch.equal(a, b) for a, b in zip(again(inputs["betas"]), model(inputs["betas"]), strict=True))
