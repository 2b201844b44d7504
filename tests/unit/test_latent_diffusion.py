"""The class-conditional latent diffusion model of ImageNet: its checkpoint, its codebook, its noise schedule."""

import numpy as np
import pytest
import torch
from latent_diffusion import unet_shapes, vq_tensors

from fmri2img.backbones.autoencoders import QuantisedAutoencoder, load_autoencoder, vq_from_sgm
from fmri2img.backbones.generators import load_generator, scheduler_from_config, unet_from_sgm
from fmri2img.backbones.registry import Backbone, load_registry
from fmri2img.errors import UserError

REGISTRY = load_registry()
SMALL = {"block_out_channels": [32, 64], "down_block_types": ["DownEncoderBlock2D"] * 2, "num_vq_embeddings": 9}
SMALL = REGISTRY["ldm_cin256_vq"].record["vq"] | SMALL | {"up_block_types": ["UpDecoderBlock2D"] * 2}


def test_every_tensor_of_the_unet_has_its_place():
    """400,920,579 parameters, those of CompVis's UNetModel with this configuration."""
    tensors = {name: torch.empty(shape, device="meta") for name, shape in unet_shapes(192).items()}
    unet = unet_from_sgm(tensors, REGISTRY["ldm_cin256"].record["unet"], "ldm_cin256")
    assert sum(parameter.numel() for parameter in unet.parameters()) == 400_920_579
    assert {block.heads for name, block in unet.named_modules() if name.endswith("attn2")} == {1}
    tensors["model.diffusion_model.label_emb.weight"] = torch.empty(1, device="meta")
    with pytest.raises(UserError, match="unexpected tensor"):
        unet_from_sgm(tensors, REGISTRY["ldm_cin256"].record["unet"], "ldm_cin256")


def test_every_tensor_of_the_autoencoder_has_its_place():
    """55,322,782 parameters, those of CompVis's VQ-f4."""
    layout = REGISTRY["ldm_cin256_vq"].record["vq"]
    with torch.device("meta"):
        tensors = vq_tensors(layout)
    assert sum(p.numel() for p in vq_from_sgm(tensors, layout, "vq").parameters()) == 55_322_782
    del tensors["first_stage_model.quantize.embedding.weight"]
    with pytest.raises(UserError, match=r"vq: the checkpoint lacks tensor .*quantize\.embedding"):
        vq_from_sgm(tensors, layout, "vq")


def test_latents_are_quantised_when_they_are_decoded_and_not_before(tmp_path):
    torch.manual_seed(0)
    torch.save({"state_dict": vq_tensors(SMALL)}, tmp_path / "model.ckpt")
    record = REGISTRY["ldm_cin256_vq"].record | {"source": {"folder": str(tmp_path)}, "vq": SMALL}
    autoencoder = load_autoencoder(Backbone("vq", record), "cpu")
    assert isinstance(autoencoder, QuantisedAutoencoder) and (autoencoder.reduction, autoencoder.channels) == (2, 3)
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    latents = autoencoder.encode(images)
    assert latents.shape == (2, 3, 4, 4)
    codes = autoencoder.vae.quantize.embedding.weight
    nearest = codes[torch.cdist(latents.permute(0, 2, 3, 1).reshape(-1, 3), codes).argmin(1)]
    quantised = nearest.reshape(2, 4, 4, 3).permute(0, 3, 1, 2)
    assert not torch.allclose(latents, quantised, atol=1e-3)
    torch.testing.assert_close(autoencoder.decode(latents), autoencoder.decode(quantised))


def test_the_noise_schedule_and_the_steps_are_those_of_latent_diffusion():
    """Square roots of beta are evenly spaced; 250 PLMS steps are at 1, 5, ..., 997, the second of them twice."""
    scheduler = scheduler_from_config(REGISTRY["ldm_cin256"].record["scheduler"])
    betas = np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2
    np.testing.assert_allclose(scheduler.betas, betas, rtol=1e-4)
    scheduler.set_timesteps(250)
    steps = scheduler.timesteps.tolist()
    assert sorted(set(steps)) == list(range(1, 1000, 4)) and len(steps) == 251


def test_a_generator_without_size_conditioning_adds_nothing(tmp_path):
    layout = REGISTRY["ldm_cin256"].record["unet"] | {"block_out_channels": [32, 64, 96, 160], "cross_attention_dim": 8}
    tensors = {name: torch.zeros(shape) for name, shape in unet_shapes(32, context=8).items()}
    torch.save({"state_dict": tensors}, tmp_path / "model.ckpt")
    record = REGISTRY["ldm_cin256"].record | {"source": {"folder": str(tmp_path)}, "unet": layout}
    generator = load_generator(Backbone("ldm", record), "cpu")
    assert generator.added_conditions(3) == {} and generator.latent_shape == (3, 64, 64)
