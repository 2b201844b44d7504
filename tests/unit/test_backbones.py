"""Frozen networks: the registry's checks, and what encoders, autoencoders, generators and captioners give."""

import hashlib
import json

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
import yaml
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import save_file
from sgm_unet import sgm_shapes
from sgm_vae import sgm_autoencoder
from tiny_backbones import EULER, tiny_generator, tiny_vae, unet_config

from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.stimuli import save_stimuli
from fmri2img.backbones.acquisition import acquire
from fmri2img.backbones.autoencoders import Autoencoder, load_autoencoder, read_sgm, vae_from_sgm
from fmri2img.backbones.captioners import Captioner
from fmri2img.backbones.encoders import ImageTextEncoder, load_encoder
from fmri2img.backbones.generators import SGM_PREFIX, load_generator, unet_from_sgm
from fmri2img.backbones.pixels import Preprocessing, resize, to_uint8, to_unit
from fmri2img.backbones.registry import MODELS, REPOSITORY, Backbone, load_registry
from fmri2img.errors import UserError
from fmri2img.schemas import check_schema

PLAIN = {"interpolation": "bicubic", "antialias": True, "mean": [0.5] * 3, "std": [0.5] * 3}
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 20, 24, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def registry() -> dict[str, Backbone]:
    return load_registry()


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Backbone:
    """An untrained open_clip model in the hub's folder layout, as a registry entry."""
    folder = tmp_path_factory.mktemp("clip")
    config = {
        "embed_dim": 10,
        "vision_cfg": {"image_size": 16, "patch_size": 4, "width": 24, "layers": 2, "head_width": 12},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    save_file(open_clip.model.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    record = {
        "kind": "open_clip", "source": {"folder": str(folder)}, "trained_on": "x", "tokens": 16, "token_width": 24,
        "files": {"open_clip_config.json": None, "open_clip_model.safetensors": None}, "layers": ["pooled"],
        "preprocessing": PLAIN | {"image_size": 16},
    }  # fmt: skip
    return Backbone("tiny_clip", record)


def changed(backbone: Backbone, **changes) -> Backbone:
    return Backbone(backbone.name, backbone.record | changes)


# ---- registry


def test_the_registry_fits_its_schema_and_pins_what_torchvision_publishes(registry):
    from torchvision.models import get_weight

    check_schema(yaml.safe_load((REPOSITORY / "config/backbones.yaml").read_text()), "backbones", "registry")
    for backbone in registry.values():
        source, (first, *_) = backbone.record["source"], backbone.record["files"]
        if "weights" in source:
            assert get_weight(source["weights"]).url == source["url"]
        if "url" in source:
            assert source["url"].endswith("/" + first)
        if source.get("revision", "pinned") is None:
            assert "unpinned" in backbone.record["note"]


def test_schema_names_the_key_of_a_bad_entry(registry):
    record = {key: value for key, value in registry["sdxl_unclip"].record.items() if key != "unet"}
    with pytest.raises(UserError, match=r"sdxl_unclip\.unet"):
        check_schema({"sdxl_unclip": record}, "backbones", "registry")
    record = {key: value for key, value in registry["sdxl_unclip_vae"].record.items() if key != "vae"}
    with pytest.raises(UserError, match=r"sdxl_unclip_vae\.vae"):
        check_schema({"sdxl_unclip_vae": record}, "backbones", "registry")


def test_entries_of_the_same_files_are_fetched_once(registry):
    sharing = {name: entry for name, entry in registry.items() if "shares" in entry.record}
    assert set(sharing) >= {
        "openclip_bigg_symmetric", "sdxl_unclip_vae", "versatile_diffusion_unipc", "ldm_cin256_vq",
    }  # fmt: skip
    for entry in sharing.values():
        fetched = registry[entry.record["shares"]]
        assert entry.inputs() == fetched.inputs() == [(MODELS / fetched.name).as_posix()]
        assert entry.record["source"] == fetched.record["source"] and entry.revision == fetched.revision
        assert set(entry.record["files"]) <= set(fetched.record["files"])


def test_inputs_are_files_of_the_repository_or_the_fetched_folder(registry, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert registry["demo_vae"].inputs() == [
        "resources/demo_backbones/vae/config.json",
        "resources/demo_backbones/vae/diffusion_pytorch_model.safetensors",
    ]
    assert registry["sdxl_vae"].inputs() == [(MODELS / "sdxl_vae").as_posix()]
    assert registry["efficientnet_lite2"].inputs() == []


def test_a_missing_short_or_altered_file_is_named_with_the_remedy(tmp_path):
    def entry(**check):
        return Backbone("net", {"kind": "git", "source": {"folder": str(tmp_path)}, "files": {"w.bin": check}})

    with pytest.raises(UserError, match=r"backbone net: .*w\.bin: no such file; restore it"):
        entry().checked_folder()
    (tmp_path / "w.bin").write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    entry(size=7, sha256=sha256[:8]).file("w.bin")
    with pytest.raises(UserError, match=r"w\.bin: has 7 bytes, expected 8"):
        entry(size=8).file("w.bin")
    with pytest.raises(UserError, match=r"w\.bin: sha256 is "):
        entry(size=7, sha256=sha256[1:9]).file("w.bin")


def test_unfetched_networks_and_packages_name_the_remedy(registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"sdxl_vae.*config\.json.*snakemake models/sdxl_vae"):
        registry["sdxl_vae"].checked_folder()
    absent = changed(registry["efficientnet_lite2"], source={"package": "no_such_package"})
    with pytest.raises(UserError, match="no_such_package is not installed"):
        absent.checked_folder()


def test_a_network_of_the_wrong_kind_is_refused(registry):
    with pytest.raises(UserError, match="demo_vae: is of kind diffusers_vae, but one of open_clip"):
        load_encoder(registry["demo_vae"])


def test_fetching_checks_the_file_and_leaves_nothing_half_done(tmp_path):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "w.bin").write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()

    def entry(digits):
        source = {"url": (tmp_path / "hub" / "w.bin").as_uri()}
        return Backbone("net", {"kind": "torchvision", "source": source, "files": {"w.bin": {"sha256": digits}}})

    with pytest.raises(UserError, match=r"net: .*w\.bin: sha256 is"):
        acquire(entry("0" * 64), tmp_path / "models" / "net")
    assert not (tmp_path / "models" / "net").exists()
    acquire(entry(sha256[:8]), tmp_path / "models" / "net")
    assert (tmp_path / "models" / "net" / "w.bin").read_bytes() == b"weights"
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["net"]


def test_what_was_fetched_unpinned_is_recorded_and_checked(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def download(hub, name, repo_type, revision, local_dir):
        asked.append((hub, name, repo_type, revision))
        (local_dir / name).write_bytes(b"weights")

    newest = type("Info", (), {"sha": "c0ffee"})
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", lambda self, hub, repo_type: newest)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.chdir(tmp_path)
    record = {"kind": "git", "source": {"hub": "a/b", "revision": None}, "files": {"w.bin": None, "v.bin": None}}
    net = Backbone("net", record)
    assert net.revision == "unpinned"
    acquire(net, MODELS / "net")
    assert asked == [("a/b", name, "model", "c0ffee") for name in ("w.bin", "v.bin")]  # all of one commit
    assert net.revision == "c0ffee"
    assert net.acquired["files"]["w.bin"] == {"size": 7, "sha256": hashlib.sha256(b"weights").hexdigest()}
    (MODELS / "net" / "v.bin").write_bytes(b"weight")
    assert net.file("w.bin").is_file()
    with pytest.raises(UserError, match=r"v\.bin: has 6 bytes, expected 7"):
        net.checked_folder()
    pinned = changed(net, source={"hub": "a/b", "revision": "f" * 40})
    assert pinned.revision == "f" * 40


def test_an_unreachable_hub_says_how_to_go_on(registry, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"git_large_coco: cannot fetch the newest commit from .*microsoft.*by hand"):
        acquire(registry["git_large_coco"], tmp_path / "models" / "git_large_coco")


# ---- pixels


def test_resizing_is_antialiased_bilinear_as_torchvision_does_it():
    from torchvision.transforms import functional

    pixels = to_unit(IMAGES)
    wanted = functional.resize(pixels, [9, 9], functional.InterpolationMode.BILINEAR, antialias=True)
    torch.testing.assert_close(resize(pixels, 9), wanted)
    assert (resize(pixels, 9, antialias=False) - wanted).abs().max() > 0.05


def test_preprocessing_maps_scales_and_normalises_in_that_order():
    images = np.full((1, 4, 4, 3), 51, np.uint8)  # 0.2
    shown = Preprocessing(4, "bicubic", True, (0.1, 0.2, 0.3), (0.5, 0.25, 1.0), scale=0.5, offset=0.5)(images)
    torch.testing.assert_close(shown[0, :, 0, 0], torch.tensor([1.0, 1.6, 0.3]))
    half = Preprocessing(2, "bilinear", True, (0, 0, 0), (1, 1, 1))
    torch.testing.assert_close(half(IMAGES), half(IMAGES.astype(np.float32) / 255))


def test_pictures_survive_the_way_to_tensors_and_back():
    np.testing.assert_array_equal(to_uint8(to_unit(IMAGES)), IMAGES)


# ---- encoders


def test_tokens_are_patch_tokens_after_the_last_norm_without_class_token(clip):
    encoder = load_encoder(clip, "cpu", batch=2)
    tokens, pooled = encoder.encode_images(IMAGES)
    assert tokens.shape == (5, 16, 24) and tokens.dtype == pooled.dtype == np.float32
    visual = encoder.model.visual
    x = visual.conv1(encoder.preprocessing(IMAGES)).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(5, 1, -1), x], 1) + visual.positional_embedding
    x = visual.ln_post(visual.transformer(visual.ln_pre(x)))
    np.testing.assert_allclose(tokens, x[:, 1:].numpy(), atol=1e-5)
    joint = (x[:, 0] @ visual.proj).numpy()
    np.testing.assert_allclose(pooled, joint / np.linalg.norm(joint, axis=1, keepdims=True), atol=1e-5)


def test_half_precision_tokens_stay_close_to_single(clip):
    single, half = load_encoder(clip, "cpu"), load_encoder(clip, "cpu")
    half = ImageTextEncoder(half.model.bfloat16(), half.tokenizer, half.preprocessing)
    for a, b in zip(single.encode_images(IMAGES), half.encode_images(IMAGES), strict=True):
        assert b.dtype == np.float32 and 0 < np.abs(a - b).max() < 0.15
    texts = ["a red house", "sea"]
    assert np.abs(single.encode_texts(texts) - half.encode_texts(texts)).max() < 0.05
    assert np.abs(single.text_tokens(texts) - half.text_tokens(texts)).max() < 0.15


def test_text_states_end_in_the_joint_vector(clip):
    encoder = load_encoder(clip, "cpu", batch=2)
    texts = ["a red house", "two dogs and a cat", "sea"]
    joint, states = encoder.encode_texts(texts), encoder.text_tokens(texts)
    assert states.shape == (3, 12, 16)
    last = np.argmax(encoder.tokenizer(texts).numpy(), axis=1)  # CLIP pools at the end-of-text token, the largest id
    projected = states[np.arange(3), last] @ encoder.model.text_projection.numpy()
    np.testing.assert_allclose(joint, projected / np.linalg.norm(projected, axis=1, keepdims=True), atol=1e-5)


def test_embedding_stimuli_keeps_ids_and_says_how_it_was_done(clip, tmp_path, monkeypatch):
    import embed_stimuli

    monkeypatch.setattr(embed_stimuli, "BLOCK", 2)
    ids = np.array([4, 9, 11, 700, 72999])
    columns = {"captions": [["a"]] * 5, "categories": [["b"]] * 5}
    save_stimuli(
        tmp_path / "stimuli",
        IMAGES,
        pd.DataFrame({"image_id": ids, "name": "x", "source": "x", "cluster": None} | columns),
        {},
    )
    embed_stimuli.embed_stimuli(clip, str(tmp_path / "stimuli"), str(tmp_path / "embeddings"))
    made = Embeddings.open(tmp_path / "embeddings")
    tokens, pooled = load_encoder(clip, "cpu").encode_images(IMAGES)
    np.testing.assert_array_equal(made.ids, ids)
    np.testing.assert_allclose(made.tokens, tokens, atol=2e-3)
    np.testing.assert_allclose(made.pooled, pooled, atol=1e-5)
    assert made.metadata["encoder"] == "tiny_clip" and made.metadata["revision"].startswith("sha256:")
    assert made.metadata["preprocessing"]["interpolation"] == "bicubic"


def test_registered_token_shape_must_be_the_networks(clip):
    with pytest.raises(UserError, match=r"16 tokens of width 24, but 16 of width 96 are registered"):
        load_encoder(changed(clip, token_width=96), "cpu")


@pytest.mark.parametrize(("name", "architecture"), [("openclip_bigg", "ViT-bigG-14"), ("clip_vit_l14", "ViT-L-14")])
def test_registered_token_shapes_of_the_papers_encoders(registry, name, architecture):
    with torch.device("meta"):
        visual = open_clip.model.CLIP(**open_clip.get_model_config(architecture), output_dict=False).visual
        visual.output_tokens = True
        _, tokens = visual(torch.empty(1, 3, *visual.image_size))
    assert tuple(tokens.shape[1:]) == (registry[name].record["tokens"], registry[name].record["token_width"])


# ---- autoencoders


def test_latents_are_scaled_means_and_decoding_undoes_the_scale():
    vae = tiny_vae()
    autoencoder = Autoencoder(vae)
    latents = autoencoder.encode(IMAGES)
    mean = vae.encode(to_unit(IMAGES) * 2 - 1).latent_dist.mean
    torch.testing.assert_close(latents, mean * 0.7)
    assert latents.shape == (5, 4, 10, 12)
    output = vae.decode(mean).sample
    torch.testing.assert_close(autoencoder.decode(latents), (output / 2 + 0.5).clamp(0, 1))
    torch.testing.assert_close(autoencoder.decode(latents, 0.8, 0.2), (output * 0.8 + 0.2).clamp(0, 1))


VAE = {
    "down_block_types": ["DownEncoderBlock2D"] * 3, "up_block_types": ["UpDecoderBlock2D"] * 3,
    "block_out_channels": [8, 16, 16], "layers_per_block": 2, "latent_channels": 4, "norm_num_groups": 4,
    "scaling_factor": 0.13025,
}  # fmt: skip


def test_the_autoencoder_inside_an_sgm_checkpoint_comes_back_exactly(tmp_path, registry, caplog):
    torch.manual_seed(0)
    original = AutoencoderKL(**VAE).eval()
    others = {"model.diffusion_model.out.2.bias": torch.zeros(4), "conditioner.x": torch.zeros(2)}
    torch.save({"state_dict": sgm_autoencoder(original) | others}, tmp_path / "model.ckpt")
    entry = changed(
        registry["sdxl_unclip_vae"], source={"folder": str(tmp_path)}, files={"model.ckpt": None},
        checkpoint="model.ckpt", vae=VAE,
    )  # fmt: skip
    autoencoder = load_autoencoder(entry, "cpu")
    loaded = autoencoder.vae.state_dict()
    assert loaded.keys() == original.state_dict().keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in original.state_dict().items())
    wanted = Autoencoder(original)
    assert (autoencoder.scaling_factor, autoencoder.reduction) == (0.13025, 4)
    assert not caplog.records  # diffusers warns whenever one of its networks is cast
    assert torch.equal(autoencoder.encode(IMAGES), wanted.encode(IMAGES))
    assert torch.equal(autoencoder.decode(wanted.encode(IMAGES)), wanted.decode(wanted.encode(IMAGES)))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", r"missing tensor decoder\.up_blocks\.0\.resnets\.1\.conv1\.bias"),
        ("unexpected", r"unexpected tensor encoder\.mid\.attn_2\.to_q\.weight"),
        ("stray", r"unexpected tensor first_stage_model\.loss\.logvar"),
        ("level", r"unexpected tensor first_stage_model\.encoder\.down\.3\.block\.0"),
        ("shape", r"tensor post_quant_conv\.weight of shape \(4, 6, 1, 1\), expected \(4, 4, 1, 1\)"),
    ],
)
def test_an_sgm_autoencoder_that_does_not_fit_names_the_tensor(fault, message):
    layout = VAE | {"block_out_channels": [8, 16, 16, 16]} if fault == "level" else VAE
    layout = layout | {key: layout[key][:1] * len(layout["block_out_channels"]) for key in VAE if "types" in key}
    with torch.device("meta"):
        tensors = sgm_autoencoder(AutoencoderKL(**layout))
    strays = {"unexpected": "encoder.mid.attn_2.q.weight", "stray": "loss.logvar"}
    if fault in strays:
        tensors[f"first_stage_model.{strays[fault]}"] = torch.empty(1, device="meta")
    if fault == "missing":
        del tensors["first_stage_model.decoder.up.2.block.1.conv1.bias"]
    if fault == "shape":
        tensors["first_stage_model.post_quant_conv.weight"] = torch.empty(4, 6, 1, 1, device="meta")
    with pytest.raises(UserError, match=f"backbone x: .*{message}.*correct `vae` in config/backbones"):
        vae_from_sgm(tensors, VAE, "backbone x")


def test_the_full_sdxl_autoencoder_has_the_released_shapes(registry):
    """Those of Stable Diffusion's autoencoder."""
    layout = registry["sdxl_unclip_vae"].record["vae"]
    with torch.device("meta"):
        tensors = sgm_autoencoder(AutoencoderKL(**layout))
    vae = vae_from_sgm(tensors, layout, "sdxl_unclip_vae")
    assert sum(p.numel() for p in vae.parameters()) == 83_653_863
    assert tensors["first_stage_model.decoder.up.1.block.0.nin_shortcut.weight"].shape == (256, 512, 1, 1)
    assert tensors["first_stage_model.encoder.mid.attn_1.q.weight"].shape == (512, 512, 1, 1)


# ---- generators

SGM = {
    "channels": 32, "multipliers": [1, 2, 4], "depths": [0, 1, 2], "context": 40, "vector": 1024,
}  # fmt: skip
SGM_UNET = unet_config(
    block_out_channels=[32, 64, 128], norm_num_groups=32, layers_per_block=2, cross_attention_dim=40,
    transformer_layers_per_block=[1, 1, 2],
    down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], attention_head_dim=[1, 2, 4],
    addition_time_embed_dim=256, projection_class_embeddings_input_dim=1024,
)  # fmt: skip


def sgm_tensors(device="cpu", **settings) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    shapes = sgm_shapes(**SGM | settings)
    return {name: torch.randn(shape, device=device) * 0.02 for name, shape in shapes.items()}


def test_an_sgm_checkpoint_is_loaded_whole_from_its_file(tmp_path, registry, caplog):
    tensors = sgm_tensors()
    others = {"first_stage_model.decoder.conv_in.bias": torch.zeros(3), "conditioner.x": torch.zeros(2)}
    torch.save({"state_dict": tensors | others, "global_step": 110000}, tmp_path / "model.ckpt")
    entry = changed(
        registry["sdxl_unclip"], source={"folder": str(tmp_path)}, files={"model.ckpt": None}, checkpoint="model.ckpt",
        unet=SGM_UNET, scheduler=EULER,
    )  # fmt: skip
    generator = load_generator(entry, "cpu")
    assert not caplog.records
    assert sum(p.numel() for p in generator.unet.parameters()) == sum(t.numel() for t in tensors.values())
    own = generator.unet.state_dict()
    source = "model.diffusion_model."
    for name, original in {
        "conv_in.weight": "input_blocks.0.0.weight",
        "add_embedding.linear_1.weight": "label_emb.0.0.weight",
        "down_blocks.2.attentions.1.transformer_blocks.1.attn2.to_k.weight": (
            "input_blocks.8.1.transformer_blocks.1.attn2.to_k.weight"
        ),
        "up_blocks.0.upsamplers.0.conv.weight": "output_blocks.2.2.conv.weight",
        "up_blocks.2.resnets.2.conv2.weight": "output_blocks.8.0.out_layers.3.weight",
    }.items():
        torch.testing.assert_close(own[name], tensors[source + original])
    assert (generator.decode, generator.unconditional) == ((0.8, 0.2), "noise")
    assert generator.size_conditioning == (768, 768, 0, 0)


def test_a_damaged_or_unsafe_checkpoint_is_refused(tmp_path):
    torch.save({"state_dict": sgm_tensors("cpu", depths=[0, 1, 1])}, tmp_path / "model.ckpt")
    whole = (tmp_path / "model.ckpt").read_bytes()
    (tmp_path / "model.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"model\.ckpt: not a complete torch file"):
        read_sgm(tmp_path / "model.ckpt", SGM_PREFIX, torch.float32)
    torch.save({"state_dict": {}, "callback": Backbone("any", {})}, tmp_path / "model.ckpt")
    with pytest.raises(UserError, match=r"model\.ckpt: holds Python objects other than tensors"):
        read_sgm(tmp_path / "model.ckpt", SGM_PREFIX, torch.float32)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", r"missing tensor down_blocks\.1\.attentions\.0\.proj_in\.weight"),
        ("label", r"lacks tensor label_emb\.0\.0\.weight"),
        ("unexpected", r"unexpected tensor down_blocks\.1\.attentions\.0\.gate"),
        ("stray", r"unexpected tensor model\.diffusion_model\.id_predictor\.weight"),
        ("shape", r"shape \(64, 48\), expected \(64, 40\)"),
    ],
)
def test_an_sgm_checkpoint_that_does_not_fit_names_the_tensor(fault, message):
    tensors = sgm_tensors("meta", context=48 if fault == "shape" else 40)
    if fault == "missing":
        del tensors["model.diffusion_model.input_blocks.4.1.proj_in.weight"]
    if fault == "label":
        del tensors["model.diffusion_model.label_emb.0.0.weight"]
    if fault == "unexpected":
        tensors["model.diffusion_model.input_blocks.4.1.gate"] = torch.empty(1)
    if fault == "stray":
        tensors["model.diffusion_model.id_predictor.weight"] = torch.empty(1)
    with pytest.raises(UserError, match=f"backbone x: .*{message}"):
        unet_from_sgm(tensors, SGM_UNET, "backbone x")


def test_the_full_sdxl_unclip_network_has_the_released_shapes(registry):
    """SDXL base has 2,567,463,684 parameters; unCLIP's keys and values read 1664 instead of 2048 columns in 10 blocks
    of width 640 and 60 of 1280, and its size embedding has 1024 columns instead of 2816."""
    settings = {"channels": 320, "depths": [0, 2, 10], "context": 1664}
    unet = unet_from_sgm(sgm_tensors("meta", **settings), registry["sdxl_unclip"].record["unet"], "sdxl_unclip")
    fewer = 2 * (2048 - 1664) * (10 * 640 + 60 * 1280) + (2816 - 1024) * 1280
    assert sum(p.numel() for p in unet.parameters()) == 2_567_463_684 - fewer
    heads = {block.heads for name, block in unet.named_modules() if name.endswith("attn1")}
    assert heads == {10, 20}


def test_size_conditioning_is_repeated_for_each_image():
    added = tiny_generator(size_conditioning=(768, 768, 1, 2)).added_conditions(3)
    assert added["time_ids"].tolist() == [[768, 768, 1, 2]] * 3 and added["text_embeds"].shape == (3, 0)


# ---- captioners


class _Words:
    """A tokenizer of numbers: 0 pads, 1 begins, 2 ends."""

    pad_token_id, cls_token_id, sep_token_id = 0, 1, 2

    @staticmethod
    def batch_decode(ids, skip_special_tokens):
        return [" ".join(str(int(i)) for i in row if i > 2) for row in ids]


def test_captions_are_the_greedy_continuation_of_the_tokens():
    from transformers import GitConfig, GitForCausalLM

    torch.manual_seed(0)
    config = GitConfig(
        vision_config={"hidden_size": 12, "image_size": 8, "patch_size": 4, "num_hidden_layers": 1,
                       "num_attention_heads": 2, "intermediate_size": 16},
        vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=40, pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.5,
    )  # fmt: skip
    model = GitForCausalLM(config)
    captioner = Captioner(model, _Words())
    tokens = np.random.default_rng(0).normal(size=(6, 5, 12)).astype(np.float16)
    captions = captioner.caption(tokens, max_length=7)
    assert len(set(captions)) > 1
    assert captioner.caption(tokens, max_length=7, batch=1) == captions
    ids = [1]
    while len(ids) < 7 and ids[-1] != 2:
        logits = model(input_ids=torch.tensor([ids]), pixel_values=torch.from_numpy(tokens[:1, None]).float()).logits
        ids.append(int(logits[0, -1].argmax()))
    assert captions[0] == _Words.batch_decode([ids], True)[0]
    with pytest.raises(UserError, match="takes 5 image tokens, got 4"):
        captioner.caption(tokens[:, :4])
