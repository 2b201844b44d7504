"""Dual guidance: the mixture of two transformers, released layouts, known answers from an oracle, several samples."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers.models.transformers.dual_transformer_2d import DualTransformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel
from safetensors.torch import save_file
from tiny_backbones import DDIM, TOKENS, WIDTH, OracleUNet, tiny_autoencoder, tiny_generator, tiny_unet, write_json
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPVisionConfig, CLIPVisionModelWithProjection

from fmri2img.backbones.dual_unet import IMAGE, TEXT, DualAttention, dual_unet, load_dual_generator, set_mixing
from fmri2img.backbones.encoders import load_encoder
from fmri2img.backbones.pixels import Preprocessing, to_uint8
from fmri2img.backbones.projected_clip import ProjectedClip
from fmri2img.backbones.registry import Backbone, load_registry
from fmri2img.errors import UserError
from fmri2img.generation.dual_guided import Context, DualGuidedGenerator, Start

IDS = np.array([3, 11, 40])
POSITIONS = 4
UNIPC = {"_class_name": "UniPCMultistepScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085,
         "beta_end": 0.012, "prediction_type": "epsilon"}  # fmt: skip
COMPVIS = load_registry()["versatile_diffusion"].record["scheduler"]
# Of shi-labs/versatile-diffusion, from diffusers' conversion script; what is not named has diffusers' default.
FLOWS = {"block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2, "cross_attention_dim": 768,
         "attention_head_dim": 8}  # fmt: skip


@pytest.fixture(scope="module")
def contexts() -> Context:
    rng = np.random.default_rng(0)
    return Context(rng.normal(size=(3, TOKENS, WIDTH)), rng.normal(size=(3, POSITIONS, WIDTH)).astype(np.float16))


def text_flow(seed: int = 1) -> UNet2DConditionModel:
    return tiny_unet(seed)


@pytest.fixture(scope="module")
def dual() -> UNet2DConditionModel:
    return dual_unet(tiny_unet(), text_flow().state_dict(), "tiny")


def predict(unet, context: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(3)
    sample, sizes = torch.randn(3, 4, 4, 4), torch.tensor([[8.0, 8, 0, 0]] * 3)
    added = {"text_embeds": torch.empty(3, 0), "time_ids": sizes}
    with torch.no_grad():
        return unet(sample, 7, encoder_hidden_states=context, added_cond_kwargs=added).sample


def joined(contexts: Context) -> torch.Tensor:
    return contexts.joined(slice(0, 3), 3)


def test_a_block_mixes_what_the_two_transformers_add(dual, contexts):
    """Brain-Diffuser's formula: h0 * ratio + h1 * (1 - ratio) + h, of what each transformer adds to h."""
    set_mixing(dual, 0.4, POSITIONS, TOKENS)
    block = dual.mid_block.attentions[0]
    state = torch.randn(3, 32, 2, 2, generator=torch.Generator().manual_seed(1))
    vision, text = (torch.from_numpy(np.asarray(part, np.float32)) for part in (contexts.vision, contexts.text))
    with torch.no_grad():
        by_image = block.transformers[IMAGE](state, encoder_hidden_states=vision).sample - state
        by_text = block.transformers[TEXT](state, encoder_hidden_states=text).sample - state
        mixed = block(state, joined(contexts))[0]
        torch.testing.assert_close(mixed, state + 0.6 * by_image + 0.4 * by_text)
        torch.testing.assert_close(mixed, DualTransformer2DModel.forward(block, state, joined(contexts)).sample)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_context_without_share_is_not_run(dual, contexts, share):
    alone = Context(contexts.vision, None) if share == 0 else Context(None, contexts.text)
    set_mixing(dual, share, 0 if share == 0 else POSITIONS, TOKENS if share == 0 else 0)
    mixed = predict(dual, joined(alone))
    if share == 0:
        torch.testing.assert_close(mixed, predict(tiny_unet(), joined(alone)))
    else:
        vision = torch.zeros(3, TOKENS, WIDTH)
        set_mixing(dual, share, POSITIONS, TOKENS)
        torch.testing.assert_close(mixed, predict(dual, torch.cat([joined(alone), vision], 1)))


def test_released_flows_fit_and_only_text_transformers_are_taken():
    """Key lists of shi-labs/versatile-diffusion's image_unet and text_unet, on the meta device."""
    attended, plain = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
    with torch.device("meta"):
        image = UNet2DConditionModel(**FLOWS, down_block_types=attended, up_block_types=plain)
        text = UNetFlatConditionModel(**FLOWS, in_channels=(768, 1, 1), out_channels=(768, 1, 1))
    assert sum(parameter.numel() for parameter in image.parameters()) == 859_520_964
    tensors = text.state_dict()
    kept = {name for name in tensors if ".attentions." in name}
    assert {name.split(".")[0] for name in set(tensors) - kept} == {
        "conv_in", "conv_norm_out", "conv_out", "down_blocks", "mid_block", "time_embedding", "up_blocks",
    }  # fmt: skip
    assert all(".resnets." in name or "samplers." in name for name in set(tensors) - kept if "block" in name)
    single = set(image.state_dict())
    unet = dual_unet(image, tensors, "released")
    names = unet.state_dict()
    assert sum(isinstance(module, DualAttention) for module in unet.modules()) == 16
    assert len(names) == len(single) + len(kept) == 686 + 416
    assert {name.replace(".transformers.1.", ".") for name in names if ".transformers.1." in name} == kept


def test_a_text_transformer_that_lacks_a_tensor_is_named():
    tensors = text_flow().state_dict()
    name = "mid_block.attentions.0.proj_in.weight"
    with pytest.raises(UserError, match=f"here: missing tensor {name} among the text transformers"):
        dual_unet(tiny_unet(), {key: value for key, value in tensors.items() if key != name}, "here")
    with pytest.raises(UserError, match=r"unexpected tensor up_blocks\.7\.attentions\.0\.x"):
        dual_unet(tiny_unet(), tensors | {"up_blocks.7.attentions.0.x": tensors[name]}, "here")
    with pytest.raises(UserError, match=rf"{name} .* has shape \(2,\)"):
        dual_unet(tiny_unet(), tensors | {name: torch.zeros(2)}, "here")


def test_a_network_is_loaded_from_both_flows(tmp_path, dual, contexts):
    tiny_unet().save_pretrained(tmp_path / "image_unet")
    save_file(text_flow().state_dict(), tmp_path / "text.safetensors")
    write_json(tmp_path / "scheduler/scheduler_config.json", DDIM)
    files = ["image_unet/config.json", "image_unet/diffusion_pytorch_model.safetensors", "text.safetensors"]
    record = {
        "kind": "dual_unet", "source": {"folder": str(tmp_path)}, "files": dict.fromkeys(files), "image_size": 8,
        "subfolder": "image_unet", "text_transformers": "text.safetensors", "scheduler": "scheduler",
        "size_conditioning": [8, 8, 0, 0], "decode": {"scale": 0.5, "offset": 0.5},
    }  # fmt: skip
    loaded = load_dual_generator(Backbone("tiny", record))
    for unet in (loaded.unet, dual):
        set_mixing(unet, 0.3, POSITIONS, TOKENS)
    torch.testing.assert_close(predict(loaded.unet, joined(contexts)), predict(dual, joined(contexts)))


# ---- pictures


@pytest.fixture(scope="module")
def generator(dual) -> DualGuidedGenerator:
    return DualGuidedGenerator(tiny_generator(dual), tiny_autoencoder())


def pictures_of(generator, contexts, ids=IDS, **changes) -> np.ndarray:
    settings = {"seed": 0, "steps": 3, "guidance": 2.0, "text_share": 0.4, "batch": 2} | changes
    return generator.generate(contexts, ids, **settings)


def test_pictures_do_not_depend_on_batches_and_samples_differ(generator, contexts):
    whole = pictures_of(generator, contexts, batch=3)
    assert np.abs(whole.astype(int) - pictures_of(generator, contexts, batch=1)).max() <= 1
    samples = [pictures_of(generator, contexts, sample=k) for k in (0, 1, 2)]
    assert all(np.abs(a.astype(int) - b).max() > 5 for a, b in itertools.pairwise(samples))
    assert np.abs(samples[0].astype(int) - whole).max() <= 1


def test_guidance_needs_the_unconditional_context_of_both(generator, contexts):
    """With the context itself as the unconditional one, guidance changes nothing."""
    plain = pictures_of(generator, contexts, guidance=1.0)
    assert np.abs(plain.astype(int) - pictures_of(generator, contexts, unconditional=contexts)).max() <= 1
    assert np.abs(plain.astype(int) - pictures_of(generator, contexts)).max() > 1


# The grid of CompVis ends at the first noise level, whose deviation is .03, not at none.
@pytest.mark.parametrize(("scheduler", "most"), [(DDIM, 2), (UNIPC, 2), (COMPVIS, 12)])
@pytest.mark.parametrize("early", [False, True])
def test_any_start_ends_at_the_pictures_that_the_oracle_knows(scheduler, most, early, contexts):
    clean = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    oracle = OracleUNet(clean, scheduler)
    drawn = DualGuidedGenerator(tiny_generator(oracle, scheduler), tiny_autoencoder())
    true = to_uint8(tiny_autoencoder().decode(clean))
    blurry = np.full((3, 8, 8, 3), 90, np.uint8)
    start = Start(blurry, 0.75, early)
    pictures = pictures_of(drawn, contexts, steps=20, batch=3, guidance=1.0, start=start)
    assert np.abs(pictures.astype(int) - true).max() <= most


def test_brain_diffusers_start_is_noised_one_step_early():
    """37 of 50 steps at .75: from the noise of time 741, the first step at 721, the last at 1."""
    times, noised = [], []

    class Recorder(OracleUNet):
        def forward(self, sample, timestep, **rest):
            times.append(int(timestep))
            return super().forward(sample, timestep, **rest)

    drawn = DualGuidedGenerator(tiny_generator(Recorder(torch.zeros(1, 4, 4, 4), COMPVIS), COMPVIS), tiny_autoencoder())
    scheduler = drawn.generator.scheduler
    add = scheduler.add_noise
    scheduler.add_noise = lambda clean, noise, at: noised.append(int(at[0])) or add(clean, noise, at)
    context = Context(np.zeros((1, TOKENS, WIDTH)), None)
    for early in (True, False):
        start = Start(np.zeros((1, 8, 8, 3), np.uint8), 0.75, early_noise=early)
        pictures_of(drawn, context, IDS[:1], steps=50, text_share=0.0, start=start)
    assert times[:37] == list(range(721, 0, -20)) and len(times) == 74
    assert noised == [741, 721]


def test_a_start_that_no_step_changes_is_what_the_autoencoder_makes_of_it(generator, contexts):
    images = np.random.default_rng(2).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    whole = pictures_of(generator, contexts, start=Start(images, 0.0))
    assert np.abs(whole.astype(int) - pictures_of(generator, contexts, start=Start(images, 0.2))).max() <= 1
    for changes in ({"start": Start(images, 0.5)}, {"start": Start(images[::-1], 0.0)}):
        assert np.abs(whole.astype(int) - pictures_of(generator, contexts, **changes)).max() > 5


def test_a_missing_or_wrong_context_is_named(generator, contexts):
    with pytest.raises(UserError, match=r"at a text share of 0\.4 it takes text states of width 12, but they are mis"):
        pictures_of(generator, Context(contexts.vision, None))
    with pytest.raises(UserError, match=r"vision states of width 12, but they are of width 5"):
        pictures_of(generator, Context(contexts.vision[:, :, :5], contexts.text))
    pictures_of(generator, Context(contexts.vision, None), text_share=0.0)
    pictures_of(generator, Context(None, contexts.text), text_share=1.0)


# ---- the encoder of both contexts


def test_states_are_projected_and_divided_by_the_pooled_length(tmp_path):
    """Parity with transformers' own joint vectors, which are the class token's and the end-of-text token's."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2,
             "projection_dim": 6}  # fmt: skip
    vision = CLIPVisionModelWithProjection(CLIPVisionConfig(image_size=8, patch_size=4, **sizes)).eval()
    text = CLIPTextModelWithProjection(
        CLIPTextConfig(vocab_size=30, max_position_embeddings=5, eos_token_id=29, **sizes)
    ).eval()
    rows = torch.tensor([[1, 4, 29, 29, 29], [1, 7, 8, 9, 29]])

    def tokenizer(sentences, **settings):
        return SimpleNamespace(input_ids=rows[: len(sentences)])

    tokenizer.model_max_length = 5
    preprocessing = Preprocessing(8, "bicubic", True, (0.5,) * 3, (0.5,) * 3)
    encoder = ProjectedClip(vision, text, tokenizer, preprocessing)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    tokens, pooled = encoder.encode_images(images)
    with torch.no_grad():
        image_embeds = vision(pixel_values=preprocessing(images)).image_embeds
        text_embeds = text(input_ids=rows).text_embeds
    assert tokens.shape == (3, 5, 6)
    unit = torch.nn.functional.normalize
    np.testing.assert_allclose(tokens[:, 0], unit(image_embeds, dim=-1), atol=1e-5)
    np.testing.assert_allclose(pooled, tokens[:, 0])
    states = encoder.text_tokens(["a", "b"])
    np.testing.assert_allclose(states[0, 2], unit(text_embeds, dim=-1)[0], atol=1e-5)
    np.testing.assert_allclose(states[1, 4], unit(text_embeds, dim=-1)[1], atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(["a", "b"]), unit(text_embeds, dim=-1), atol=1e-5)
    record = {"kind": "clip_projected", "source": {"folder": str(tmp_path)}, "files": {}, "tokens": 257,
              "token_width": 768}  # fmt: skip
    vision.save_pretrained(tmp_path / "image_encoder")
    text.save_pretrained(tmp_path / "text_encoder")
    with pytest.raises(UserError, match="gives 5 tokens of width 6, but 257 of width 768 are registered"):
        load_encoder(Backbone("tiny", record))
