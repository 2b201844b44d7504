"""Targets of the low-level head: teachers of local features, their augmented views, and autoencoder latents."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_backbones import tiny_vae

from embed_local_features import embed_local_features
from encode_latents import encode_latents
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.stimuli import save_stimuli
from fmri2img.backbones.autoencoders import load_autoencoder
from fmri2img.backbones.local_features import ConvNeXtMaps, augmented, from_vicregl, load_local_features
from fmri2img.backbones.pixels import Preprocessing
from fmri2img.backbones.registry import Backbone, load_registry
from fmri2img.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
IDS = np.array([3, 5, 8, 13, 21, 34])
PLAIN = {"interpolation": "bilinear", "antialias": True, "mean": [0.0] * 3, "std": [1.0] * 3, "image_size": 64}
TINY = {"depths": [1, 1, 2, 1], "widths": [4, 6, 8, 10], "projector": [7, 7, 5]}


@pytest.fixture(scope="module")
def registry() -> dict[str, Backbone]:
    return load_registry()


@pytest.fixture(scope="module")
def vicregl() -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Weights of a tiny network of the released code as in its checkpoint, an input, and the map it makes of it."""
    tensors = load_file(Path(__file__).parents[1] / "fixtures" / "vicregl_convnext.safetensors")
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    return tensors, tensors.pop("input"), tensors.pop("output")


def checkpoint(tensors: dict[str, torch.Tensor], folder: Path) -> Backbone:
    """A registry entry of kind vicregl_convnext around a training checkpoint."""
    others = {"module.projector.0.weight": torch.zeros(2), "module.classifier.weight": torch.zeros(2)}
    torch.save({"model": tensors | others, "epoch": 3}, folder / "full.pth")
    record = {
        "kind": "vicregl_convnext", "source": {"folder": str(folder)}, "files": {"full.pth": None}, "licence": "x",
        "trained_on": "nothing",
        "arguments": TINY, "prefix": "module.", "unused": ["projector.", "classifier."], "tokens": 4, "token_width": 5,
        "preprocessing": PLAIN,
    }  # fmt: skip
    return Backbone("tiny_vicregl", record)


@pytest.fixture
def stimuli(tmp_path) -> Path:
    table = pd.DataFrame(
        {
            "image_id": IDS,
            "name": "x",
            "source": "x",
            "cluster": None,
            "captions": [["a"]] * 6,
            "categories": [["b"]] * 6,
        }
    )
    save_stimuli(tmp_path / "stimuli", IMAGES, table, {})
    return tmp_path / "stimuli"


def test_a_vicregl_checkpoint_gives_the_released_maps(vicregl, tmp_path):
    tensors, pixels, wanted = vicregl
    teacher = load_local_features(checkpoint(tensors, tmp_path), device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(teacher.network(pixels), wanted, rtol=1e-4, atol=1e-5)
    assert teacher.maps(IMAGES, batch=4).shape == (6, 4, 5)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("module.backbone.stages.2.1.pwconv1.weight", "drop", r"missing tensor features\.5\.1\.block\.3\.weight"),
        ("module.backbone.head.weight", "add", r"unexpected tensor head\.weight"),
    ],
)
def test_a_vicregl_checkpoint_of_another_network_is_named(vicregl, tmp_path, name, change, message):
    tensors = dict(vicregl[0])
    if change == "drop":
        del tensors[name]
    else:
        tensors[name] = torch.zeros(2)
    with pytest.raises(UserError, match=message):
        load_local_features(checkpoint(tensors, tmp_path), device="cpu")


def test_the_registered_vicregl_network_is_convnext_xlarge_with_49_places(registry):
    record = registry["vicregl_convnext_xl"].record
    with torch.device("meta"):
        network = ConvNeXtMaps(**record["arguments"])
        places = network(torch.empty(1, 3, 224, 224)).shape
    assert places == (1, record["tokens"], record["token_width"])
    scales = sum(p.numel() for name, p in network.named_parameters() if name.endswith("layer_scale"))
    body = sum(p.numel() for name, p in network.named_parameters() if not name.startswith("projector"))
    # ConvNeXt-XL (Liu et al., 2022) has 350,196,968 parameters with a classifier of 1,000 classes.
    assert body == 350_196_968 - (2048 * 1000 + 1000)
    assert scales == 3 * 256 + 3 * 512 + 27 * 1024 + 3 * 2048


def test_every_name_of_the_released_teacher_is_translated(vicregl):
    names = set(from_vicregl({name.removeprefix("module."): tensor for name, tensor in vicregl[0].items()}))
    expected = {name for name in ConvNeXtMaps(**TINY).state_dict() if not name.endswith("layer_scale")}
    assert names == expected


def test_the_demo_teacher_sees_four_by_four_places_and_tells_them_apart(registry):
    teacher = load_local_features(registry["efficientnet_lite0_local"], device="cpu")
    maps = teacher.maps(IMAGES)
    assert maps.shape == (6, 16, 112)
    changed = IMAGES.copy()
    changed[0, :16, 48:] = 255 - changed[0, :16, 48:]  # the upper right corner: place 3
    moved = np.linalg.norm(teacher.maps(changed)[0] - maps[0], axis=1)
    assert moved.argmax() == 3
    assert (teacher.maps(IMAGES[1:], batch=2) - maps[1:]).max() < 1e-4


def test_a_map_of_another_size_than_registered_is_an_error(registry):
    entry = registry["efficientnet_lite0_local"]
    with pytest.raises(UserError, match="its map has 16 positions of width 112, but 16 of width 40 are registered"):
        load_local_features(Backbone(entry.name, entry.record | {"token_width": 40}), device="cpu")


def test_views_depend_on_image_and_number_alone(registry):
    preprocessing = Preprocessing.of(registry["efficientnet_lite0_local"])
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = augmented(IMAGES, IDS, 1, preprocessing)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    np.testing.assert_array_equal(augmented(IMAGES[::-1], IDS[::-1], 1, preprocessing), first[::-1])
    assert np.abs(augmented(IMAGES, IDS, 2, preprocessing) - first).max(axis=(1, 2, 3)).min() > 0.05
    assert first.shape == (6, 64, 64, 3) and first.min() >= 0 and first.max() <= 1


def test_views_are_as_often_grey_solarised_and_jittered_as_published():
    colours = np.empty((400, 64, 64, 3), np.uint8)
    colours[:] = (150, 100, 70)
    views = augmented(colours, np.arange(400), 1, Preprocessing(64, "bilinear", True, (0, 0, 0), (1, 1, 1)))
    pixels = views[:, 32, 32]
    grey = np.ptp(pixels, axis=1) < 1e-3
    untouched = np.abs(pixels - colours[0, 0, 0] / 255).max(1) < 1e-3
    assert 0.05 < grey.mean() < 0.16
    assert 0.1 < untouched.mean() < 0.25  # 0.2 x 0.9 x 0.9


def test_local_features_and_latents_of_stimuli_are_stored_by_image(registry, stimuli, tmp_path):
    entry = registry["efficientnet_lite0_local"]
    teacher = load_local_features(entry, device="cpu")
    for view in (0, 2):
        embed_local_features(entry, str(stimuli), view, str(tmp_path / f"view{view}"))
        stored = Embeddings.open(tmp_path / f"view{view}")
        images = augmented(IMAGES, IDS, view, teacher.preprocessing) if view else IMAGES
        np.testing.assert_array_equal(stored.ids, IDS)
        np.testing.assert_allclose(stored.tokens, teacher.maps(images), rtol=2e-3, atol=2e-3)
        assert stored.metadata["view"] == view

    (tmp_path / "vae").mkdir()
    tiny_vae().save_pretrained(tmp_path / "vae")
    files = {"config.json": None, "diffusion_pytorch_model.safetensors": None}
    record = {"kind": "diffusers_vae", "source": {"folder": str(tmp_path / "vae")}, "files": files, "trained_on": "x"}
    encode_latents(Backbone("tiny_vae", record), str(stimuli), 32, str(tmp_path / "latents"))
    stored = Embeddings.open(tmp_path / "latents")
    autoencoder = load_autoencoder(Backbone("tiny_vae", record), device="cpu")
    small = torch.nn.functional.interpolate(
        torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255, (32, 32), mode="bilinear", antialias=True
    )
    wanted = autoencoder.encode(small.permute(0, 2, 3, 1).numpy())
    assert stored.tokens.shape == (6, 256, 4)
    grid = torch.from_numpy(stored.tokens.astype(np.float32)).reshape(6, 16, 16, 4).permute(0, 3, 1, 2)
    torch.testing.assert_close(grid, wanted, rtol=2e-3, atol=2e-3)


def test_an_autoencoder_loads_from_a_plain_checkpoint(tmp_path):
    vae = tiny_vae()
    torch.save(vae.state_dict(), tmp_path / "vae.pth")
    layout = {key: value for key, value in vae.config.items() if not key.startswith("_") and value is not None}
    record = {
        "kind": "diffusers_vae", "source": {"folder": str(tmp_path)}, "files": {"vae.pth": None}, "trained_on": "x",
        "checkpoint": "vae.pth", "vae": layout,
    }  # fmt: skip
    loaded = load_autoencoder(Backbone("plain", record), device="cpu")
    with torch.no_grad():
        pixels = torch.from_numpy(IMAGES[:2]).permute(0, 3, 1, 2) / 127.5 - 1
        wanted = vae.encode(pixels).latent_dist.mode() * 0.7
    torch.testing.assert_close(loaded.encode(IMAGES[:2]), wanted, rtol=1e-4, atol=1e-5)
    record["vae"] = layout | {"block_out_channels": [8, 8, 8], "down_block_types": ["DownEncoderBlock2D"] * 3,
                              "up_block_types": ["UpDecoderBlock2D"] * 3}  # fmt: skip
    with pytest.raises(UserError, match=r"backbone plain: Missing key.*Correct `vae`"):
        load_autoencoder(Backbone("plain", record), device="cpu")


def test_the_released_autoencoder_has_stable_diffusions_size(registry):
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    with torch.device("meta"):
        vae = AutoencoderKL(**registry["sd_image_variations_vae"].record["vae"])
    assert sum(p.numel() for p in vae.parameters()) == 83_653_863
    assert vae.config.scaling_factor == 0.18215
