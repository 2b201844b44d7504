"""What follows MindEye2's tokens: captions through a converter, refinement, blend, low-level pictures, the ceiling."""

import json

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from drawings import drawn
from records import unrecorded
from safetensors.torch import save_file
from tiny_backbones import DDIM, TOKENS, WIDTH, tiny_unet, tiny_vae, write_json
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    GitConfig,
    GitForCausalLM,
)

from fmri2img.artifacts.cells import ALL, Cell
from fmri2img.artifacts.decoded import save_decoded
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.embeddings import save_embeddings
from fmri2img.artifacts.interfaces import Given
from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.splits import Split
from fmri2img.backbones.captioners import CaptionerImageEncoder, load_captioner_encoder
from fmri2img.backbones.converter_fit import fit_converter
from fmri2img.backbones.converters import (
    CaptionConverter,
    load_converter,
    load_released_converter,
    save_converter,
)
from fmri2img.backbones.pixels import Preprocessing
from fmri2img.backbones.prompts import SdxlPrompts, load_prompts, token_ids
from fmri2img.backbones.registry import Backbone, load_registry
from fmri2img.errors import UserError
from fmri2img.methods.true_tokens.control import true_tokens

IDS = np.array([3, 11, 12, 40])
ENCODER = {"encoder": "tiny_clip", "revision": "1", "trained_on": "drawn scenes"}
RECORD = Disclosure(
    training_trials=10, training_subjects=["subj01"], trial_averaging="single", test_averaging="mean of repeats",
    encoder="tiny_clip", origin="faithful",
).record()  # fmt: skip
IDENTITY = {
    "method": "mindeye2_unrefined", "subject": "subj01", "sessions": 1, "seed": 7, "split": "s", "split_sha256": "0",
    "test_set": "test",
}  # fmt: skip
REFINEMENT = {"steps": 6, "start": 3, "guidance": 3.0, "batch": 2, "negative_prompt": "blurry"}


# ---- registry entries of tiny networks


def entry(folder, kind: str, files: list[str], **record) -> Backbone:
    base = {"kind": kind, "source": {"folder": str(folder)}, "licence": "MIT", "files": dict.fromkeys(files)}
    record = base | {"trained_on": "nothing"} | record
    return Backbone(f"tiny_{folder.name}", record)


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> dict[str, Backbone]:
    """A text-to-image network, an autoencoder and an open_clip prompt encoder whose states fit it."""
    root = tmp_path_factory.mktemp("networks")
    tiny_unet().save_pretrained(root / "generator" / "unet")
    write_json(root / "generator" / "scheduler" / "scheduler_config.json", DDIM)
    tiny_vae().save_pretrained(root / "autoencoder")
    config = {
        "embed_dim": 10,
        "vision_cfg": {"image_size": 16, "patch_size": 4, "width": 24, "layers": 1, "head_width": 12},
        "text_cfg": {"context_length": TOKENS, "vocab_size": 49408, "width": WIDTH, "heads": 2, "layers": 1},
    }
    (root / "prompts").mkdir()
    write_json(root / "prompts" / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": {}})
    torch.manual_seed(0)
    save_file(open_clip.model.CLIP(**config).state_dict(), root / "prompts" / "open_clip_model.safetensors")
    weights = "diffusion_pytorch_model.safetensors"
    plain = {"image_size": 16, "interpolation": "bicubic", "antialias": True, "mean": [0.5] * 3, "std": [0.5] * 3}
    return {
        "generator": entry(
            root / "generator", "diffusers_unet",
            ["unet/config.json", f"unet/{weights}", "scheduler/scheduler_config.json"], subfolder="unet",
            scheduler="scheduler", image_size=8, size_conditioning=[8, 8, 0, 0], unconditional="zeros",
            decode={"scale": 0.5, "offset": 0.5},
        ),
        "autoencoder": entry(root / "autoencoder", "diffusers_vae", ["config.json", weights]),
        "prompts": entry(
            root / "prompts", "open_clip", ["open_clip_config.json", "open_clip_model.safetensors"],
            tokens=16, token_width=24, preprocessing=plain,
        ),
    }  # fmt: skip


def git_config() -> GitConfig:
    return GitConfig(
        vision_config={"hidden_size": WIDTH, "image_size": 8, "patch_size": 4, "num_hidden_layers": 1,
                       "num_attention_heads": 2, "intermediate_size": 16},
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=40, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip


# ---- converter


def test_the_released_converter_has_its_published_size_and_reads_as_token_then_feature_map(tmp_path):
    with torch.device("meta"):
        assert sum(p.numel() for p in CaptionConverter(256, 1664, 257, 1024).parameters()) == 1_771_009
    rng = torch.Generator().manual_seed(0)
    state = {
        "linear1.weight": torch.randn(5, 4, generator=rng), "linear1.bias": torch.randn(5, generator=rng),
        "linear2.weight": torch.randn(3, 6, generator=rng), "linear2.bias": torch.randn(3, generator=rng),
    }  # fmt: skip
    released = entry(tmp_path, "caption_converter", ["bigG_to_L_epoch8.pth"])

    def stored(changed: dict) -> Backbone:
        torch.save({"epoch": 8, "model_state_dict": changed}, tmp_path / "bigG_to_L_epoch8.pth")
        return released

    tokens = np.random.default_rng(0).normal(size=(7, 4, 6)).astype(np.float16)
    mixed = np.einsum("ot,ntw->now", state["linear1.weight"], tokens) + state["linear1.bias"].numpy()[:, None]
    wanted = mixed @ state["linear2.weight"].numpy().T + state["linear2.bias"].numpy()
    converter = load_released_converter(stored(state))
    np.testing.assert_allclose(converter.convert(tokens, batch=3), wanted, atol=1e-4)
    with pytest.raises(UserError, match=r"'caption_converter': it takes 4 tokens of width 6, got 4 of 5"):
        converter.convert(tokens[..., :5])
    with pytest.raises(UserError, match=r"unexpected tensor linear3\.weight"):
        load_released_converter(stored(state | {"linear3.weight": torch.zeros(1)}))
    with pytest.raises(UserError, match=r"missing tensor over_features\.bias"):
        load_released_converter(stored({k: v for k, v in state.items() if k != "linear2.bias"}))
    with pytest.raises(UserError, match=r"holds Python objects other than tensors"):
        load_released_converter(stored({"linear1.weight": Split("s", "", {"s": []})}))


def test_fitting_finds_a_planted_pair_of_maps_and_explains_no_noise(tmp_path):
    rng = np.random.default_rng(1)
    source = rng.normal(size=(400, 6, 8)).astype(np.float32)
    torch.manual_seed(0)
    planted = CaptionConverter(6, 8, 7, 5)
    with torch.no_grad():  # tokens of the same places, as in two encoders of one grid, the first being a class token
        planted.over_tokens.weight[1:] += torch.eye(6)
    clean = planted.convert(source)
    rows = np.stack([np.arange(400)] * 2, axis=1)
    converter, explained = fit_converter(source, clean, rows[:300], rows[300:], sweeps=12, batch=64)
    assert explained[-1] > 0.999 and explained[0] <= explained[-1]
    np.testing.assert_allclose(converter.convert(source[300:]), clean[300:], atol=0.05 * clean.std())

    noise = rng.normal(size=clean.shape) * clean.std(0)
    _, explained = fit_converter(source, clean + noise, rows[:300], rows[300:], sweeps=12)
    assert 0.4 < explained[-1] < 0.55

    save_converter(tmp_path / "converter", converter, {"encoder": "a"})
    again, record = load_converter(tmp_path / "converter")
    assert record == {"encoder": "a"}
    np.testing.assert_allclose(again.convert(source[:3]), converter.convert(source[:3]), atol=1e-6)


def test_the_converter_never_sees_a_test_image(tmp_path):
    """Test images are given other targets than the rest: the fit must not notice."""
    from train_caption_converter import train_caption_converter

    rng = np.random.default_rng(2)
    ids = np.arange(100, 300)
    tokens = rng.normal(size=(200, 4, 6)).astype(np.float32)
    test = ids[::4]
    spoilt = np.where(np.isin(ids, test)[:, None, None], -50 * tokens, tokens)
    save_embeddings(tmp_path / "a", ids, tokens, {})
    save_embeddings(tmp_path / "b", ids, spoilt, {})
    Split("s", "d", {"s": test.tolist()}).save(tmp_path / "split.json")
    names = {"encoder": "a", "captioner": "b"}
    paths = [str(tmp_path / name) for name in ("a", "b", "split.json")]
    train_caption_converter(*paths, names, 3, str(tmp_path / "out"))
    converter, record = load_converter(tmp_path / "out")
    np.testing.assert_allclose(converter.convert(tokens), tokens, atol=0.01)
    assert record["training_images"] + record["held_out_images"] == 150
    assert record["explained_variance"][-1] > 0.999 and record["encoder"] == "a"


# ---- captioner


def test_a_captioners_own_encoder_gives_what_it_would_see_in_pixels(tmp_path):
    torch.manual_seed(0)
    model = GitForCausalLM(git_config()).eval()
    preprocessing = Preprocessing(8, "bicubic", True, (0.5,) * 3, (0.5,) * 3)
    images = np.random.default_rng(0).integers(0, 256, (5, 20, 24, 3), dtype=np.uint8)
    tokens, pooled = CaptionerImageEncoder(model.git.image_encoder, preprocessing, batch=2).encode_images(images)
    assert tokens.shape == (5, 5, WIDTH) and pooled is None
    seen = model.git.image_encoder(preprocessing(images)).last_hidden_state
    np.testing.assert_allclose(tokens, seen.detach().numpy(), atol=1e-5)
    with pytest.raises(UserError, match="has no image encoder of its own; embed with demo_clip"):
        load_captioner_encoder(load_registry()["demo_captioner"])


# ---- prompts


def sdxl_text(root) -> Backbone:
    """Two untrained text towers and tokenizers in SDXL's folder layout."""
    torch.manual_seed(0)
    words = ["!", "a</w>", "red</w>", "boat</w>", "<|startoftext|>", "<|endoftext|>"]
    words += ["a", "r", "e", "b", "o", "d</w>", "t</w>", "re", "bo", "boa"]
    merges = ["r e", "re d</w>", "b o", "bo a", "boa t</w>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    common = {
        "vocab_size": len(words), "num_hidden_layers": 3, "num_attention_heads": 2, "max_position_embeddings": 9,
        "bos_token_id": 4, "eos_token_id": 5, "pad_token_id": 5,
    }  # fmt: skip
    first = CLIPTextModel(CLIPTextConfig(hidden_size=8, intermediate_size=16, **common))
    second = CLIPTextModelWithProjection(
        CLIPTextConfig(hidden_size=12, intermediate_size=16, projection_dim=10, hidden_act="gelu", **common)
    )
    files = []
    for suffix, tower, pad in (("", first, "<|endoftext|>"), ("_2", second, "!")):
        tower.save_pretrained(root / f"text_encoder{suffix}")
        folder = root / f"tokenizer{suffix}"
        write_json(folder / "vocab.json", vocabulary)
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
        end = "<|endoftext|>"
        special = {"bos_token": "<|startoftext|>", "eos_token": end, "unk_token": end, "pad_token": pad}
        write_json(folder / "special_tokens_map.json", special)
        write_json(folder / "tokenizer_config.json", special | {"model_max_length": 9})
        files += [f"text_encoder{suffix}/config.json", f"text_encoder{suffix}/model.safetensors"]
        files += [f"tokenizer{suffix}/{name}" for name in ("merges.txt", "tokenizer_config.json", "vocab.json")]
    return entry(root, "sdxl_text", files)


def test_sdxl_prompts_are_both_towers_last_but_one_layer_and_bigg_pooled_at_the_end_of_text(tmp_path):
    backbone = sdxl_text(tmp_path / "text")
    encoder = load_prompts(backbone, "cpu")
    texts = ["a red boat", "a boat", ""]
    prompt = encoder.encode(texts)
    assert prompt.states.shape == (3, 9, 8 + 12) and prompt.pooled.shape == (3, 10)
    ids = [token_ids(tokenizer, texts, "cpu") for tokenizer in encoder.tokenizers]
    assert ids[0].tolist()[1] == [4, 1, 3, 5, 5, 5, 5, 5, 5]
    assert ids[1].tolist()[1] == [4, 1, 3, 5, 0, 0, 0, 0, 0]

    def layers(model, token_ids):
        """Hidden states by hand: embeddings, then each causal layer; the last is what the final norm sees."""
        states = [model.embeddings(token_ids)]
        mask = torch.full((9, 9), float("-inf")).triu(1)[None, None]
        for layer in model.encoder.layers:
            out = layer(states[-1], mask)
            states.append(out[0] if isinstance(out, tuple) else out)
        return states

    with torch.no_grad():
        second = encoder.towers[1]
        parts = [layers(encoder.towers[0], ids[0]), layers(second.text_model, ids[1])]
        wanted = torch.cat([part[-2] for part in parts], -1)
        last = second.text_model.final_layer_norm(parts[1][-1])
        pooled = second.text_projection(last[torch.arange(3), torch.tensor([4, 3, 1])])
    np.testing.assert_allclose(prompt.states, wanted.numpy(), atol=1e-5)
    np.testing.assert_allclose(prompt.pooled, pooled.numpy(), atol=1e-5)
    assert isinstance(encoder, SdxlPrompts)


def test_published_text_towers_give_sdxls_widths():
    """CLIP-L's layer 11 of 12 and bigG's 31 of 32, 768 + 1280 wide, with a vector of 1280: what the UNets listen to."""
    unet = load_registry()["zavychromaxl_v30"].record["unet"]
    common = {"vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 49407, "bos_token_id": 49406}
    with torch.device("meta"):
        towers = [
            CLIPTextModel(CLIPTextConfig(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, **common)),
            CLIPTextModelWithProjection(
                CLIPTextConfig(
                    hidden_size=1280, num_hidden_layers=32, num_attention_heads=20, projection_dim=1280, **common
                )
            ),
        ]
        outputs = [t(torch.ones(1, 77, dtype=torch.long), output_hidden_states=True) for t in towers]
    assert len(outputs[0].hidden_states) - 2 == 11
    assert sum(out.hidden_states[-2].shape[-1] for out in outputs) == unet["cross_attention_dim"] == 2048
    assert outputs[1].text_embeds.shape[-1] + 6 * 256 == unet["projection_class_embeddings_input_dim"] == 2816


# ---- the stages as scripts


@pytest.fixture
def stages(tmp_path, networks) -> dict[str, str]:
    """Paths of a Decoded with latents and of an unrefined Prediction made of it."""
    rng = np.random.default_rng(3)
    tokens = rng.normal(size=(len(IDS), TOKENS, WIDTH))
    retrieval, latents = rng.normal(size=(len(IDS), 20)), rng.normal(size=(len(IDS), 4, 4, 4))
    arrays = {"tokens": tokens, "retrieval": retrieval, "latents": latents}
    paths = {name: str(tmp_path / name) for name in ("decoded", "unrefined", "captions", "refined", "blurry", "final")}
    save_decoded(paths["decoded"], IDS, IDENTITY | {"disclosure": RECORD}, arrays)
    generation = {"steps": 2, "guidance": 2.0, "batch": 4}
    outputs = ("images", "retrieval")
    decoded = paths["decoded"]
    drawn("unclip", networks, generation, paths["unrefined"], "mindeye2_unrefined", outputs=outputs, decoded=decoded)
    texts = ["a red boat", "two dogs", "a house by the sea", ""]
    pd.DataFrame({"image_id": IDS, "caption": texts}).to_parquet(paths["captions"], index=False)
    return paths


def refine(stages, networks, output="refined", **changes) -> Prediction:
    target = stages["refined"].replace("refined", output)
    given = {name: stages[name] for name in ("unrefined", "captions")}
    return drawn("refine", networks, REFINEMENT | changes, target, "mindeye2_refined", **given)


def blurry(stages, networks, decoded=None) -> Prediction:
    return drawn("latents", networks, {}, stages["blurry"], "mindeye2_lowlevel", decoded=decoded or stages["decoded"])


def blended(stages) -> Prediction:
    given = {name: stages[name] for name in ("refined", "blurry")}
    return drawn("blend", {}, {"refined_weight": 0.75}, stages["final"], "mindeye2", **given)


def test_each_stage_is_a_prediction_and_the_last_carries_pictures_captions_and_retrieval(stages, networks):
    unrefined, refined = Prediction.open(stages["unrefined"]), refine(stages, networks)
    low = blurry(stages, networks)
    final = blended(stages)

    latents = torch.from_numpy(np.load(stages["decoded"] + "/latents.npy")).float()
    shown = tiny_vae().decode(latents / 0.7).sample.detach() / 2 + 0.5
    wanted = (shown.clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(low.images - wanted).max() <= 1
    assert low.retrieval is None and low.captions is None
    assert np.abs(final.images - (0.75 * refined.images + 0.25 * low.images)).max() <= 0.51
    np.testing.assert_array_equal(final.retrieval, unrefined.retrieval)
    assert final.captions["caption"].tolist() == ["a red boat", "two dogs", "a house by the sea", ""]
    assert [p.metadata["method"] for p in (refined, low, final)] == [
        "mindeye2_refined", "mindeye2_lowlevel", "mindeye2",
    ]  # fmt: skip
    for prediction in (refined, low, final):
        assert {k: prediction.metadata[k] for k in ("subject", "sessions", "seed")} == {
            "subject": "subj01", "sessions": 1, "seed": 7,
        }  # fmt: skip
    assert "tiny_generator" in final.metadata["disclosure"]["generator"]
    assert "tiny_autoencoder" in final.metadata["disclosure"]["generator"]


def test_refinement_depends_on_caption_negative_prompt_and_start_but_not_on_batch(stages, networks):
    base = refine(stages, networks).images.astype(int)
    assert np.abs(refine(stages, networks, "batched", batch=1).images - base).max() <= 1
    for name, change in {"n": {"negative_prompt": ""}, "s": {"start": 1}, "g": {"guidance": 1.0}}.items():
        assert np.abs(refine(stages, networks, name, **change).images - base).max() > 1
    table = pd.read_parquet(stages["captions"])
    table["caption"] = "a green hill"
    table.to_parquet(stages["captions"], index=False)
    assert np.abs(refine(stages, networks, "c").images - base).max() > 0


def test_stages_of_other_images_or_networks_are_refused(stages, networks, tmp_path):
    refine(stages, networks)
    blurry(stages, networks)
    record = json.loads((tmp_path / "blurry" / "metadata.json").read_text())
    write_json(unrecorded(tmp_path / "blurry") / "metadata.json", record | {"sessions": 2})
    with pytest.raises(UserError, match="differs in images, subject, budget or seed from"):
        blended(stages)
    pd.DataFrame({"image_id": IDS[::-1], "caption": list("abcd")}).to_parquet(stages["captions"], index=False)
    with pytest.raises(UserError, match="its image_id are not those of the pictures"):
        refine(stages, networks, "other")
    save_decoded(tmp_path / "flat", IDS, IDENTITY | {"disclosure": RECORD}, {"tokens": np.zeros((4, 2, 3))})
    with pytest.raises(UserError, match="holds tokens but not latents, which the method draws from"):
        blurry(stages, networks, decoded=tmp_path / "flat")


def test_the_ceiling_is_drawn_from_the_true_tokens_with_the_noise_of_each_image(tmp_path, networks):
    """Once for all subjects; a subject's images are rows of it, as if they had been drawn alone."""
    ids = np.array([1, 3, 11, 12, 40, 50])
    tokens = np.random.default_rng(4).normal(size=(6, TOKENS, WIDTH)).astype(np.float32)
    save_embeddings(tmp_path / "embeddings", ids, tokens, ENCODER)
    split = Split("s", "d", {"test": [*IDS.tolist(), 60000]})
    split.save(tmp_path / "split.json")
    generation = {"steps": 2, "guidance": 2.0, "batch": 4}
    paths = {name: str(tmp_path / name) for name in ("embeddings", "split.json")}
    cell = Cell(ALL, ALL, 7, "test")
    made = true_tokens(Given(cell, {"embeddings": paths["embeddings"], "split": paths["split.json"]}))
    metadata = {**cell._asdict(), **split.identity, "method": "true_tokens", "disclosure": made.disclosure.record()}
    save_decoded(tmp_path / "decoded", made.ids, metadata, made.arrays)
    drawing = {"networks": networks, "settings": generation, "method": "true_tokens", "cell": cell}
    whole = drawn("unclip", output=tmp_path / "drawn", decoded=tmp_path / "decoded", **drawing)
    np.testing.assert_array_equal(whole.ids, IDS)
    assert whole.retrieval is None

    save_decoded(tmp_path / "two", IDS[[0, 3]], metadata, {"tokens": tokens[[1, 4]]})
    alone = drawn("unclip", output=tmp_path / "alone", decoded=tmp_path / "two", **drawing)
    seen = whole.of_cell(Cell("subj02", 2, 7, "test"), np.array([3, 40]))
    assert np.abs(seen.images.astype(int) - alone.images).max() <= 1
    np.testing.assert_array_equal(seen.images, whole.images[[0, 3]])
    assert (seen.metadata["subject"], seen.metadata["sessions"], seen.metadata["seed"]) == ("subj02", 2, 7)
    assert seen.disclosure.training_trials == 0 and seen.disclosure.generator.startswith("tiny_generator")
