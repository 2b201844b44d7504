"""Import of MinD-Vis's published checkpoints, on a tiny instance with the released names and the released classes."""

import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from latent_diffusion import unet_shapes, vq_tensors
from recordings import small_recording

from fmri2img.artifacts.recording import Recording
from fmri2img.backbones.generators import scheduler_from_config
from fmri2img.backbones.registry import Backbone, load_registry
from fmri2img.errors import UserError
from fmri2img.methods.mindvis.network import load_model, trained_in_unet
from fmri2img.methods.mindvis.released import DIFFUSION_TABLES, import_checkpoint
from import_mindvis import import_released

REGISTRY = load_registry()
UNET = REGISTRY["ldm_cin256"].record["unet"] | {
    "block_out_channels": [32, 64], "cross_attention_dim": 24, "sample_size": 4,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
}  # fmt: skip
VQ = REGISTRY["ldm_cin256_vq"].record["vq"] | {
    "block_out_channels": [32, 64], "down_block_types": ["DownEncoderBlock2D"] * 2, "num_vq_embeddings": 9,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
}  # fmt: skip
WIDTH, DEPTH, PATCHES, TIME = 64, 2, 5, 128


def released_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of encoder and conditions, written down from the released code."""
    mae = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 1 + PATCHES, WIDTH), "mask_token": (1, 1, WIDTH)}
    mae |= {"patch_embed.proj.weight": (WIDTH, 1, 16), "patch_embed.proj.bias": (WIDTH,)}
    layers = {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
    layers |= {"mlp.fc1": (WIDTH, WIDTH), "mlp.fc2": (WIDTH, WIDTH), "norm1": (WIDTH,), "norm2": (WIDTH,)}
    for name, shape in {f"blocks.{n}.{k}": v for n in range(DEPTH) for k, v in layers.items()}.items() | {
        ("norm", (WIDTH,))
    }:
        mae |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    shapes = {f"cond_stage_model.mae.{name}": shape for name, shape in mae.items()}
    for name, shape in {
        "cond_stage_model.channel_mapper.0": (2, 5, 1), "cond_stage_model.channel_mapper.1": (77, 2, 1),
        "cond_stage_model.dim_mapper": (24, WIDTH), "model.diffusion_model.time_embed_condtion.0": (38, 77, 1),
        "model.diffusion_model.time_embed_condtion.1": (1, 38, 1),
        "model.diffusion_model.time_embed_condtion.2": (TIME, 24),
    }.items():  # fmt: skip
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> tuple[Backbone, Backbone, dict[str, torch.Tensor]]:
    """A tiny latent diffusion model as its file has it: the generator, the autoencoder, and all tensors."""
    folder = tmp_path_factory.mktemp("ldm")
    torch.manual_seed(0)
    tensors = {name: torch.randn(shape) * 0.05 for name, shape in unet_shapes(32, (1, 2), 24).items()}
    tensors |= vq_tensors(VQ)
    torch.save({"state_dict": tensors}, folder / "model.ckpt")
    changes = {"source": {"folder": str(folder)}}
    generator = REGISTRY["ldm_cin256"].record | changes | {"unet": UNET}
    autoencoder = REGISTRY["ldm_cin256_vq"].record | changes | {"vq": VQ}
    return Backbone("ldm", generator), Backbone("vq", autoencoder), tensors


@pytest.fixture
def state(networks) -> dict[str, torch.Tensor]:
    """All weights of a released checkpoint: cross-attention differs from the generator's, the rest is its own."""
    torch.manual_seed(1)
    tensors = {
        name: tensor + torch.randn(tensor.shape)
        if ".attn2." in name or (".norm2." in name and "blocks" in name)
        else tensor
        for name, tensor in networks[2].items()
        if name.startswith("model.")
    }
    tensors |= {name: tensor for name, tensor in networks[2].items() if name.startswith("first_stage_model.")}
    tensors |= {name: torch.randn(shape) for name, shape in released_shapes().items()}
    betas = scheduler_from_config(REGISTRY["ldm_cin256"].record["scheduler"]).betas
    return tensors | {table: betas if table == "betas" else torch.zeros(1000) for table in DIFFUSION_TABLES}


def saved(path: Path, state: dict) -> Path:
    """A file as the released training saves it: the configuration is an object of a module `config`."""
    module = types.ModuleType("config")
    module.Config_Generative_Model = type("Config_Generative_Model", (), {"__module__": "config"})
    sys.modules["config"] = module
    try:
        config = module.Config_Generative_Model()
        config.kam_subs, config.lr, config.logger = ["sbj_3"], 5.3e-5, None
        torch.save({"model_state_dict": state, "config": config, "state": torch.get_rng_state()}, path)
    finally:
        del sys.modules["config"]
    return path


def test_every_key_is_accounted_for_and_the_model_computes_with_the_released_weights(networks, state, tmp_path):
    generator, autoencoder, _ = networks
    checkpoint = Backbone("mindvis_x", {"source": {"folder": str(tmp_path)}, "files": {"finetuned.pth": None}})
    saved(tmp_path / "finetuned.pth", state)
    recording = Recording.open(small_recording(tmp_path / "recording", "Subject3", 70))
    import_released(checkpoint, generator, autoencoder, recording, 3, str(tmp_path / "out"))
    model, record = load_model(tmp_path / "out", "cpu")
    here = model.state_dict()
    for name in released_shapes():
        torch.testing.assert_close(here[name.removeprefix("model.diffusion_model.")], state[name])
    for name, released in {
        "attentions.0.transformer_blocks.0.attn2.to_k.weight": "1.transformer_blocks.0.attn2.to_k.weight",
        "attentions.0.transformer_blocks.0.norm2.bias": "1.transformer_blocks.0.norm2.bias",
        "resnets.0.conv1.weight": "0.in_layers.2.weight",
    }.items():
        wanted = state[f"model.diffusion_model.middle_block.{released}"]
        torch.testing.assert_close(here[f"unet.mid_block.{name}"], wanted)
    numbers = sum(t.numel() for n, t in state.items() if n in released_shapes())
    trained = sum(t.numel() for n, t in model.unet.state_dict().items() if trained_in_unet(n))
    assert sum(t.numel() for t in model.trained().values()) == numbers + trained
    assert record["voxels"] == {"Subject3": 70} and record["metadata"]["tuned_on_test"]
    with torch.no_grad():
        context, time = model.condition(torch.zeros(2, 1, 80))
        assert model.denoise(torch.zeros(2, 3, 4, 4), torch.tensor([1, 2]), context, time).shape == (2, 3, 4, 4)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", r"missing cond_stage_model\.dim_mapper\.bias"),
        ("unknown", r"unexpected model_ema\.decay"),
        ("stray", r"unexpected tensor model\.diffusion_model\.extra"),
        ("misshapen", r"of another shape: cond_stage_model\.channel_mapper\.1\.weight \(77, 3, 1\)"),
        ("frozen", r"its frozen weight conv_in\.bias differs from that of ldm"),
        ("autoencoder", r"its frozen weight decoder\.conv_out\.bias differs from that of vq"),
        ("schedule", "its noise schedule is not that of the registered generator"),
        ("encoder", "of the encoder is missing or misshapen"),
    ],
)
def test_what_does_not_fit_is_named(networks, state, tmp_path, fault, message):
    changes = {
        "missing": {"cond_stage_model.dim_mapper.bias": None},
        "unknown": {"model_ema.decay": torch.ones(1)},
        "stray": {"model.diffusion_model.extra": torch.ones(1)},
        "misshapen": {"cond_stage_model.channel_mapper.1.weight": torch.ones(77, 3, 1)},
        "frozen": {"model.diffusion_model.input_blocks.0.0.bias": torch.ones(32)},
        "autoencoder": {"first_stage_model.decoder.conv_out.bias": torch.full((3,), 9.0)},
        "schedule": {"betas": torch.linspace(1e-4, 2e-2, 1000)},
        "encoder": {"cond_stage_model.mae.patch_embed.proj.weight": None},
    }[fault]
    state = {name: tensor for name, tensor in (state | changes).items() if tensor is not None}
    with pytest.raises(UserError, match=message):
        import_checkpoint(saved(tmp_path / "finetuned.pth", state), *networks[:2])


def test_a_file_with_other_objects_is_not_loaded(networks, tmp_path):
    with open(tmp_path / "finetuned.pth", "wb") as handle:
        pickle.dump({"model_state_dict": {"a": np.zeros(2)}, "object": Backbone("any", {})}, handle)
    with pytest.raises(UserError, match=r"finetuned\.pth"):
        import_checkpoint(tmp_path / "finetuned.pth", *networks[:2])


def test_a_recording_of_another_size_is_refused(networks, state, tmp_path):
    saved(tmp_path / "finetuned.pth", state)
    checkpoint = Backbone("mindvis_x", {"source": {"folder": str(tmp_path)}, "files": {"finetuned.pth": None}})
    recording = Recording.open(small_recording(tmp_path / "recording", "Subject3", 90))
    with pytest.raises(UserError, match="has 90 voxels, but mindvis_x has 5 patches of 16"):
        import_released(checkpoint, *networks[:2], recording, 3, str(tmp_path / "out"))
