"""MindEye2's network: the published sizes to the unit, what the released backbone does, storage."""

import re

import numpy as np
import pytest
import torch
from records import unrecorded
from safetensors.torch import load_file, save_file

from fmri2img.backbones.registry import load_registry
from fmri2img.errors import UserError
from fmri2img.methods.mindeye2.network import MindEye2, load_model, save_model
from fmri2img.methods.mindeye2.settings import ModelConfig
from fmri2img.networks.upsampler import Upsampler
from fmri2img.training.dropout import masks

VOXELS = {
    "subj01": 15724, "subj02": 14278, "subj03": 15226, "subj04": 13153,
    "subj05": 13039, "subj06": 17907, "subj07": 12682, "subj08": 14386,
}  # fmt: skip
PUBLISHED = {
    "hidden": 4096,
    "backbone": "as_released",
    "tokens": 256,
    "token_width": 1664,
    "low_level": {},
    "prior": {},
}
SMALL = {
    "hidden": 24,
    "backbone": "as_released",
    "tokens": 4,
    "token_width": 8,
    "low_level": {"latent_channels": 8, "latent_side": 16, "channels": [32, 32, 32], "maps_width": 16},
    "prior": {"depth": 1, "heads": 2, "head_width": 6, "feedforward": 2},
}


def parameters(module: torch.nn.Module, only_trained: bool = False) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not only_trained)


def published(voxels: dict[str, int], **changes) -> MindEye2:
    with torch.device("meta"):
        return MindEye2(ModelConfig.read({**PUBLISHED, **changes}), voxels)


def small(**changes) -> MindEye2:
    torch.manual_seed(0)
    return MindEye2(ModelConfig.read({**SMALL, **changes}), {"a": 10, "b": 7}).eval()


def test_each_subjects_adapter_has_the_published_size():
    adapters = published(VOXELS).adapters
    sizes = [64409600, 58486784, 62369792, 53878784, 53411840, 73351168, 51949568, 58929152]
    assert [parameters(adapters[subject]) for subject in VOXELS] == sizes


@pytest.mark.parametrize(
    ("subject", "fine_tuned", "pretrained_without"),
    [
        ("subj01", 2227294844, 2575262332),
        ("subj02", 2221372028, 2581185148),
        ("subj05", 2216297084, 2586260092),
        ("subj07", 2214834812, 2587722364),
    ],
)
def test_totals_of_the_published_models(subject, fine_tuned, pretrained_without):
    assert parameters(published({subject: VOXELS[subject]})) == fine_tuned
    others = {name: n for name, n in VOXELS.items() if name != subject}
    assert parameters(published(others)) == pretrained_without


def test_registered_checkpoints_are_as_large_as_their_models():
    """Weights in float32, and up to 100 kB of names and tables."""
    known = 0
    for name, backbone in load_registry().items():
        (check,) = backbone.record["files"].values() if backbone.kind == "mindeye2" else (None,)
        if check is None:
            continue
        subject, pretrained = re.search(r"subj\d\d", name)[0], "_without_" in name
        voxels = {s: n for s, n in VOXELS.items() if (s == subject) != pretrained}
        assert 0 < check["size"] - 4 * parameters(published(voxels)) < 100_000, name
        known += 1
    assert known == 9


def test_parts_of_the_published_model():
    model = published({"subj01": 15724})
    assert parameters(model.backbone.blocks.wide) == 134283264
    assert parameters(model.backbone.blocks.sequence) == 24
    assert parameters(model.backbone.to_tokens) == 1745256448
    assert parameters(model.projector) == 8321664
    assert parameters(model.low_level.seed) == 12848192
    assert parameters(model.low_level.maps) == 559616
    assert parameters(model.low_level.upsampler) == 1750692
    assert parameters(model.prior.time) == 22159488
    assert parameters(model.prior) == 259865216
    assert parameters(model.prior, only_trained=True) == 259865200


def test_light_model_with_and_without_low_level_head():
    assert parameters(published({"subj01": 15724}, hidden=1024)) == 734852732
    assert parameters(published({"subj01": 15724}, hidden=1024, low_level=None)) == 729327896


def test_described_backbone_has_the_parameters_of_the_wide_blocks():
    assert parameters(published({"subj01": 15724}, backbone="residual_mlp").backbone.blocks) == 134283264


def test_forward_on_two_subjects_keeps_their_order_and_shapes():
    model = small()
    torch.manual_seed(1)
    betas = {"b": torch.randn(2, 7), "a": torch.randn(3, 10)}
    both = model(betas)
    assert both.tokens.shape == both.projected.shape == (5, 4, 8)
    assert both.latents.shape == (5, 8, 16, 16)
    assert both.maps.shape == (5, 16, 16)
    torch.testing.assert_close(both.tokens[:2], model({"b": betas["b"]}).tokens)
    torch.testing.assert_close(both.latents[2:], model({"a": betas["a"]}).latents)


def test_parts_can_be_left_out():
    encoded = small(low_level=None, prior=None)({"a": torch.randn(2, 10)})
    assert encoded.latents is None and encoded.maps is None


def test_released_blocks_only_add_one_number():
    blocks = small().backbone.blocks
    x = torch.randn(5, 24)
    shift = blocks(x) - x
    torch.testing.assert_close(shift, shift[0, 0].expand(5, 24), rtol=0, atol=1e-5)
    assert abs(shift[0, 0]) > 1e-3


def test_released_blocks_are_the_mixer_of_two_streams_at_length_one():
    """The whole mixer, as it is published, step by step; also with dropout, and in its gradients."""
    blocks = small().backbone.blocks.train()
    for block in blocks.sequence:
        torch.nn.init.normal_(block[0].bias)
    kept = masks(blocks, 5, np.arange(5), torch.device("cpu"), 0)
    x = torch.randn(5, 24)
    wide_stream = sequence_stream = now = x
    for wide, sequence in zip(blocks.wide, blocks.sequence, strict=True):
        wide_stream = wide(now, kept) + wide_stream
        now = sequence_stream = sequence(wide_stream.unsqueeze(-1), kept).squeeze(-1) + sequence_stream
    found = blocks(x, kept)
    torch.testing.assert_close(found, now)
    parameters = list(blocks.parameters())
    wanted = torch.autograd.grad(now.square().sum(), parameters, allow_unused=True, materialize_grads=True)
    for parameter, one, other in zip(
        parameters, torch.autograd.grad(found.square().sum(), parameters), wanted, strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-2 if parameter.numel() == 1 else 0)


@pytest.mark.parametrize(("backbone", "idle"), [("as_released", True), ("residual_mlp", False)])
def test_wide_blocks_are_idle_in_the_released_backbone_alone(backbone, idle):
    model = small(backbone=backbone)
    model({"a": torch.randn(6, 10)}).projected.square().sum().backward()
    largest = [p.grad.abs().max().item() for p in model.backbone.blocks.wide.parameters()]
    assert all(value == 0 if idle else value > 0 for value in largest)


def test_described_backbone_is_not_affine():
    blocks = small(backbone="residual_mlp").backbone.blocks
    x, y = torch.randn(2, 3, 24)
    assert (blocks((x + y) / 2) - (blocks(x) + blocks(y)) / 2).abs().max() > 1e-3


def test_saved_model_comes_back(tmp_path):
    model = small(backbone="residual_mlp")
    save_model(tmp_path / "model", model, {"seed": 3})
    again, metadata = load_model(tmp_path / "model")
    assert metadata == {"seed": 3}
    assert again.config == model.config and again.voxels == model.voxels
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert not again.training
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in model.parameters()]


@pytest.mark.parametrize("damage", ["missing", "unexpected", "misshaped", "truncated", "gone"])
def test_damaged_weights_are_reported(tmp_path, damage):
    save_model(tmp_path, small(), {})
    weights = tmp_path / "model.safetensors"
    state = load_file(weights)
    if damage == "missing":
        del state["projector.2.bias"]
    elif damage == "unexpected":
        state["projector.9.bias"] = torch.zeros(1)
    elif damage == "misshaped":
        state["projector.2.bias"] = torch.zeros(9)
    named = {"missing": "projector.2.bias", "unexpected": "projector.9.bias", "misshaped": "projector.2.bias"}
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "gone":
        weights.unlink()
    else:
        save_file(state, unrecorded(tmp_path) / weights.name)
    with pytest.raises(UserError, match=named.get(damage, "model.safetensors")):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hiden": 3}, "model.hiden"),
        ({"hidden": "many"}, "model.hidden"),
        ({"hidden": True}, "model.hidden"),
        ({"dropout": 1.5}, "model.dropout"),
        ({"backbone": "mixer"}, "as_released"),
        ({"tokens": 0}, "model.tokens"),
        ({"token_width": 7}, "model.token_width"),
        ({"prior": {"depht": 2}}, "model.prior.depht"),
        ({"prior": {"head_width": 7}}, "model.prior"),
        ({"low_level": {"latent_side": 30}}, "model.low_level.latent_side"),
        ({"low_level": {"channels": [32, 40]}}, "model.low_level.channels"),
        ({"low_level": {"channels": 32}}, "model.low_level.channels"),
        ({"low_level": 4}, "model.low_level"),
    ],
)
def test_wrong_configuration_names_its_key(changes, named):
    with pytest.raises(UserError, match=named):
        ModelConfig.read({**SMALL, **changes}, "config.json", "model")


def test_configuration_must_be_complete_and_survives_a_record():
    with pytest.raises(UserError, match=r"model\.hidden"):
        ModelConfig.read({key: value for key, value in SMALL.items() if key != "hidden"}, "config.json", "model")
    config = ModelConfig.read(SMALL)
    assert ModelConfig.read(config.to_dict()) == config


@pytest.mark.parametrize(("channels", "layers"), [((32, 64, 128), 1), ((32, 32), 2), ((64,), 1)])
def test_the_upsampler_is_the_decoder_of_diffusers(channels, layers):
    from diffusers.models.autoencoders.vae import Decoder

    torch.manual_seed(0)
    reference = Decoder(
        in_channels=5,
        out_channels=3,
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=layers,
    )
    ours = Upsampler(5, 3, channels, layers)
    ours.load_state_dict(reference.state_dict(), strict=True)
    x = torch.randn(2, 5, 7, 7)
    torch.testing.assert_close(ours(x), reference(x), rtol=1e-5, atol=1e-5)
