"""Recipes of the demo's frozen networks: exact resumption, rescalings that change nothing, known answers, cards."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from torch import nn

from fmri2img.backbones.training import captioner, clip, fidelity, unet, vae
from fmri2img.backbones.training.bank import DEVELOPMENT_STREAM, FINAL_STREAM, training_bank, unseen_scenes
from fmri2img.backbones.training.fitting import Schedule, fit
from fmri2img.backbones.training.vocabulary import PAD, UNK, build_tokenizer, encode
from fmri2img.errors import UserError

CPU = torch.device("cpu")
DEMO = Path(__file__).parents[2] / "resources" / "demo_backbones"
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


class Stopped(Exception):
    pass


def test_a_killed_run_resumes_to_the_same_weights(tmp_path):
    schedule = Schedule(steps=120, batch=8, learning_rate=0.1, warmup=3, ema=0.9, seed=7, checkpoint_seconds=0.0)

    def run(work, stop_after=None):
        torch.manual_seed(1)
        calls = []

        def loss_of(module, rng):
            calls.append(0)
            if stop_after is not None and len(calls) > stop_after:
                raise Stopped
            x = torch.from_numpy(rng.standard_normal((schedule.batch, 3)).astype(np.float32))
            return {"l2": (module(x) - x.sum(1, keepdim=True) + 0.1 * torch.randn(len(x), 1)).square().mean()}

        return fit(nn.Linear(3, 1), loss_of, schedule, work, CPU, log=lambda line: None, recipe={}).module

    whole = run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path / "cut", stop_after=57)
    resumed = run(tmp_path / "cut")
    torch.testing.assert_close(resumed.weight, whole.weight, rtol=0, atol=0)
    assert (whole.weight - 1).abs().max() < 0.2


@pytest.mark.parametrize(
    ("schedule", "recipe", "changed"),
    [
        ({}, {"noise": 0.5}, "noise"),
        ({}, {}, "noise"),
        ({"learning_rate": 0.2, "seed": 8}, {"noise": 0.1}, "schedule.learning_rate, schedule.seed"),
        ({"accumulation": 2}, {"noise": 0.1}, "schedule.accumulation x processes"),
    ],
)
def test_a_checkpoint_of_another_recipe_is_refused_by_key(tmp_path, schedule, recipe, changed):
    def run(changes, recipe):
        def loss_of(module, rng):
            return {"l2": module(torch.from_numpy(rng.standard_normal((2, 3)).astype(np.float32))).square().mean()}

        settings = {"steps": 4, "batch": 2, "learning_rate": 0.1, "seed": 7, "checkpoint_seconds": 0.0}
        return fit(nn.Linear(3, 1), loss_of, Schedule(**settings | changes), tmp_path, CPU, recipe=recipe)

    kept = {"noise": 0.1, "later_schedule": {"steps": 1}}
    run({}, kept)
    with pytest.raises(UserError, match=rf"checkpoint\.safetensors: .*another recipe \({changed} changed\)"):
        run(schedule, recipe)
    run({"checkpoint_seconds": 9.0}, kept | {"later_schedule": {"steps": 2}})  # free to change


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


def test_diffusion_loss_knows_the_dropped_tokens():
    torch.manual_seed(0)
    recipe = {"block_out_channels": [8, 8], "layers_per_block": 1, "heads": [2, 2], "norm_num_groups": 2, "plain": 1}
    model = unet.build(recipe | {"time_embedding_dim": 16}, (4, 8, 8), 6)
    scheduler, latents, sizes = unet.noise_schedule(), torch.randn(2, 4, 8, 8), torch.tensor([[64.0, 64, 0, 0]] * 2)
    values = []
    for tokens in (torch.zeros(2, 64, 6), torch.randn(2, 64, 6)):
        for dropout in (0.0, 1.0):
            torch.manual_seed(5)
            values.append(float(unet.losses(model, scheduler, latents, tokens, sizes, dropout)["v"]))
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
        ("unclip", "two_way_own_encoder", 0.95),
        ("unclip", "two_way_efficientnet_lite2", 0.95),
        ("captioner", "right_background_and_an_object", 0.80),
    ],
)
def test_committed_networks_are_faithful_enough(network, measure, least):
    assert json.loads((DEMO / network / "card.json").read_text())["fidelity"][measure] >= least


def test_committed_networks_are_small():
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) <= 20e6
