"""Sampling: known answers from an oracle network, parity with a plain loop, noise that belongs to the image."""

import numpy as np
import pytest
import torch
from drawings import drawn
from tiny_backbones import (
    DDIM,
    EULER,
    TOKENS,
    WIDTH,
    OracleUNet,
    tiny_autoencoder,
    tiny_generator,
    tiny_unet,
    tiny_vae,
    write_json,
)
from torchvision.transforms.v2 import Resize

from fmri2img.artifacts.decoded import save_decoded
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.backbones.generators import load_generator
from fmri2img.backbones.pixels import to_uint8
from fmri2img.backbones.registry import Backbone
from fmri2img.errors import UserError
from fmri2img.generation import text2img
from fmri2img.generation.blend import blend
from fmri2img.generation.img2img import Prompt, Refiner
from fmri2img.generation.noise import REFINEMENT, batch_noise, image_noise
from fmri2img.generation.unclip import UnclipGenerator, guide

IDS = np.array([3, 11, 12, 40, 72999])


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(IDS), TOKENS, WIDTH)).astype(np.float16)


@pytest.fixture(scope="module")
def unclip() -> UnclipGenerator:
    return UnclipGenerator(tiny_generator(unconditional="noise"), tiny_autoencoder())


@pytest.mark.parametrize("antialias", [True, False])
def test_pictures_that_are_stored_smaller_are_filtered_or_not_as_the_study_says(tmp_path, antialias):
    backbone, _ = folders(tmp_path)
    record = backbone.record | {"image_size": 3, "antialias": antialias}
    pixels = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = Resize((3, 3), antialias=antialias)(pixels).mul(255).round().permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(load_generator(Backbone("tiny", record)).stored(pixels), expected)


def levels_apart(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def test_a_picture_does_not_depend_on_batch_size_or_order(unclip, tokens):
    whole = unclip.generate(tokens, IDS, seed=0, steps=3, guidance=2.0, batch=5)
    assert whole.std() > 5
    order = np.array([4, 2, 0, 3, 1])
    for batch in (1, 2, 5):
        shuffled = unclip.generate(tokens[order], IDS[order], seed=0, steps=3, guidance=2.0, batch=batch)
        assert levels_apart(shuffled, whole[order]) <= 1


def test_same_seed_same_picture_other_seed_other_picture(unclip, tokens):
    first, second = (unclip.generate(tokens, IDS, seed=5, steps=2, guidance=2.0) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert levels_apart(first, unclip.generate(tokens, IDS, seed=6, steps=2, guidance=2.0)) > 5


def test_half_precision_stays_close_to_single(unclip, tokens):
    half = UnclipGenerator(tiny_generator(tiny_unet().bfloat16(), unconditional="noise"), tiny_autoencoder())
    pictures = [u.generate(tokens, IDS, seed=0, steps=3, guidance=2.0) for u in (unclip, half)]
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() < 3


def test_noise_differs_between_images_seeds_and_uses():
    draws = [image_noise(seed, image_id, (500,), (500,)) for seed in (0, 1) for image_id in (0, 1, 72999)]
    flat = torch.stack([part for pair in draws for part in pair])
    correlation = torch.corrcoef(flat) - torch.eye(len(flat))
    assert correlation.abs().max() < 0.25


@pytest.mark.parametrize("unconditional", ["zeros", "noise"])
def test_parity_with_a_plain_sampling_loop(tokens, unconditional):
    """DDIM in closed form: x0 and noise from the velocity, then the next noise level (Song et al. 2021, eq. 12)."""
    unet, steps, guidance = tiny_unet(), 4, 3.0
    autoencoder = tiny_autoencoder()
    generator = tiny_generator(unet, unconditional=unconditional, size_conditioning=(8, 8, 1, 2))
    got = UnclipGenerator(generator, autoencoder).generate(tokens, IDS, 0, steps, guidance)
    alphas = generator.scheduler.alphas_cumprod.double()
    added = {"text_embeds": torch.zeros(1, 0), "time_ids": torch.tensor([[8.0, 8.0, 1.0, 2.0]])}
    for row, image_id in enumerate(IDS):
        x, free = (part[None] for part in image_noise(0, image_id, (4, 4, 4), (TOKENS, WIDTH)))
        free = free if unconditional == "noise" else torch.zeros_like(free)
        own = torch.from_numpy(tokens[row : row + 1].astype(np.float32))
        for t in (999, 749, 499, 249):
            with torch.no_grad():
                v_free, v_own = (unet(x.float(), t, c, added_cond_kwargs=added).sample.double() for c in (free, own))
            v = v_free + guidance * (v_own - v_free)
            now, later = alphas[t], alphas[t - 250] if t > 250 else torch.tensor(1.0).double()
            clean, noise = now.sqrt() * x - (1 - now).sqrt() * v, now.sqrt() * v + (1 - now).sqrt() * x
            x = later.sqrt() * clean + (1 - later).sqrt() * noise
        picture = to_uint8(autoencoder.decode(x.float()))[0]
        assert levels_apart(got[row], picture) <= 1


def edm_sigmas(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Time steps and noise levels (with a last 0) of Stability's legacy discretisation, in float64."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas = np.cumprod(1 - betas)
    times = np.linspace(999, 0, steps, endpoint=False).astype(int)
    return times, np.append(np.sqrt((1 - alphas[times]) / alphas[times]), 0.0)


def edm_euler(unet, x, times, sigmas, contexts, added, guidance) -> np.ndarray:
    """Karras et al. (2022), algorithm 1 without churn, for a network that predicts the noise; float64 outside it."""
    for t, sigma, lower in zip(times, sigmas[:-1], sigmas[1:], strict=True):
        scaled = torch.from_numpy(x / np.sqrt(sigma**2 + 1)).float()
        with torch.no_grad():
            free, own = (
                x - sigma * unet(scaled, int(t), c, added_cond_kwargs=added).sample.double().numpy() for c in contexts
            )
        denoised = free + guidance * (own - free)
        x = x + (x - denoised) / sigma * (lower - sigma)
    return x


@pytest.mark.parametrize(("steps", "tolerance"), [(5, 2e-4), (38, 1e-3)])
def test_parity_with_mindeye2s_sampling_written_out(tokens, steps, tolerance):
    """Start z + sigma (noise + 0.04 shift), random tokens in the unconditional branch, Euler, output * 0.8 + 0.2."""
    unet, autoencoder, guidance = tiny_unet(), tiny_autoencoder(), 5.0
    settings = {"unconditional": "noise", "extra_noise": True, "offset_noise": 0.04, "timesteps": "sgm"}
    generator = tiny_generator(unet, EULER, decode=(0.8, 0.2), **settings)
    unclip = UnclipGenerator(generator, autoencoder)
    times, sigmas = edm_sigmas(steps)
    np.testing.assert_allclose(generator.set_timesteps(steps), times)
    np.testing.assert_allclose(generator.scheduler.sigmas, sigmas, rtol=1e-5)
    added = {"text_embeds": torch.zeros(1, 0), "time_ids": torch.tensor([[8.0, 8.0, 0.0, 0.0]])}
    pictures = unclip.generate(tokens, IDS, 3, steps, guidance)
    for row, image_id in enumerate(IDS[:2]):
        noise, free, extra, shift = image_noise(3, image_id, (4, 4, 4), (TOKENS, WIDTH), (4, 4, 4), (1,))
        start = extra + sigmas[0] * (noise + 0.04 * float(shift))
        own = torch.from_numpy(tokens[row : row + 1].astype(np.float32))
        wanted = edm_euler(unet, start[None].double().numpy(), times, sigmas, (free[None], own), added, guidance)
        got = unclip.denoise(start[None].float(), generator.set_timesteps(steps), own, free[None], guidance)
        assert np.abs(got.numpy() - wanted).max() < tolerance * np.abs(wanted).max()
        shown = autoencoder.vae.decode(torch.from_numpy(wanted).float() / 0.7).sample.detach() * 0.8 + 0.2
        assert levels_apart(pictures[row : row + 1], to_uint8(shown)) <= 1


def test_refinement_is_img2img_from_step_13_of_25(tokens):
    """Clean latents plus sigma 1.5092 of noise, then 12 Euler steps under caption and negative prompt."""
    unet, guidance = tiny_unet(), 5.0
    generator = tiny_generator(unet, EULER, timesteps="sgm")
    clean, noise = (torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    prompt, negative = Prompt(tokens[:2].astype(np.float32)), Prompt(tokens[2:3].astype(np.float32))
    refiner = Refiner(generator, tiny_autoencoder())
    got = refiner.denoise(clean, noise, prompt, negative, 25, 13, guidance)
    times, sigmas = edm_sigmas(25)
    added = {"text_embeds": torch.zeros(2, 0), "time_ids": torch.tensor([[8.0, 8.0, 0.0, 0.0]]).repeat(2, 1)}
    contexts = torch.from_numpy(negative.states).repeat(2, 1, 1), torch.from_numpy(prompt.states)
    start = (clean + sigmas[13] * noise).double().numpy()
    wanted = edm_euler(unet, start, times[13:], sigmas[13:], contexts, added, guidance)
    assert np.abs(got.numpy() - wanted).max() < 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("scheduler", [DDIM, EULER], ids=["ddim", "euler"])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_a_perfect_network_brings_every_sampler_to_the_clean_latents(scheduler, guidance, tokens):
    clean = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    autoencoder = tiny_autoencoder()
    timesteps = "sgm" if scheduler is EULER else "scheduler"
    generator = tiny_generator(OracleUNet(clean, scheduler), scheduler, timesteps=timesteps)
    wanted = to_uint8(autoencoder.decode(clean))
    drawn = UnclipGenerator(generator, autoencoder).generate(tokens, IDS, 0, 5, guidance)
    assert levels_apart(drawn, np.repeat(wanted, len(IDS), 0)) <= 1
    blank = Prompt(np.zeros((1, TOKENS, WIDTH), np.float32))
    start_images = np.random.default_rng(1).integers(0, 256, (len(IDS), 8, 8, 3), dtype=np.uint8)
    for start in (0, 2, 4):
        refined = Refiner(generator, autoencoder).refine(
            start_images, IDS, Prompt(tokens.astype(np.float32)), blank, 0, 5, start, guidance
        )
        assert levels_apart(refined, np.repeat(wanted, len(IDS), 0)) <= 1


def test_published_time_grid_and_noise_levels():
    """MindEye2: 38 steps from 999 down to 26, first noise level 14.6146; refinement enters at 13 of 25, at 1.5092."""
    generator = tiny_generator(scheduler=EULER, timesteps="sgm")
    grid = generator.set_timesteps(38)
    assert grid[:3].tolist() == [999, 972, 946] and grid[-1] == 26 and len(grid) == 38
    assert float(generator.scheduler.sigmas[0]) == pytest.approx(14.6146, abs=1e-4)
    assert float(generator.scheduler.init_noise_sigma) == pytest.approx(14.6146, abs=1e-4)
    grid = generator.set_timesteps(25)
    assert grid[13] == 479 and len(grid[13:]) == 12
    assert float(generator.scheduler.sigmas[13]) == pytest.approx(1.5092, abs=1e-4)


@pytest.mark.parametrize("scheduler", [DDIM, EULER], ids=["ddim", "euler"])
def test_refinement_without_steps_is_the_autoencoder_and_late_starts_keep_more(scheduler):
    images = np.random.default_rng(2).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    ids, autoencoder = IDS[:4], tiny_autoencoder()
    prompt = Prompt(np.random.default_rng(3).normal(size=(4, TOKENS, WIDTH)).astype(np.float32))
    negative = Prompt(np.zeros((1, TOKENS, WIDTH), np.float32))
    refiner = Refiner(tiny_generator(scheduler=scheduler), autoencoder)
    _, spread = batch_noise(0, ids, (4, 4, 4), (4, 4, 4), stream=REFINEMENT)
    passed = to_uint8(autoencoder.decode(autoencoder.encode(images, spread)))

    def refined(start, batch=4):
        return refiner.refine(images, ids, prompt, negative, seed=0, steps=10, start=start, guidance=2.0, batch=batch)

    np.testing.assert_array_equal(refined(10), passed)
    change = [np.abs(refined(start).astype(int) - passed).mean() for start in (9, 6, 1)]
    assert 0 < change[0] < change[1] < change[2]
    assert levels_apart(refined(5), refined(5, batch=1)) <= 1


def test_refinement_hears_pooled_text_and_the_negative_prompt():
    unet = tiny_unet(projection_class_embeddings_input_dim=32 + 5)
    images, ids = np.full((2, 8, 8, 3), 128, np.uint8), IDS[:2]
    rng = np.random.default_rng(4)

    def text(n):
        return Prompt(
            rng.normal(size=(n, TOKENS, WIDTH)).astype(np.float32), rng.normal(size=(n, 5)).astype(np.float32)
        )

    prompt, negatives = text(2), [text(1), text(1)]
    refiner = Refiner(tiny_generator(unet), tiny_autoencoder())
    other = Prompt(prompt.states, prompt.pooled + 3)
    base, otherwise, pooled = (
        refiner.refine(images, ids, p, n, seed=0, steps=4, start=1, guidance=4.0)
        for p, n in ((prompt, negatives[0]), (prompt, negatives[1]), (other, negatives[0]))
    )
    assert levels_apart(base, otherwise) > 0 and levels_apart(base, pooled) > 0


@pytest.mark.parametrize("scheduler", [DDIM, EULER], ids=["ddim", "euler"])
def test_drawing_from_words_hears_the_words_and_the_seed_alone(scheduler):
    timesteps = "sgm" if scheduler is EULER else "scheduler"
    autoencoder, rng = tiny_autoencoder(), np.random.default_rng(5)
    prompt, other = (Prompt(rng.normal(size=(len(IDS), TOKENS, WIDTH)).astype(np.float32)) for _ in range(2))
    negative = Prompt(np.zeros((1, TOKENS, WIDTH), np.float32))
    refiner = Refiner(tiny_generator(scheduler=scheduler, timesteps=timesteps), autoencoder)

    def drawn(prompt, seed=0, batch=32):
        return text2img.draw(refiner, IDS, prompt, negative, seed, steps=4, guidance=3.0, batch=batch)

    base = drawn(prompt)
    assert base.dtype == np.uint8 and len(base) == len(IDS)
    assert levels_apart(base, drawn(prompt, batch=1)) <= 1
    assert levels_apart(base, drawn(other)) > 0 and levels_apart(base, drawn(prompt, seed=1)) > 0

    clean = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    refiner = Refiner(tiny_generator(OracleUNet(clean, scheduler), scheduler, timesteps=timesteps), autoencoder)
    wanted = to_uint8(autoencoder.decode(clean))
    assert levels_apart(drawn(prompt), np.repeat(wanted, len(IDS), 0)) <= 1


def test_networks_that_were_not_trained_together_are_refused(unclip, tokens):
    with pytest.raises(UserError, match=r"'autoencoder': it has 4 latent channels, generator tiny draws 8"):
        UnclipGenerator(tiny_generator(tiny_unet(in_channels=8)), tiny_autoencoder())
    with pytest.raises(UserError, match=r"'generator': tiny takes tokens of width 12, but the encoder's have width 9"):
        unclip.generate(tokens[:, :, :9], IDS, seed=0, steps=2, guidance=2.0)


def test_guidance_extrapolates_from_the_unconditional_branch():
    output = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    assert guide(output, 3.0).tolist() == [[10.0], [20.0]]
    assert guide(output, 1).tolist() == output.tolist()


def test_blend_is_three_parts_refined_and_resizes_the_blurry_picture():
    refined = np.full((2, 8, 8, 3), 200, np.uint8)
    blurry = np.full((2, 4, 4, 3), 100, np.uint8)
    assert (blend(refined, blurry, 0.75) == 175).all()
    assert (blend(refined, refined // 2, 0.5) == 150).all()


def folders(root) -> tuple[Backbone, Backbone]:
    """A generator and an autoencoder as registry entries whose files lie under `root`."""
    tiny_unet().save_pretrained(root / "generator" / "unet")
    write_json(root / "generator" / "scheduler" / "scheduler_config.json", DDIM)
    tiny_vae().save_pretrained(root / "autoencoder")
    weights = "diffusion_pytorch_model.safetensors"
    generator = {
        "kind": "diffusers_unet", "source": {"folder": str(root / "generator")}, "licence": "MIT",
        "trained_on": "nothing",
        "files": {"unet/config.json": None, f"unet/{weights}": None, "scheduler/scheduler_config.json": None},
        "subfolder": "unet", "scheduler": "scheduler", "image_size": 8, "size_conditioning": [8, 8, 0, 0],
        "unconditional": "zeros", "decode": {"scale": 0.5, "offset": 0.5},
    }  # fmt: skip
    autoencoder = {
        "kind": "diffusers_vae", "source": {"folder": str(root / "autoencoder")}, "licence": "MIT",
        "trained_on": "nothing",
        "files": {"config.json": None, weights: None},
    }  # fmt: skip
    return Backbone("tiny_unclip", generator), Backbone("tiny_vae", autoencoder)


def test_draw_writes_a_prediction_with_its_record(tmp_path, tokens):
    generator, autoencoder = folders(tmp_path)
    record = Disclosure(
        training_trials=10, training_subjects=["subj01"], trial_averaging="single", test_averaging="mean of repeats",
        encoder="tiny_clip", origin="port",
    ).record()  # fmt: skip
    identity = {"method": "ridge", "subject": "subj01", "sessions": 1, "seed": 7, "split": "s", "split_sha256": "0"}
    identity |= {"test_set": "s"}
    generation = {"steps": 2, "guidance": 2.0, "batch": 2}
    save_decoded(tmp_path / "decoded", IDS, identity | {"disclosure": record}, {"tokens": tokens})
    networks = {"generator": generator, "autoencoder": autoencoder}
    outputs, decoded = ("images", "retrieval"), tmp_path / "decoded"
    made = drawn("unclip", networks, generation, tmp_path / "out", outputs=outputs, decoded=decoded)
    np.testing.assert_array_equal(made.ids, IDS)
    np.testing.assert_array_equal(made.retrieval, tokens.reshape(len(IDS), -1))
    direct = UnclipGenerator(tiny_generator(), tiny_autoencoder()).generate(tokens, IDS, 7, 2, 2.0)
    assert levels_apart(made.images, direct) <= 1
    assert {key: made.metadata[key] for key in identity} == identity
    assert made.metadata["disclosure"]["generator"].startswith("tiny_unclip (sha256:")
    assert made.metadata["disclosure"]["generator_data"] == "nothing"
    assert made.metadata["disclosure"]["samples_per_image"] == 1

    with pytest.raises(UserError, match=r"nameless.*'method'"):
        save_decoded(tmp_path / "nameless", IDS, {"disclosure": record}, {"tokens": tokens})
