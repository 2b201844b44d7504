"""Stable Diffusion 1.4 and BLIP as Takagi & Nishimoto use them, on untrained instances of their classes."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_backbones import WIDTH, tiny_autoencoder, tiny_generator
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
)

from fmri2img.artifacts.cells import Cell
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.backbones.captioners import load_captioner, load_captioner_encoder
from fmri2img.backbones.generators import load_generator
from fmri2img.backbones.pixels import resize, to_uint8
from fmri2img.backbones.prompts import Prompt, load_prompts, unconditional
from fmri2img.backbones.registry import Backbone, load_registry
from fmri2img.errors import UserError
from fmri2img.generation.decoded_conditions import draw_under_captions, draw_under_states
from fmri2img.generation.drawing import Drawing
from fmri2img.generation.img2img import Refiner
from fmri2img.generation.noise import REFINEMENT, batch_noise

REGISTRY = load_registry()
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "picture", "of", "cat", "dog", "on", "the", "sofa"]
SEARCH = {"beams": 2, "min_length": 6, "repetition_penalty": 1.5, "prompt": "a picture of "}


def local(name: str, folder, **changes) -> Backbone:
    """The registered entry with files in another folder, which are not checked."""
    files = {path.relative_to(folder).as_posix(): None for path in folder.rglob("*") if path.is_file()}
    return Backbone(name, REGISTRY[name].record | {"source": {"folder": str(folder)}, "files": files} | changes)


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    """An untrained BLIP with a vocabulary of a dozen words."""
    folder = tmp_path_factory.mktemp("blip")
    torch.manual_seed(0)
    (folder / "vocab.txt").write_text("\n".join([*WORDS, "[DEC]", "[ENC]"]))
    BertTokenizerFast(str(folder / "vocab.txt"), additional_special_tokens=["[ENC]"]).save_pretrained(folder)
    text = {
        "vocab_size": 15, "hidden_size": 16, "encoder_hidden_size": 12, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 40, "bos_token_id": 13, "pad_token_id": 0,
        "eos_token_id": 3, "sep_token_id": 3, "initializer_range": 0.5,
    }  # fmt: skip
    vision = {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 16, "patch_size": 4, "initializer_range": 0.5}  # fmt: skip
    config = BlipConfig(text_config=text, vision_config=vision, image_text_hidden_size=8)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    sizes = {"preprocessing": REGISTRY["blip_base"].record["preprocessing"] | {"image_size": 24}, "search": SEARCH}
    return local("blip_base", folder, dtype="float32", **sizes)


def test_blip_captions_tokens_as_it_captions_the_picture_they_come_from(blip):
    images = np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), dtype=np.uint8)
    encoder, captioner = load_captioner_encoder(blip), load_captioner(blip)
    tokens, pooled = encoder.encode_images(images)
    # Pictures of 24 pixels, for a network of 16: positions are interpolated, and there are 6 x 6 patches.
    assert tokens.shape == (5, 37, 12) and pooled is None
    captions = captioner.caption(tokens, max_length=12)
    assert captions == captioner.caption(tokens, max_length=12, batch=2)

    model = BlipForConditionalGeneration.from_pretrained(blip.folder).eval()
    pixels = encoder.preprocessing(images)
    prompt = torch.tensor([captioner.tokenizer("a picture of ").input_ids]).repeat(5, 1)
    ids = model.generate(
        pixel_values=pixels, input_ids=prompt, attention_mask=torch.ones_like(prompt), interpolate_pos_encoding=True,
        num_beams=2, min_length=6, max_length=12, repetition_penalty=1.5, do_sample=False,
    )  # fmt: skip
    texts = captioner.tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert captions == [text.removeprefix("a picture of").strip() for text in texts]
    with pytest.raises(UserError, match="takes image tokens of width 12, got 11"):
        captioner.caption(tokens[:, :, :11])


def test_text_states_are_the_last_ones_and_an_empty_text_is_encoded(tmp_path):
    torch.manual_seed(0)
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/vocab.json").write_text(json.dumps({word: k for k, word in enumerate(vocabulary)}))
    (tmp_path / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    vocab, merges = (str(tmp_path / "tokenizer" / name) for name in ("vocab.json", "merges.txt"))
    CLIPTokenizer(vocab, merges, model_max_length=9).save_pretrained(tmp_path / "tokenizer")
    config = CLIPTextConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=9, bos_token_id=52, eos_token_id=53,
    )  # fmt: skip
    tower = CLIPTextModel(config).eval()
    tower.save_pretrained(tmp_path / "text_encoder")
    encoder = load_prompts(local("stable_diffusion_v1_4_text", tmp_path, dtype="float32"))
    prompt = encoder.encode(["a cat", "the dog sat"])
    assert prompt.states.shape == (2, 9, 16) and prompt.pooled is None
    ids = torch.tensor([[52, 26, 2, 0, 45, 53, 53, 53, 53]])
    expected = tower(ids).last_hidden_state
    np.testing.assert_allclose(prompt.states[:1], expected.detach(), atol=1e-5)

    class Generator:
        unconditional = "text"

    empty = unconditional(prompt, "", encoder, Generator)
    np.testing.assert_array_equal(empty.states, encoder.encode([""]).states)


def test_the_sampler_is_that_of_the_papers_code(tmp_path):
    """DDIM of latent-diffusion: 50 steps at 981, 961, ..., 1, and the first noise level before the last picture."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, down_block_types=["CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D"], block_out_channels=[32], layers_per_block=1, cross_attention_dim=16,
        attention_head_dim=2,
    ).save_pretrained(tmp_path / "unet")  # fmt: skip
    generator = load_generator(local("stable_diffusion_v1_4", tmp_path, dtype="float32"))
    steps = generator.set_timesteps(50)
    assert steps.tolist() == list(range(981, 0, -20))
    levels = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    rng = np.random.default_rng(0)
    latents, predicted = rng.standard_normal((2, 1, 4, 8, 8)).astype(np.float32)
    for step, previous in ((961, levels[941]), (1, levels[0])):
        clean = (latents - np.sqrt(1 - levels[step]) * predicted) / np.sqrt(levels[step])
        expected = np.sqrt(previous) * clean + np.sqrt(1 - previous) * predicted
        found = generator.scheduler.step(torch.from_numpy(predicted), step, torch.from_numpy(latents)).prev_sample
        np.testing.assert_allclose(found, expected, atol=2e-5)
    out = generator.unet(
        torch.zeros(1, 4, 8, 8), 1, encoder_hidden_states=torch.zeros(1, 9, 16),
        added_cond_kwargs=generator.added_conditions(1),
    )  # fmt: skip
    assert out.sample.shape == (1, 4, 8, 8)


# ---- drawing from decoded latents and a decoded condition


ROLES = {role: REGISTRY[name] for role, name in {
    "generator": "stable_diffusion_v1_4", "autoencoder": "stable_diffusion_v1_4_vae",
    "prompts": "stable_diffusion_v1_4_text", "captioner": "blip_base",
}.items()}  # fmt: skip


class Words:
    """A prompt encoder whose states are the lengths of the words, and a captioner that counts."""

    def encode(self, texts):
        return Prompt(np.array([[[len(word)] * WIDTH for word in text.split()] for text in texts], np.float32))

    def caption(self, tokens, max_length):
        return [f"{'x' * int(value)} y" for value in tokens[:, 0, 0]]


@pytest.fixture
def drawing(monkeypatch):
    """A Drawing of three images with the given settings, on tiny networks, and its refiner."""
    generator, autoencoder = tiny_generator(unconditional="zeros"), tiny_autoencoder()
    for name, network in (("load_generator", generator), ("load_autoencoder", autoencoder),
                          ("load_captioner", Words())):  # fmt: skip
        monkeypatch.setattr(f"fmri2img.generation.decoded_conditions.{name}", lambda entry, network=network: network)
    monkeypatch.setattr("fmri2img.backbones.prompts.load_prompts", lambda entry: Words())
    rng = np.random.default_rng(0)
    arrays = {
        "latents": rng.standard_normal((3, 4, 3, 3)).astype(np.float16),
        "states": rng.standard_normal((3, 2, WIDTH)).astype(np.float16),
        "vision": np.array([1, 4, 2], np.float16)[:, None, None],
    }

    def of(samples=1, **settings):
        decoded = SimpleNamespace(
            ids=np.array([2, 5, 9]), array=arrays.__getitem__, disclosure=Disclosure(), path="decoded"
        )
        cell = Cell("subj01", "1", "0", "test")
        found = Drawing(cell, {"decoded": ""}, ROLES, GENERATION | settings, samples=samples)
        found.__dict__["decoded"] = decoded
        return found

    return of, arrays, Refiner(generator, autoencoder)


GENERATION = {"steps": 5, "strength": 0.8, "guidance": 2.0, "batch": 2, "one_step_noisier": False}


@pytest.mark.parametrize("noisier", [False, True])
def test_a_picture_of_z_is_noised_by_its_strength_and_denoised_under_c(drawing, noisier):
    of, arrays, refiner = drawing
    drawn = draw_under_states(of(one_step_noisier=noisier))
    pixels = refiner.autoencoder.decode(torch.from_numpy(arrays["latents"].astype(np.float32)))  # 6 x 6 pixels
    ids = np.array([2, 5, 9])
    noise, spread = batch_noise(0, ids, *[refiner.generator.latent_shape] * 2, stream=REFINEMENT)
    clean = refiner.autoencoder.encode(resize(pixels, 8).permute(0, 2, 3, 1).numpy(), spread)
    scheduler = refiner.generator.scheduler
    level = scheduler.alphas_cumprod[refiner.generator.set_timesteps(5)[0 if noisier else 1]]
    noisy = level.sqrt() * clean + (1 - level).sqrt() * noise
    states = arrays["states"].astype(np.float32)
    context = torch.from_numpy(np.concatenate([np.zeros_like(states), states]))
    added = refiner.generator.added_conditions(6)
    for timestep in refiner.generator.set_timesteps(5)[1:]:  # four of five steps
        output = refiner.generator.unet(
            torch.cat([noisy, noisy]), timestep, encoder_hidden_states=context, added_cond_kwargs=added
        ).sample
        without, under = output.detach().chunk(2)
        noisy = scheduler.step(without + 2.0 * (under - without), timestep, noisy).prev_sample
    expected = to_uint8(refiner.autoencoder.decode(noisy))
    assert np.abs(drawn.images.astype(int) - expected).max() <= 1
    assert drawn.disclosure.generator.startswith("stable_diffusion_v1_4 (133a221")


def test_at_strength_one_pictures_come_from_noise_and_c_alone(drawing):
    of, arrays, _ = drawing
    first = draw_under_states(of(strength=1.0)).images
    arrays["latents"] = None
    np.testing.assert_array_equal(draw_under_states(of(strength=1.0)).images, first)
    arrays["states"] = arrays["states"] + np.float16(1)
    assert (draw_under_states(of(strength=1.0)).images != first).any()


def test_samples_differ_in_their_noise_and_the_first_is_that_of_one(drawing):
    of, *_ = drawing
    for draw in (draw_under_states, draw_under_captions):
        alone, three = draw(of()), draw(of(samples=3))
        np.testing.assert_array_equal(three.images, alone.images)
        assert alone.samples is None and three.samples.shape == (3, 2, *alone.images.shape[1:])
        assert all((three.samples[:, n] != other).any() for n, other in ((0, three.images), (1, three.samples[:, 0])))
        assert (alone.disclosure.samples_per_image, three.disclosure.samples_per_image) == (1, 3)


def test_decoded_captions_condition_as_their_states_do(drawing):
    of, arrays, _ = drawing
    drawn = draw_under_captions(of())
    assert drawn.captions == ["x y", "xxxx y", "xx y"]
    arrays["states"] = Words().encode(drawn.captions).states
    np.testing.assert_array_equal(drawn.images, draw_under_states(of()).images)
    assert "blip_base" in drawn.disclosure.generator
