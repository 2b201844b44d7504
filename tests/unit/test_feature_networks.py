"""Feature networks of the metrics: the right layer, the right preprocessing, the right weights."""

import json

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from fmri2img.backbones.features import load_features, torchvision_network
from fmri2img.backbones.fid_inception import fid_inception
from fmri2img.backbones.pixels import Preprocessing
from fmri2img.backbones.registry import Backbone, load_registry
from fmri2img.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def registry() -> dict[str, Backbone]:
    return load_registry()


def with_weights(backbone: Backbone, tensors: dict[str, torch.Tensor], folder, size: int) -> Backbone:
    """The entry with its file in `folder`, and small pictures, so that the test is quick."""
    torch.save(tensors, folder / "weights.pth")
    changes = {"source": {"folder": str(folder)}, "files": {"weights.pth": None}}
    return Backbone(
        backbone.name,
        backbone.record | changes | {"preprocessing": backbone.record["preprocessing"] | {"image_size": size}},
    )


def test_alexnet_layers_are_after_the_second_and_fifth_relu(registry, tmp_path):
    torch.manual_seed(0)
    network = models.alexnet(weights=None).eval()
    entry = with_weights(registry["alexnet"], network.state_dict(), tmp_path, 72)
    got = load_features(entry, device="cpu").features(IMAGES, batch=2)
    pixels = Preprocessing.of(entry)(IMAGES)
    for layer, index in (("features.4", 4), ("features.11", 11)):
        assert isinstance(network.features[index], torch.nn.ReLU)
        with torch.no_grad():
            wanted = network.features[: index + 1](pixels).flatten(1).numpy()
        assert got[layer].dtype == np.float32
        np.testing.assert_allclose(got[layer], wanted, atol=1e-5)
    one = load_features(entry, ["features.11"], device="cpu").features(IMAGES)
    assert list(one) == ["features.11"]


def test_inception_pools_2048_channels_and_transforms_its_input_as_its_published_weights_do(registry, tmp_path):
    torch.manual_seed(0)
    network = models.inception_v3(weights=None, init_weights=False).eval()
    entry = with_weights(registry["inception_v3"], network.state_dict(), tmp_path, 96)
    got = load_features(entry, device="cpu").features(IMAGES)["avgpool"]
    seen = {}
    network.avgpool.register_forward_hook(lambda module, inputs, output: seen.update(avgpool=output))
    network.transform_input = True
    with torch.no_grad():
        network(Preprocessing.of(entry)(IMAGES))
    np.testing.assert_allclose(got, seen["avgpool"].flatten(1).numpy(), rtol=1e-3, atol=1e-4)
    assert got.shape == (3, 2048)


def test_the_fid_network_leaves_padding_out_of_means_and_ends_with_a_maximum(registry, tmp_path):
    torch.manual_seed(0)
    network = models.inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False).eval()
    entry = with_weights(registry["fid_inception"], network.state_dict(), tmp_path, 96)
    assert load_features(entry, device="cpu").features(IMAGES[:1])["pool"].shape == (1, 2048)
    ours = fid_inception(network.state_dict()).eval()
    seen = {}
    for name, width in (("Mixed_5b", 192), ("Mixed_6c", 768), ("Mixed_7b", 1280), ("Mixed_7c", 2048)):
        block = getattr(ours, name)
        block.branch_pool.register_forward_hook(lambda module, inputs, output: seen.update(pooled=inputs[0]))
        x = torch.randn(1, width, 4, 4)
        with torch.no_grad():
            block(x)
        around = torch.nn.functional.pad(x, (1, 1, 1, 1), value=torch.nan).unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
        wanted = around.nan_to_num(-torch.inf).amax(4) if name == "Mixed_7c" else around.nanmean(4)
        torch.testing.assert_close(seen["pooled"], wanted)


def test_a_study_may_take_the_filter_from_all_networks_that_compare_pictures(registry, tmp_path):
    network = models.alexnet(weights=None).eval()
    entry = with_weights(registry["alexnet"], network.state_dict(), tmp_path, 64)
    assert load_features(entry, device="cpu").preprocessing.antialias
    assert not load_features(entry, device="cpu", antialias=False).preprocessing.antialias
    unfiltered = with_weights(registry["fid_inception"], {}, tmp_path, 96)
    assert not unfiltered.record["preprocessing"]["antialias"]  # published FID values were computed without it


def test_efficientnet_b1_and_swav_pool_before_the_classifier(registry, tmp_path):
    torch.manual_seed(0)
    network = models.efficientnet_b1(weights=None).eval()
    (tmp_path / "b1").mkdir()
    entry = with_weights(registry["efficientnet_b1"], network.state_dict(), tmp_path / "b1", 64)
    got = load_features(entry, device="cpu").features(IMAGES)["avgpool"]
    with torch.no_grad():
        wanted = network.features(Preprocessing.of(entry)(IMAGES)).mean((2, 3)).numpy()
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)

    network = models.resnet50(weights=None).eval()
    body = {f"module.{k}": v for k, v in network.state_dict().items() if not k.startswith("fc.")}
    head = {"module.projection_head.0.weight": torch.zeros(2), "module.prototypes.weight": torch.zeros(2)}
    entry = with_weights(registry["swav_resnet50"], body | head, tmp_path, 64)
    got = load_features(entry, device="cpu").features(IMAGES)["avgpool"]
    network.fc = torch.nn.Identity()
    with torch.no_grad():
        np.testing.assert_allclose(got, network(Preprocessing.of(entry)(IMAGES)).numpy(), rtol=1e-3, atol=1e-5)


def test_weights_of_another_network_are_refused_by_name(registry):
    with torch.device("meta"):
        whole = models.alexnet(weights=None).state_dict()
        lacking = {name: tensor for name, tensor in whole.items() if name != "features.0.bias"}
        with pytest.raises(UserError, match=r"backbone alexnet: missing tensor features\.0\.bias"):
            torchvision_network(registry["alexnet"], lacking)
        with pytest.raises(UserError, match=r"backbone alexnet: unexpected tensor head\.weight"):
            torchvision_network(registry["alexnet"], whole | {"head.weight": torch.empty(1)})


@pytest.mark.parametrize("name", ["efficientnet_lite2", "efficientnet_lite0"])
def test_efficientnet_lite_sees_its_own_range_at_the_registered_size(registry, name):
    from efficientnet_lite_pytorch import EfficientNet

    backbone = registry[name]
    (file,) = backbone.record["files"]
    size = backbone.record["preprocessing"]["image_size"]
    network = EfficientNet.from_name(backbone.record["network"], image_size=size).eval()
    network.load_state_dict(torch.load(backbone.file(file), weights_only=True))
    images = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    shown = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        wanted = network.extract_features(shown).mean((2, 3)).numpy()
    got = load_features(backbone, device="cpu").features(images, batch=1)["features"]
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4)
    assert got.shape == (2, 1280)


def test_image_text_encoders_give_their_joint_vector(tmp_path):
    config = {
        "embed_dim": 10,
        "vision_cfg": {"image_size": 16, "patch_size": 4, "width": 24, "layers": 1, "head_width": 12},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    torch.manual_seed(0)
    model = open_clip.model.CLIP(**config).eval()
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    record = {
        "kind": "open_clip", "source": {"folder": str(tmp_path)}, "tokens": 16, "token_width": 24,
        "files": {"open_clip_model.safetensors": None}, "layers": ["pooled"],
        "preprocessing": {"image_size": 16, "interpolation": "bicubic", "antialias": True, "mean": [0.5] * 3,
                          "std": [0.5] * 3},
    }  # fmt: skip
    backbone = Backbone("tiny", record)
    got = load_features(backbone, ["pooled"], device="cpu").features(IMAGES, batch=2)["pooled"]
    with torch.no_grad():
        wanted = model.encode_image(Preprocessing.of(backbone)(IMAGES)).numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_an_unregistered_layer_is_refused(registry):
    with pytest.raises(UserError, match=r"efficientnet_lite2: no layer 'avgpool'; registered are features"):
        load_features(registry["efficientnet_lite2"], ["avgpool"])
