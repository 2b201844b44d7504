"""Recipes of the demo's frozen networks: exact resumption, rescalings that change nothing, known answers, cards."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from demo_networks import captioner, clip, fidelity, joint2img, stages, text2img, unet, vae, vdvae
from demo_networks.bank import DEVELOPMENT_STREAM, FINAL_STREAM, training_bank, unseen_scenes
from demo_networks.train import NETWORKS, read_recipe
from demo_networks.vocabulary import PAD, UNK, build_tokenizer, encode
from fmri2img.backbones.features import load_features
from fmri2img.backbones.pixels import resized_pictures
from fmri2img.backbones.registry import load_registry
from fmri2img.errors import UserError
from fmri2img.training.configuration import TrainingConfig

CPU = torch.device("cpu")
DEMO = Path(__file__).parents[2] / "resources" / "demo_backbones"
RECIPES = Path(__file__).parents[2] / "tools" / "demo_networks" / "recipes"
BANK = {"scenes": 12, "cropped": 2, "context": 42}
CLIP = {
    "embed_dim": 16,
    "vision": {"width": 32, "layers": 1, "head_width": 16},
    "text": {"width": 32, "heads": 2, "layers": 1, "context_length": 42},
}
VAE = {"block_out_channels": [4, 4, 4, 8], "latent_channels": 6, "layers_per_block": 1, "norm_num_groups": 2}


@pytest.fixture(scope="module")
def unseen():
    return unseen_scenes(12, DEVELOPMENT_STREAM)


@pytest.fixture(scope="module")
def tiny_clip():
    torch.manual_seed(0)
    return clip.Trainee(clip.configuration(CLIP, len(build_tokenizer()))).clip.eval()


def tiny_autoencoder(**changes) -> dict:
    training = {"steps": 4, "warmup_steps": 2, "batch": 4, "schedule": "cosine", "precision": "fp32", "ema": 0.9,
                "learning_rate": 1e-2, "seed": 7, "checkpoint_steps": 1}  # fmt: skip
    rest = {"kl_weight": 1e-4, "latent_noise": 0.01, "every": 2, "betas": [0.9, 0.98], "decoder_training": training}
    return VAE | rest | {"training": training} | changes


@pytest.mark.parametrize("stage", ["VaeTask", "DecoderTask"])
def test_a_run_killed_in_either_stage_ends_with_the_same_bits(tmp_path, monkeypatch, stage):
    task, recipe = getattr(vae, stage), tiny_autoencoder()
    draw, calls = task.draw, []

    def stopping(self, *arguments):
        calls.append(0)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return draw(self, *arguments)

    vae.train(recipe, BANK, tmp_path / "whole", tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(task, "draw", stopping)
        vae.train(recipe, BANK, tmp_path / "cut", tmp_path)
    vae.train(recipe, BANK, tmp_path / "cut", tmp_path)
    whole, resumed = (load_file(tmp_path / name / "vae-decoder" / stages.WEIGHTS) for name in ("whole", "cut"))
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"kl_weight": 0.5}, "settings.kl_weight"),
        ({"training": {"learning_rate": 0.2, "seed": 8}}, "training.learning_rate, training.seed"),
        ({"training": {"accumulation": 2}}, "training.accumulation"),
    ],
)
def test_a_stage_of_another_recipe_is_refused_by_key(tmp_path, changes, changed):
    recipe = tiny_autoencoder()
    vae.train(recipe, BANK, tmp_path, tmp_path)
    before = (tmp_path / "vae" / stages.WEIGHTS).read_bytes()
    free = {"training": recipe["training"] | {"checkpoint_steps": 2}}
    vae.train(recipe | free, BANK, tmp_path, tmp_path)
    merged = {key: recipe[key] | value if isinstance(value, dict) else value for key, value in changes.items()}
    with pytest.raises(UserError, match=rf"vae: holds a network of another recipe \({changed} changed\)"):
        vae.train(recipe | merged, BANK, tmp_path, tmp_path)
    assert (tmp_path / "vae" / stages.WEIGHTS).read_bytes() == before


def test_a_stage_behind_another_encoder_is_refused(tmp_path):
    recipe = read_recipe(RECIPES / "demo.yaml", "captioner")[0]
    recipe["training"] |= {"steps": 1, "warmup_steps": 1, "batch": 2}
    (tmp_path / "clip").symlink_to(DEMO / "clip")
    captioner.train(recipe, BANK, tmp_path / "work", tmp_path)
    (tmp_path / "clip").unlink()
    other = clip.Trainee(clip.configuration(CLIP, len(build_tokenizer()))).clip
    (tmp_path / "clip").mkdir()
    clip.save(other, clip.configuration(CLIP, len(build_tokenizer())), tmp_path / "clip")
    with pytest.raises(UserError, match=r"sources\.image tokens changed"):
        captioner.train(recipe, BANK, tmp_path / "work", tmp_path)


def test_every_network_has_a_recipe_that_the_engine_takes():
    for name in NETWORKS:
        recipe, bank = read_recipe(RECIPES / ("unclip_demo.yaml" if name == "unclip" else "demo.yaml"), name)
        assert (bank["scenes"], bank["cropped"]) == ((4000, 0) if name == "joint2img" else (40000, 4000))
        for key in recipe:
            if key.endswith("training"):
                assert stages.engine_configuration(recipe[key])["schedule"] == "cosine"


@pytest.fixture(scope="module")
def first_stages(tmp_path_factory):
    """Settings of each task, on a small bank, the second stages after the first."""
    work, settings = tmp_path_factory.mktemp("work"), {}
    for module in (captioner, clip, joint2img, text2img, vae, vdvae):
        name = module.__name__.split(".")[-1]
        recipe, _ = read_recipe(RECIPES / "demo.yaml", name)
        small = {"steps": 1, "warmup_steps": 1, "batch": 2}
        recipe |= {"every": 1} | {key: recipe[key] | small for key in recipe if key.endswith("training")}
        module.train(recipe, BANK, work, DEMO)
        where = {"bank": BANK, "work": str(work), "siblings": str(DEMO), "start": str(work / name)}
        settings[name] = stages.settings_of(recipe, **where)
    return settings


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("captioner", captioner.CaptionerTask),
        ("clip", clip.ClipTask),
        ("clip", clip.TextTask),
        ("joint2img", joint2img.JointToImageTask),
        ("text2img", text2img.TextToImageTask),
        ("vae", vae.VaeTask),
        ("vae", vae.DecoderTask),
        ("vdvae", vdvae.VdvaeTask),
    ],
)
def test_processes_together_train_on_the_batch_of_one(first_stages, name, task):
    made = task(first_stages[name], TrainingConfig(epochs=1, batch=4))
    whole = made.inputs(3, 3, 4, 0, 1, CPU)
    halves = [made.inputs(3, 3, 4, rank, 2, CPU) for rank in (0, 1)]
    for key, rows in whole.items():
        torch.testing.assert_close(torch.cat([half[key] for half in halves]), rows, msg=key)
    assert any(not torch.equal(rows, whole[key]) for key, rows in made.inputs(4, 4, 4, 0, 1, CPU).items())


def test_every_caption_word_is_in_the_vocabulary_and_comes_back(unseen):
    tokenizer = build_tokenizer()
    sentences = [sentence for five in unseen[2] for sentence in five]
    ids = encode(tokenizer, sentences, 42)
    assert not (ids == UNK).any()
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == sentences


def test_bank_is_repeatable_and_puts_whole_pictures_first(tmp_path):
    first, second = (training_bank(tmp_path / name, scenes=12, cropped=4, context=42) for name in "ab")
    for name in ("images", "text_ids", "time_ids"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.whole == 8
    assert (first.time_ids[:8] == [64, 64, 0, 0]).all() and (first.time_ids[8:, 0] > 64).all()
    assert (first.time_ids[8:, 2:] <= first.time_ids[8:, :2] - 64).all()


def test_unseen_scenes_are_not_in_the_bank(tmp_path, unseen):
    bank = training_bank(tmp_path, scenes=12, cropped=0, context=42)
    final = unseen_scenes(12, FINAL_STREAM)[1]
    for pictures in (unseen[1], final):
        assert not (bank.images[:, None] == pictures[None]).all((2, 3, 4)).any()
    assert not (final[:, None] == unseen[1][None]).all((2, 3, 4)).any()


def test_shortened_text_tower_gives_open_clips_embeddings(tiny_clip, unseen):
    ids = torch.from_numpy(encode(build_tokenizer(), [five[1] for five in unseen[2]], 42).astype(np.int64))
    torch.testing.assert_close(clip.encode_text(tiny_clip, ids), tiny_clip.encode_text(ids, normalize=True))


def test_local_targets_of_a_picture_with_one_bright_patch():
    images = torch.full((1, 3, 64, 64), -1.0)
    images[:, :, 16:24, 40:48] = 1.0  # row 2, column 5
    targets = clip.local_targets(images)
    bright = targets["patch"][0].mean(1)
    assert bright.argmax() == 2 * 8 + 5 and bright.max() == 1 and bright.sum() == 1 - 63
    around = targets["around"][0].mean(1)
    touched = {int(k) for k in (around > -1).nonzero()}
    assert touched == {8 * r + c for r in (1, 2, 3) for c in (4, 5, 6)}
    assert len(torch.unique(targets["place"][0], dim=0)) == 64


def test_token_channels_get_unit_variance_and_the_embedding_stays(tiny_clip, unseen):
    with torch.no_grad():
        tiny_clip.visual.ln_post.weight.uniform_(0.2, 3.0)
    before, tokens = clip.embed(tiny_clip, unseen[1], CPU)
    clip.unit_variance(tiny_clip, tokens)
    after, tokens = clip.embed(tiny_clip, unseen[1], CPU)
    np.testing.assert_allclose(after, before, atol=1e-4)
    np.testing.assert_allclose(tokens.astype(np.float32).std((0, 1)), 1, atol=0.01)


def test_saved_image_text_model_is_what_open_clip_loads(tmp_path, tiny_clip, unseen):
    clip.save(tiny_clip, clip.configuration(CLIP, len(build_tokenizer())), tmp_path)
    loaded = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    ids = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(unseen[2][0])
    np.testing.assert_array_equal(ids.numpy(), encode(build_tokenizer(), unseen[2][0], 42))
    np.testing.assert_allclose(
        clip.embed(loaded, unseen[1], CPU)[0], clip.embed(tiny_clip, unseen[1], CPU)[0], atol=0.02
    )


def test_standardised_latents_draw_the_same_pictures(unseen):
    torch.manual_seed(0)
    model = vae.build(VAE).eval()
    before = vae.to_images(model, vae.to_latents(model, unseen[1], CPU), CPU)
    digest = vae.encoder_digest(model)
    vae.standardise(model, vae.to_latents(model, unseen[1], CPU))
    latents = vae.to_latents(model, unseen[1], CPU)
    np.testing.assert_allclose(latents.mean((0, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(latents.std((0, 2, 3)), 1, atol=1e-3)
    assert np.abs(vae.to_images(model, latents, CPU).astype(int) - before).max() <= 1
    assert vae.encoder_digest(model) != digest


def test_sampling_with_a_perfect_network_returns_its_picture():
    scheduler = unet.noise_schedule()
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1))

    class Oracle(nn.Module):
        """Knows the clean latents, and answers with the velocity that belongs to the noisy ones."""

        def __init__(self):
            super().__init__()
            self.config = type("Config", (), {"sample_size": 8, "in_channels": 4})
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, noisy, timestep, encoder_hidden_states, added_cond_kwargs):
            assert added_cond_kwargs["text_embeds"].shape == (3, 0)
            share = scheduler.alphas_cumprod[timestep]
            noise = (noisy - share.sqrt() * latents) / (1 - share).sqrt()
            return type("Out", (), {"sample": share.sqrt() * noise - (1 - share).sqrt() * latents})

    drawn = unet.sample(Oracle(), scheduler, np.zeros((3, 64, 5), np.float32), steps=5)
    np.testing.assert_allclose(drawn, latents.numpy(), atol=1e-4)


def test_a_joint_vector_is_one_token_of_deviation_five(unseen):
    shipped, _ = unet.frozen(DEMO, CPU)
    tokens = joint2img.joint_tokens(shipped, unseen[1], CPU)
    assert tokens.shape == (12, 1, 96) and 4 < tokens.std() < 6
    vectors = load_features(load_registry()["demo_clip"], ["pooled"], "cpu")
    found = vectors.features(resized_pictures(unseen[1], 64))["pooled"]
    cosines = (tokens[:, 0] * found).sum(1) / np.linalg.norm(tokens[:, 0], axis=1) / np.linalg.norm(found, axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-3)


def test_diffusion_loss_knows_the_dropped_tokens():
    torch.manual_seed(0)
    recipe = {"block_out_channels": [8, 8], "layers_per_block": 1, "heads": [2, 2], "norm_num_groups": 2, "plain": 1}
    model = unet.build(recipe | {"time_embedding_dim": 16}, (4, 8, 8), 6)
    scheduler, latents, sizes = unet.noise_schedule(), torch.randn(2, 4, 8, 8), torch.tensor([[64.0, 64, 0, 0]] * 2)
    values = []
    for tokens in (torch.zeros(2, 64, 6), torch.randn(2, 64, 6)):
        for dropout in (0.0, 1.0):
            random = torch.Generator().manual_seed(5)
            noisy = unet.noised(scheduler, latents, 2, slice(None), random, dropout)
            loss = unet.losses(model, scheduler, tokens=tokens, time_ids=sizes, **noisy)["v"]
            values.append(float(loss.detach()))
    assert values[0] == values[1] == values[3] != values[2]


def test_captioner_counts_the_tokens_and_its_cache_changes_nothing(unseen):
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model = captioner.bypassed(captioner.build({"width": 16, "layers": 2, "heads": 2}, 64, 8, len(tokenizer))).eval()
    tokens = torch.randn(3, 64, 8)
    begin = torch.full((3, 1), tokenizer.bos_token_id)
    arguments = {"input_ids": begin, "attention_mask": torch.ones_like(begin), "pixel_values": tokens[:, None]}
    cached, plain = (model.generate(**arguments, max_new_tokens=9, use_cache=flag) for flag in (True, False))
    assert torch.equal(cached, plain)
    ids = torch.from_numpy(encode(tokenizer, [five[0] for five in unseen[2][:3]], 42).astype(np.int64))
    loss = captioner.losses(model, tokens, ids)["words"]
    logits = model(input_ids=ids, pixel_values=tokens[:, None]).logits[:, 64:-1]
    words = nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")[ids[:, 1:] != PAD]
    torch.testing.assert_close(loss, words.mean())


def test_fidelity_measures_on_known_answers():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((40, 30))
    assert fidelity.two_way_identification(truth, 3 * truth + 2) == 1
    assert fidelity.two_way_identification(truth, -truth) == 0
    assert abs(fidelity.two_way_identification(truth, rng.standard_normal((40, 30))) - 0.5) < 0.15
    assert fidelity.retrieval_top1(truth, 5 * truth) == 1 and fidelity.retrieval_top1(truth, truth[::-1]) == 0
    flat = np.full((2, 4, 4, 3), 100, np.uint8)
    assert fidelity.psnr(flat, flat + 10) == pytest.approx(20 * np.log10(25.5))


@pytest.mark.parametrize(
    ("network", "measure", "least"),
    [
        ("clip", "text_to_image_top1_of_100", 0.80),
        ("vae", "psnr_db", 26.0),
        ("vdvae", "pixel_correlation", 0.85),
        ("unclip", "two_way_own_encoder", 0.95),
        ("joint2img", "two_way_own_encoder", 0.95),
        ("unclip", "two_way_efficientnet_lite2", 0.95),
        ("captioner", "right_background_and_an_object", 0.80),
    ],
)
def test_committed_networks_are_faithful_enough(network, measure, least):
    assert json.loads((DEMO / network / "card.json").read_text())["fidelity"][measure] >= least


def test_committed_networks_are_small():
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) <= 20e6


def test_the_library_does_not_import_the_tools():
    scripts = Path(__file__).parents[2] / "scripts"
    assert [path.name for path in scripts.rglob("*.py") if "demo_networks" in path.read_text()] == []
