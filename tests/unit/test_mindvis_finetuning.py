"""MinD-Vis on the training engine: both stages, what is trained, what is kept, decoding, and the switches."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_backbones import DDIM, tiny_unet, tiny_vae

from fmri2img.artifacts.cells import Cell
from fmri2img.artifacts.decoded import save_decoded
from fmri2img.artifacts.interfaces import Decoding
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import Stimuli, save_stimuli
from fmri2img.backbones.autoencoders import load_autoencoder
from fmri2img.backbones.generators import load_generator
from fmri2img.backbones.pixels import resize, to_unit
from fmri2img.backbones.registry import Backbone
from fmri2img.errors import UserError
from fmri2img.generation.drawing import Drawing
from fmri2img.generation.latents import decode_pictures, draw_finetuned
from fmri2img.methods.mindvis.decode import decode
from fmri2img.methods.mindvis.finetuning import DoublyConditionedTask, tune
from fmri2img.methods.mindvis.masked import padded
from fmri2img.methods.mindvis.network import (
    DoublyConditioned,
    load_masked,
    load_model,
    noised,
    spread_context,
    trained_in_unet,
)
from fmri2img.methods.mindvis.pretraining import MaskedTask
from fmri2img.methods.mindvis.settings import EncoderConfig, TransductiveTuning
from fmri2img.training.configuration import TrainingConfig
from fmri2img.training.loop import train

CPU = torch.device("cpu")
VOXELS = {"a": 40, "b": 70}
MODEL = {"width": 16, "depth": 1, "heads": 2, "decoder": {"width": 8, "depth": 1, "heads": 2}}
PLAIN = {"addition_embed_type": None, "projection_class_embeddings_input_dim": None, "addition_time_embed_dim": None}


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> dict[str, list]:
    """Entries of an untrained generator without size conditioning, as Stable Diffusion, and of an autoencoder."""
    folder = tmp_path_factory.mktemp("networks")
    tiny_unet(**PLAIN).save_pretrained(folder / "unet")
    tiny_vae().save_pretrained(folder / "vae")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(DDIM))
    common = {"source": {"folder": str(folder)}, "files": {}, "trained_on": "nothing", "licence": "none"}
    unet = {"kind": "diffusers_unet", "subfolder": "unet", "scheduler": "scheduler", "unconditional": "zeros"}
    unet |= {"decode": {"scale": 0.5, "offset": 0.5}, "image_size": 8}
    return {
        "generator": ["g", common | unet],
        "autoencoder": ["v", common | {"kind": "diffusers_vae", "subfolder": "vae"}],
    }


@pytest.fixture(scope="module")
def study(tmp_path_factory, networks) -> dict:
    """Settings of both tasks: two subjects, whose pictures are flat and of a colour that the betas hold."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (30, 3), dtype=np.uint8)
    images = np.broadcast_to(colours[:, None, None], (30, 12, 12, 3)).copy()
    table = pd.DataFrame({"image_id": np.arange(30) * 3, "name": "n", "source": "s", "cluster": "c"})
    table["captions"] = table["categories"] = [[] for _ in range(30)]
    save_stimuli(folder / "stimuli", images, table, {})
    for subject, voxels in VOXELS.items():
        shown = rng.integers(0, 30, 60)
        trials = pd.DataFrame({"trial": np.arange(60), "session": np.arange(60) // 30 + 1, "run": 1, "repeat": 0})
        trials["image_id"] = shown * 3
        trials["part"] = np.where(shown < 6, "test", "train")
        with Recording.writer(folder / subject) as writer:
            weights = rng.normal(size=(3, voxels))
            writer.betas(60, voxels)[:] = (colours[shown] / 128 - 1) @ weights
            places = pd.DataFrame({"x": range(voxels), "y": 0, "z": 0, "ncsnr": 0.5})
            metadata = {"subject": subject, "split": "s", "split_sha256": "ab", "test_sets": ["test"]}
            writer.finish(trials, places, metadata)
    return networks | {
        "recordings": {s: str(folder / s) for s in VOXELS}, "sessions": dict.fromkeys(VOXELS, 2), "initial": None,
        "stimuli": str(folder / "stimuli"), "network_files": [], "model": MODEL, "augmentation": {},
        "validation_share": 0.1, "time_condition": True, "position_resizing": "linear", "tune_on_test": None,
        "select_on_test": None, "classifier": None, "steps": 2, "context_spread": None,
    }  # fmt: skip


def single(study: dict, **changes) -> dict:
    return study | {"recordings": {"a": study["recordings"]["a"]}, "sessions": {"a": 2}} | changes


def training(**changes) -> dict:
    return {"epochs": 2, "batch": 8, "precision": "fp32", "schedule": "constant", "warmup_epochs": 0} | changes


def trained(folder, task: str, settings: dict, **changes):
    config = {"task": f"fmri2img.methods.mindvis.{task}", "settings": settings, "training": training(**changes)}
    train(config, folder / "out", folder / "work")
    return folder / "out"


@pytest.fixture(scope="module")
def masked(study, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("masked"), "pretraining:MaskedTask", study, learning_rate=1e-2)


@pytest.fixture(scope="module")
def decoder(study, masked, tmp_path_factory):
    settings = single(study, initial=str(masked))
    return trained(tmp_path_factory.mktemp("decoder"), "finetuning:DoublyConditionedTask", settings, learning_rate=1e-3)


# ---- stage A


def test_trials_of_all_subjects_are_seen_once_an_epoch_in_any_number_of_processes(study):
    task = MaskedTask(study, TrainingConfig.read(training(batch=4)))
    assert task.module.model.patches == 5  # 70 voxels
    steps = task.steps_per_epoch(4)
    batches = [task.inputs(step, 0, 4, 0, 1, CPU) for step in range(steps)]
    seen = torch.cat([batch["betas"][:, 0] for batch in batches])
    parts = [Recording.open(path) for path in study["recordings"].values()]
    known = {row[:20].tobytes(): n for n, r in enumerate(parts) for row in r.betas[r.training_rows(2)]}
    of_subject = [known[row[:20].numpy().tobytes()] for row in seen]
    assert 0 < sum(of_subject) < len(of_subject)
    first = seen[of_subject.index(0)]
    torch.testing.assert_close(first[40:80], first[:40])  # the shorter pattern begins again
    halves = [task.inputs(3, 0, 4, rank, 2, CPU) for rank in (0, 1)]
    for name, whole in batches[3].items():
        torch.testing.assert_close(torch.cat([half[name] for half in halves]), whole)


def test_a_share_of_the_voxels_is_zeroed_only_where_it_is_asked_for(study):
    plain = MaskedTask(study, TrainingConfig.read(training())).inputs(0, 0, 8, 0, 1, CPU)["betas"]
    sparse = study | {"augmentation": {"zeroed_voxels": 0.2}}
    changed = MaskedTask(sparse, TrainingConfig.read(training())).inputs(0, 0, 8, 0, 1, CPU)["betas"]
    assert (plain != 0).all()
    assert ((changed == 0).sum(dim=2) == 16).all()  # of 80
    assert len({tuple(row.nonzero().flatten().tolist()) for row in (changed[:, 0] == 0)}) > 1


def test_masked_modelling_learns_and_is_stored_with_what_it_saw(masked):
    model, metadata = load_masked(masked)
    table = pd.read_parquet(masked / "log.parquet")
    assert table["loss_masked"].iloc[-3:].mean() < table["loss_masked"].iloc[:3].mean()
    assert (metadata["training_subjects"], metadata["initial"], model.patches) == (["a", "b"], None, 5)
    validation = json.loads((masked / "training.json").read_text())["validation"]
    assert set(validation) == {"masked_loss", "pattern_correlation"}


# ---- stage B


def test_cross_attention_its_norm_both_conditions_and_the_encoder_are_trained_and_nothing_else(decoder, study):
    frozen = load_generator(Backbone(*study["generator"]), "cpu").unet.state_dict()
    model, record = load_model(decoder, CPU)
    changed = {name for name, tensor in model.unet.state_dict().items() if not torch.equal(tensor, frozen[name])}
    assert changed == {name for name in frozen if trained_in_unet(name)}
    assert all("transformer_blocks" in name and (".attn2." in name or ".norm2." in name) for name in changed)
    assert any("resnets" in name and "norm2" in name for name in frozen)  # of residual blocks, not trained
    parts = {name.split(".")[0] for name in model.trained()}
    assert parts == {"cond_stage_model", "time_embed_condtion", "unet"}
    assert record["metadata"]["training_subjects"] == ["a", "b"]


def test_the_conditions_have_the_released_shapes(networks):
    generator = load_generator(Backbone(*networks["generator"]), "cpu")
    model = DoublyConditioned(EncoderConfig(width=16, depth=1, heads=2), 9, generator)
    shapes = {name: tuple(t.shape) for name, t in model.trained().items() if name.endswith("weight")}
    width, time = generator.unet.config.cross_attention_dim, generator.unet.time_embedding.linear_2.out_features
    assert shapes["cond_stage_model.channel_mapper.0.weight"] == (4, 9, 1)
    assert shapes["cond_stage_model.channel_mapper.1.weight"] == (77, 4, 1)
    assert shapes["cond_stage_model.dim_mapper.weight"] == (width, 16)
    assert shapes["time_embed_condtion.0.weight"] == (38, 77, 1)
    assert shapes["time_embed_condtion.1.weight"] == (1, 38, 1)
    assert shapes["time_embed_condtion.2.weight"] == (time, width)


def test_the_second_condition_is_added_to_the_time_embedding(networks):
    """As large a change as that of the time embedding's own bias; without it the switch leaves none."""
    torch.manual_seed(0)
    generator = load_generator(Backbone(*networks["generator"]), "cpu")
    model = DoublyConditioned(EncoderConfig(width=16, depth=1, heads=2), 3, generator).eval()
    latents, context = torch.randn(2, 4, 4, 4), torch.randn(2, 77, 12)
    shift = torch.randn(generator.unet.time_embedding.linear_2.out_features)
    with torch.no_grad():
        conditioned = model.denoise(latents, torch.tensor([3, 700]), context, shift.expand(2, -1))
        plain = model.denoise(latents, torch.tensor([3, 700]), context, torch.zeros(2, len(shift)))
        generator.unet.time_embedding.linear_2.bias += shift
        shifted = model.denoise(latents, torch.tensor([3, 700]), context, torch.zeros(2, len(shift)))
    torch.testing.assert_close(conditioned, shifted)
    assert not torch.allclose(conditioned, plain, atol=1e-4)
    alone = DoublyConditioned(
        EncoderConfig(width=16, depth=1, heads=2), 3, load_generator(Backbone(*networks["generator"]), "cpu"), False
    )
    assert alone.condition(torch.randn(2, 1, 48))[1] is None


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_target_undoes_the_noise(prediction):
    from fmri2img.backbones.generators import scheduler_from_config

    scheduler = scheduler_from_config(DDIM | {"prediction_type": prediction, "rescale_betas_zero_snr": False})
    latents, noise, times = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2), torch.tensor([0, 400, 999])
    noisy, target = noised(scheduler, latents, noise, times)
    torch.testing.assert_close(noisy, scheduler.add_noise(latents, noise, times))
    wanted = noise if prediction == "epsilon" else scheduler.get_velocity(latents, noise, times)
    torch.testing.assert_close(target, wanted)


def test_crops_are_of_the_pictures_own_part_and_repeatable(study):
    task = DoublyConditionedTask(single(study), TrainingConfig.read(training()))
    first, again = (task.inputs(1, 0, 8, 0, 1, CPU) for _ in range(2))
    for name in first:
        torch.testing.assert_close(first[name], again[name])
    halves = [task.inputs(1, 0, 8, rank, 2, CPU) for rank in (0, 1)]
    for name in first:
        torch.testing.assert_close(torch.cat([half[name] for half in halves]), first[name])
    assert first["betas"].shape == (8, 1, 48) and first["latents"].shape == (8, 4, 4, 4)


def test_latents_are_those_of_each_trials_picture_cropped_or_not(study):
    """Pictures are flat, and a part of a flat picture is that picture."""
    for chance in (0.0, 1.0, 0.5):
        task = DoublyConditionedTask(
            single(study, augmentation={"crop_chance": chance}), TrainingConfig.read(training())
        )
        ids = task._trials.ids(task._trials.rows[task._streams.rows(0, 8, 8)])
        stimuli = Stimuli.open(study["stimuli"])
        pictures = resize(to_unit(stimuli.images[stimuli.rows(ids)]), 8).permute(0, 2, 3, 1).numpy()
        expected = load_autoencoder(Backbone(*study["autoencoder"]), CPU).encode(pictures)
        torch.testing.assert_close(task.inputs(1, 0, 8, 0, 1, CPU)["latents"], expected, atol=1e-4, rtol=1e-4)


def test_decoding_averages_trials_and_names_a_recording_that_does_not_fit(decoder, study):
    recording = Recording.open(study["recordings"]["a"])
    cell = Cell("a", 2, 0, "test")
    made = decode(Decoding(cell, decoder, recording, {}, {"steps": 2, "samples": 1, "batch": 4}))
    again = decode(Decoding(cell, decoder, recording, {}, {"steps": 2, "samples": 1, "batch": 2}))
    assert made.arrays["latents"].shape == (len(made.ids), 4, 4, 4)
    np.testing.assert_allclose(made.arrays["latents"], again.arrays["latents"], atol=1e-4)
    assert made.disclosure.test_averaging == "mean of repeats" and not made.disclosure.transductive
    other = Recording.open(study["recordings"]["b"])
    with pytest.raises(UserError, match=r"has 70 voxels of b, but .* decodes 40 voxels of a"):
        decode(Decoding(cell, decoder, other, {}, {"steps": 2, "samples": 1, "batch": 4}))


def test_further_samples_of_an_image_differ_in_their_noise_and_are_drawn_too(decoder, study, tmp_path):
    recording = Recording.open(study["recordings"]["a"])
    cell = Cell("a", 2, 0, "test")
    alone, made = (
        decode(Decoding(cell, decoder, recording, {}, {"steps": 2, "samples": n, "batch": 4})) for n in (1, 3)
    )
    first, further = made.arrays["latents"], made.arrays["samples"]
    np.testing.assert_array_equal(first, alone.arrays["latents"])
    assert further.shape == (len(made.ids), 2, 4, 4, 4) and "samples" not in alone.arrays
    differences = [np.abs(a - b).max() for a, b in ((first, further[:, 0]), (further[:, 0], further[:, 1]))]
    assert min(differences) > 0.1
    assert (alone.disclosure.samples_per_image, made.disclosure.samples_per_image) == (1, 3)

    identity = {"method": "m", "split": "s", "split_sha256": "ab", "disclosure": made.disclosure.record()}
    save_decoded(tmp_path / "decoded", made.ids, cell._asdict() | identity, made.arrays)
    networks = {role: Backbone(*study[role]) for role in ("generator", "autoencoder")}
    drawn = draw_finetuned(Drawing(cell, {"decoded": str(tmp_path / "decoded")}, networks))
    autoencoder = load_autoencoder(networks["autoencoder"])
    assert drawn.samples.shape == (len(made.ids), 2, *drawn.images.shape[1:])
    second = further[:, 1].astype(np.float16)
    np.testing.assert_array_equal(drawn.samples[:, 1], decode_pictures(second, autoencoder))
    assert drawn.disclosure.samples_per_image == 3


# ---- the spread of the context at the start


def contexts(task: DoublyConditionedTask) -> torch.Tensor:
    trials = task._trials
    betas = torch.from_numpy(padded(trials.betas(trials.rows), 48))
    with torch.no_grad():
        return task._model.cond_stage_model(betas[:, None])


def test_the_context_starts_with_the_spread_that_is_asked_for(study, masked):
    """Null leaves the published start; a number changes the last map and nothing else."""
    tasks = []
    for spread in (None, 1.5, 3.0):
        torch.manual_seed(5)
        settings = single(study, initial=str(masked), context_spread=spread)
        tasks.append(DoublyConditionedTask(settings, TrainingConfig.read(training())))
    published, rescaled = (task._model.trained() for task in tasks[:2])
    changed = {name for name, tensor in published.items() if not torch.equal(tensor, rescaled[name])}
    assert changed == {f"cond_stage_model.dim_mapper.{name}" for name in ("weight", "bias")}
    mapper = published["cond_stage_model.dim_mapper.weight"]
    assert mapper.abs().max() <= 1 / mapper.shape[1] ** 0.5  # as torch initialises a linear map
    found = [contexts(task) for task in tasks]
    spreads = [context.std(dim=0, correction=0).mean().item() for context in found]
    assert spreads[0] < 0.5 and spreads[1:] == pytest.approx([1.5, 3.0], rel=1e-4)
    for context in found[1:]:
        torch.testing.assert_close(context.mean(dim=(0, 1)), torch.zeros(context.shape[2]), atol=1e-4, rtol=0)
    torch.testing.assert_close(2 * found[1], found[2], atol=1e-4, rtol=1e-4)


def test_a_context_that_does_not_differ_cannot_be_rescaled(networks):
    generator = load_generator(Backbone(*networks["generator"]), "cpu")
    model = DoublyConditioned(EncoderConfig(width=16, depth=1, heads=2), 3, generator)
    before = model.cond_stage_model.dim_mapper.weight.clone()
    for betas in (torch.ones(4, 1, 48), torch.full((4, 1, 48), torch.nan), torch.randn(1, 1, 48)):
        with pytest.raises(
            UserError, match=rf"context_spread: the context of {len(betas)} training trials has a spread"
        ):
            spread_context(model.cond_stage_model, betas, 1.0)
    torch.testing.assert_close(model.cond_stage_model.dim_mapper.weight, before)


# ---- switches that use test data


def test_tuning_on_test_responses_is_disclosed_and_lowers_their_masked_loss(study, masked, tmp_path):
    settings = single(study, initial=str(masked), tune_on_test={"epochs": 2, "learning_rate": 0.01})
    folder = trained(tmp_path, "finetuning:DoublyConditionedTask", settings, epochs=1)
    recording = Recording.open(study["recordings"]["a"])
    made = decode(Decoding(Cell("a", 2, 0, "test"), folder, recording, {}, {"steps": 2, "samples": 1, "batch": 4}))
    assert made.disclosure.transductive
    model, _ = load_masked(masked)
    betas = recording.betas[recording.test_rows("test")]
    losses = []
    for _ in range(2):
        noise = torch.rand(len(betas), model.patches, generator=torch.manual_seed(0))
        with torch.no_grad():
            losses.append(model(torch.from_numpy(np.resize(betas, (len(betas), 80)))[:, None], noise).loss.item())
        tune(model, betas, TransductiveTuning(epochs=20, learning_rate=0.01), 0)
    assert losses[1] < losses[0]


def test_selection_on_test_keeps_the_best_weights_and_is_disclosed(study, masked, tmp_path, monkeypatch):
    accuracies = iter([0.1, 0.9, 0.2])
    monkeypatch.setattr(DoublyConditionedTask, "_test_accuracy", lambda task, device: next(accuracies))
    kept = []
    original = DoublyConditionedTask.validate

    def spy(task, module, device):
        found = original(task, module, device)
        kept.append({name: tensor.clone() for name, tensor in task._model.trained().items()})
        return found

    monkeypatch.setattr(DoublyConditionedTask, "validate", spy)
    settings = single(study, initial=str(masked), select_on_test={"images": 4})
    options = {"epochs": 3, "validate_every_epochs": 1, "learning_rate": 1e-2}
    folder = trained(tmp_path, "finetuning:DoublyConditionedTask", settings, **options)
    model, record = load_model(folder, CPU)
    for name, tensor in model.trained().items():
        torch.testing.assert_close(tensor, kept[1][name])
    assert record["metadata"]["selected_on_test"]
