"""LPIPS and DreamSim: the registered weights, the registered size, and no download."""

import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import lpips as torchmetrics_lpips
from torchvision import models

from fmri2img.backbones.features import load_features
from fmri2img.backbones.perceptual import load_perceptual
from fmri2img.backbones.registry import Backbone, load_registry
from fmri2img.errors import UserError

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def registry():
    return load_registry()


@pytest.fixture
def alexnet(registry, tmp_path):
    """The registered AlexNet with random weights, at 64 pixels."""
    torch.manual_seed(0)
    network = models.alexnet(weights=None)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    preprocessing = registry["alexnet"].record["preprocessing"] | {"image_size": 64}
    changes = {"source": {"folder": str(tmp_path)}, "files": {"weights.pth": None}, "preprocessing": preprocessing}
    return Backbone("alexnet", registry["alexnet"].record | changes), network


def test_lpips_equals_torchmetrics_with_the_same_alexnet(alexnet, monkeypatch):
    entry, network = alexnet
    truth, images = RNG.random((2, 3, 64, 64, 3)).astype(np.float32)
    found = load_perceptual(entry, "cpu").distances(truth, images)

    monkeypatch.setattr(torchmetrics_lpips, "_get_tv_model_features", lambda *a, **k: network.features)
    pair = [torch.from_numpy(p).permute(0, 3, 1, 2) for p in (truth, images)]
    expected = torchmetrics_lpips.learned_perceptual_image_patch_similarity(
        *pair, net_type="alex", reduction="none", normalize=True
    )
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-5)
    assert (found > 0).all() and found.dtype == np.float64


def test_lpips_of_the_same_picture_is_zero_and_is_resized_to_the_registered_size(alexnet):
    entry, _ = alexnet
    network = load_perceptual(entry, "cpu")
    pictures = RNG.integers(0, 256, (2, 100, 100, 3), np.uint8)
    np.testing.assert_allclose(network.distances(pictures, pictures), 0, atol=1e-7)
    assert network.distances(pictures[:1], pictures[1:]).shape == (1,)


def test_lpips_refuses_other_networks_and_weights(registry, alexnet, tmp_path):
    with pytest.raises(UserError, match="backbone inception_v3: LPIPS is defined here on alexnet"):
        load_perceptual(registry["inception_v3"])
    torch.save({"features.0.weight": torch.zeros(2)}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"backbone alexnet: no tensor features\.0\.weight of shape"):
        load_perceptual(alexnet[0])


def test_dreamsim_without_its_package_says_what_to_install(registry, monkeypatch):
    monkeypatch.setitem(sys.modules, "dreamsim", None)
    with pytest.raises(UserError, match="pip install dreamsim"):
        load_perceptual(registry["dreamsim"])


def archived(tmp_path, monkeypatch, registry) -> Backbone:
    monkeypatch.chdir(tmp_path)
    backbone = registry["dreamsim"]
    backbone.folder.mkdir(parents=True)
    return backbone


def test_dreamsim_loads_the_registered_files_and_fetches_none(registry, tmp_path, monkeypatch):
    """The package is given the archive's files, in a folder of its own, and only the network that they are of."""
    backbone, seen = archived(tmp_path, monkeypatch, registry), {}
    (file,) = backbone.record["files"]
    with zipfile.ZipFile(backbone.folder / file, "w") as archive:
        archive.writestr("open_clip_vitb32_single_lora/adapter_config.json", "{}")

    def dreamsim(device, cache_dir, dreamsim_type):
        seen.update(type=dreamsim_type, files=[p.name for p in Path(cache_dir).rglob("*.json")])
        return lambda a, b: (a - b).abs().mean(dim=(1, 2, 3)), None

    monkeypatch.setitem(sys.modules, "dreamsim", types.SimpleNamespace(dreamsim=dreamsim))
    pictures = RNG.integers(0, 256, (2, 224, 224, 3), np.uint8)
    found = load_perceptual(backbone, "cpu").distances(pictures[:1], pictures[1:])
    assert seen == {"type": "open_clip_vitb32", "files": ["adapter_config.json"]}
    np.testing.assert_allclose(found, np.abs(pictures[0] / 255 - pictures[1] / 255).mean(), atol=1e-6)
    assert backbone.inputs() == ["models/dreamsim"]


def test_dreamsim_with_a_broken_archive_is_refused(registry, tmp_path, monkeypatch):
    backbone = archived(tmp_path, monkeypatch, registry)
    (file,) = backbone.record["files"]
    (backbone.folder / file).write_bytes(b"not a zip")
    monkeypatch.setitem(sys.modules, "dreamsim", types.SimpleNamespace(dreamsim=None))
    with pytest.raises(UserError, match=r"not a complete ZIP archive .*; delete models/dreamsim"):
        load_perceptual(backbone, "cpu")


def test_efficientnet_lite_gives_class_scores_and_maps_on_a_grid(registry):
    from efficientnet_lite_pytorch import EfficientNet

    backbone = registry["efficientnet_lite0"]
    (file,) = backbone.record["files"]
    network = EfficientNet.from_name("efficientnet-lite0", image_size=112).eval()
    network.load_state_dict(torch.load(backbone.file(file), weights_only=True))
    images = RNG.integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    shown = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128
    got = load_features(backbone, ["logits", "stem", "block_4"], "cpu").features(images, batch=1, grid=7)
    with torch.no_grad():
        wanted = network(shown).numpy()
        stem = torch.nn.functional.adaptive_avg_pool2d(network._bn0(network._conv_stem(shown)), 7)
    np.testing.assert_allclose(got["logits"], wanted, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(got["stem"], stem.flatten(1).numpy(), rtol=1e-3, atol=1e-4)
    assert got["logits"].shape == (2, 1000) and got["block_4"].shape == (2, 40 * 49)


def test_vision_transformers_are_registered_with_a_node_for_their_class_scores(registry):
    from torchvision.models import get_model
    from torchvision.models.feature_extraction import get_graph_node_names

    for name in ("vit_b16", "vit_h14"):
        record = registry[name].record
        with torch.device("meta"):
            network = get_model(record["network"], weights=None, **record.get("arguments", {}))
            assert record["layers"][0] in get_graph_node_names(network)[1]
        weights = models.get_weight(record["source"]["weights"])
        assert weights.url == record["source"]["url"]
        size = record["preprocessing"]["image_size"]
        assert weights.transforms().crop_size == [size]
        assert weights.transforms().mean == record["preprocessing"]["mean"]
