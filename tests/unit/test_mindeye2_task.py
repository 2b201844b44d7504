"""MindEye2 as a task of the training engine: its data, its batches on any number of processes, its starting points."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from records import unrecorded
from training_launch import run_pairs, table

from fmri2img.artifacts.embeddings import save_embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.errors import UserError
from fmri2img.methods.mindeye2 import task as task_module
from fmri2img.methods.mindeye2.data import Batches
from fmri2img.methods.mindeye2.known_defects import KNOWN_DEFECTS
from fmri2img.methods.mindeye2.network import load_model
from fmri2img.methods.mindeye2.settings import LossConfig
from fmri2img.methods.mindeye2.task import MindEye2Task
from fmri2img.networks import losses as losses_module
from fmri2img.training.configuration import TrainingConfig
from fmri2img.training.loop import train
from fmri2img.training.trials import held_out_images, open_trials

CPU = torch.device("cpu")
SESSIONS = {"subj01": 3, "subj02": 2}
VOXELS = {"subj01": 30, "subj02": 26}
TRIALS = 40  # a session
IMAGES = 90
MODEL = {
    "hidden": 16, "backbone": "as_released", "blocks": 1,
    "low_level": {"seed_channels": 32, "channels": [32, 32]},
    "prior": {"depth": 1, "heads": 2, "head_width": 8, "feedforward": 2, "timesteps": 10, "rotary_width": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> dict:
    """Settings of a task: two subjects whose betas are a linear image of the tokens, and all targets."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(IMAGES, 4, 6)).astype(np.float16)
    ids = np.arange(IMAGES) * 2  # not row numbers
    metadata = {"encoder": "tiny", "revision": "r1"}
    save_embeddings(folder / "tokens", ids, tokens, metadata)
    save_embeddings(folder / "latents", ids, rng.normal(size=(IMAGES, 16, 4)).astype(np.float16), metadata)
    views = []
    for view in range(3):
        views.append(str(folder / f"view{view}"))
        maps = rng.normal(size=(IMAGES, 4, 5)).astype(np.float16)
        maps[:, 0, 0] = view  # marks the view
        save_embeddings(views[-1], ids, maps, metadata)
    for number, (subject, sessions) in enumerate(SESSIONS.items()):
        n = sessions * TRIALS
        image_id = rng.choice(ids, n)
        with Recording.writer(folder / subject) as writer:
            betas = writer.betas(n, VOXELS[subject])
            weights = np.random.default_rng(number).normal(size=(24, VOXELS[subject]))
            betas[:] = tokens[image_id // 2].reshape(n, -1).astype(float) @ weights / 5
            betas[:, 0] = np.arange(n) / 1000  # marks the trial
            trials = pd.DataFrame({"trial": np.arange(n), "session": np.arange(n) // TRIALS + 1, "run": 1})
            trials = trials.assign(image_id=image_id, repeat=0)
            trials["part"] = np.where(image_id < 20, "test", "train")
            voxels = pd.DataFrame({"x": range(VOXELS[subject]), "y": 0, "z": 0, "ncsnr": 0.5})
            writer.finish(
                trials, voxels, {"subject": subject, "split": "shared1000", "split_sha256": "ab", "test_sets": ["test"]}
            )
    return {
        "recordings": {subject: str(folder / subject) for subject in SESSIONS}, "sessions": SESSIONS,
        "embeddings": str(folder / "tokens"), "latents": str(folder / "latents"), "local_features": views,
        "model": MODEL, "losses": {}, "validation_share": 0.2,
    }  # fmt: skip


def task(settings: dict, **training) -> MindEye2Task:
    training = TrainingConfig.read({"epochs": 4, "batch": 8, "precision": "fp32"} | training)
    torch.manual_seed(training.seed)
    return MindEye2Task(settings, training)


def single(settings: dict, subject: str = "subj01", **changes) -> dict:
    return settings | {"recordings": {subject: settings["recordings"][subject]}} | changes


def marked(betas: torch.Tensor) -> torch.Tensor:
    """Rows of the recording that unmixed betas come from."""
    return (betas[:, 0] * 1000).round().long()


# ---- trials


def test_test_images_and_held_out_images_are_never_trained_on(study):
    for trials in open_trials(study["recordings"], study["sessions"], 0.2, 0):
        part = trials.recording.trials["part"].to_numpy()
        assert (part[np.concatenate([trials.rows, trials.held_out])] == "train").all()
        assert not set(trials.ids(trials.rows)) & set(trials.ids(trials.held_out))
        assert len(trials.rows) + len(trials.held_out) == (part == "train").sum()


def test_the_same_images_are_held_out_at_every_budget():
    ids = np.arange(0, 4000, 2)
    held = held_out_images(ids, 0.05, 3)
    assert 70 < len(held) < 130
    assert set(held_out_images(ids[::7], 0.05, 3)) == set(held) & set(ids[::7])
    assert set(held_out_images(ids, 0.05, 4)) != set(held)
    assert len(held_out_images(ids[:10], 0.001, 3)) == 2
    assert len(held_out_images(ids, 0.0, 3)) == 0


def test_budgets_are_chronological_and_may_be_a_part_of_a_session(study):
    (one,) = open_trials(single(study)["recordings"], {"subj01": 1}, 0, 0)
    assert one.recording.trials["session"].to_numpy()[one.rows].max() == 1
    (part,) = open_trials(single(study)["recordings"], {"subj01": 0.25}, 0, 0)
    assert part.rows.max() < TRIALS / 4 and part.epoch_trials == 10
    np.testing.assert_array_equal(part.rows, one.rows[: len(part.rows)])


def test_an_epoch_counts_all_trials_of_the_largest_budget(study):
    assert task(study).steps_per_epoch(8) == 3 * TRIALS // 8
    assert task(study, batch=7).steps_per_epoch(7) == 3 * TRIALS // 6  # 3 of each subject
    assert task(single(study, sessions={"subj01": 0.1})).steps_per_epoch(8) == 1


# ---- batches


def test_a_batch_has_as_many_trials_of_each_subject_with_their_own_images(study):
    it = task(study, batch=9)
    inputs = it.inputs(5, 3, 9, 0, 1, CPU)
    assert {subject: len(values) for subject, values in inputs["betas"].items()} == {"subj01": 4, "subj02": 4}
    trials = {subject: Recording.open(path).trials for subject, path in study["recordings"].items()}
    ids = np.concatenate(
        [trials[subject]["image_id"].to_numpy()[marked(values)] for subject, values in inputs["betas"].items()]
    )
    tokens = np.load(f"{study['embeddings']}/tokens.npy")
    np.testing.assert_array_equal(inputs["tokens"], tokens[ids // 2])
    latents = np.load(f"{study['latents']}/tokens.npy")[ids // 2]
    np.testing.assert_array_equal(inputs["latents"], latents.reshape(8, 4, 4, 4).transpose(0, 3, 1, 2))
    assert (inputs["maps"][:, 0, 0] == 0).all()
    assert set(inputs["augmented_maps"][:, 0, 0].tolist()) <= {1.0, 2.0}
    assert "labels" not in inputs


def test_views_and_drops_vary_over_steps_and_every_view_is_used(study):
    it = task(study)
    steps = [it.inputs(step, 3, 8, 0, 1, CPU) for step in range(60)]
    views = torch.stack([inputs["augmented_maps"][:, 0, 0] for inputs in steps])
    assert 0.35 < (views == 1).float().mean() < 0.65
    for name in ("keep_brain", "keep_image"):
        assert 0.7 < torch.stack([inputs[name] for inputs in steps]).float().mean() < 0.9
    drops = torch.stack([torch.stack([i["keep_brain"], i["keep_image"]]) for i in steps]).float().flatten(2)
    assert abs(torch.corrcoef(drops.permute(1, 0, 2).flatten(1))[0, 1]) < 0.15
    times = torch.cat([inputs["t"] for inputs in steps])
    assert set(times.tolist()) == set(range(10))
    noise = torch.cat([inputs["noise"] for inputs in steps])
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.05


def test_inputs_are_a_function_of_their_arguments(study):
    first, second = task(study), task(study)
    second.inputs(1, 0, 8, 0, 1, CPU)
    torch.manual_seed(99)
    for epoch in (0, 3):
        a, b = first.inputs(2, epoch, 8, 0, 1, CPU), second.inputs(2, epoch, 8, 0, 1, CPU)
        for key in a:
            several = isinstance(a[key], dict)
            pairs = zip(a[key].values(), b[key].values(), strict=True) if several else [(a[key], b[key])]
            assert all(torch.equal(x, y) for x, y in pairs), key


def test_mixing_stays_within_a_subject_and_follows_the_labels(study):
    trials = open_trials(study["recordings"], study["sessions"], 0, 0)
    batches = Batches(trials, LossConfig(), 0)
    for step in range(5):
        mixed, plain = batches.share(step, 16, 0, 1, True), batches.share(step, 16, 0, 1, False)
        np.testing.assert_array_equal(mixed.ids, plain.ids)
        assert plain.labels is None
        for number, subject in enumerate(SESSIONS):
            own = slice(8 * number, 8 * number + 8)
            assert mixed.labels[own].sum(1) == pytest.approx(np.ones(8))
            np.testing.assert_allclose(mixed.betas[subject], mixed.labels[own, own] @ plain.betas[subject], atol=1e-4)


@pytest.mark.parametrize("mixing", [True, False])
def test_shares_of_two_processes_make_the_batch_of_one(study, mixing):
    trials = open_trials(study["recordings"], study["sessions"], 0, 0)
    batches = Batches(trials, LossConfig(), 0)
    whole = batches.share(4, 16, 0, 1, mixing)
    shares = [batches.share(4, 16, rank, 2, mixing) for rank in (0, 1)]
    for subject in SESSIONS:
        joined = np.concatenate([share.betas[subject] for share in shares])
        np.testing.assert_array_equal(joined, whole.betas[subject])
    places = np.concatenate([share.places for share in shares])
    assert sorted(places) == list(range(16))
    np.testing.assert_array_equal(np.concatenate([share.ids for share in shares]), whole.ids[places])
    if mixing:
        for share in shares:
            np.testing.assert_array_equal(share.labels, whole.labels[np.ix_(places, places)])


def test_local_negatives_mix_within_a_process(study):
    trials = open_trials(study["recordings"], study["sessions"], 0, 0)
    batches = Batches(trials, LossConfig(negatives="local"), 0)
    for rank in (0, 1):
        mixed, plain = (batches.share(3, 16, rank, 2, mixing) for mixing in (True, False))
        assert mixed.labels.shape == (8, 8)
        for number, subject in enumerate(SESSIONS):
            own = slice(4 * number, 4 * number + 4)
            np.testing.assert_allclose(mixed.betas[subject], mixed.labels[own, own] @ plain.betas[subject], atol=1e-4)


def test_bug_compatible_labels_reach_the_batch(study):
    trials = open_trials(study["recordings"], study["sessions"], 0, 0)
    config = LossConfig.read({"permutation_offsets": False, "fixed_points": "overwritten"})
    strayed = np.zeros((16, 16))
    for step in range(10):
        share, correct = (Batches(trials, c, 0).share(step, 16, 0, 1, True) for c in (config, LossConfig()))
        np.testing.assert_array_equal(share.betas["subj02"], correct.betas["subj02"])
        assert not correct.labels[8:, :8].any()
        strayed += share.labels
    assert strayed[8:, :8].any() and not strayed[:8, 8:].any()


def test_a_batch_that_cannot_be_divided_is_an_error(study):
    with pytest.raises(UserError, match=r"training\.batch: 1 samples .* use a multiple of 2"):
        task(study, batch=1)
    with pytest.raises(UserError, match=r"5 of each of 2 subjects, not a positive multiple of 2 processes; .* of 4"):
        task(study, batch=10).inputs(0, 0, 10, 0, 2, CPU)


# ---- loss terms


def test_loss_terms_are_weighted_and_mixing_ends_after_a_third(study):
    it = task(study, epochs=6)
    plain = task(study | {"losses": {"prior": 1, "contrast": 2, "low_level": 1, "local_contrast": 1}}, epochs=6)
    for epoch, mixing in ((0, True), (1, False)):
        inputs = it.inputs(0, epoch, 8, 0, 1, CPU)
        assert ("labels" in inputs) == mixing
        got, wanted = it.module(inputs), plain.module(inputs)
        for name, ratio in {"prior": 30, "contrast": 0.5, "latents": 0.5, "local": 0.05}.items():
            torch.testing.assert_close(got[name], ratio * wanted[name])
    assert float(it.inputs(0, 0, 8, 0, 1, CPU)["temperature"]) == pytest.approx(0.006)
    assert float(it.inputs(0, 5, 8, 0, 1, CPU)["temperature"]) == pytest.approx(0.0075)


class Processes:
    """Stands in for torch.distributed: functions run as threads, whose gathered tensors meet."""

    def __init__(self, world: int) -> None:
        self.world, self.here = world, threading.local()
        self.barrier, self.slots = threading.Barrier(world, timeout=30), [None] * world

    def rank(self) -> int:
        return self.here.rank

    def gather(self, rows):
        self.slots[self.here.rank] = rows
        self.barrier.wait()
        joined = torch.cat(list(self.slots))
        self.barrier.wait()
        return joined

    def run(self, function) -> list:
        def work(rank):
            self.here.rank = rank
            try:
                with torch.no_grad():
                    return function(rank)
            except Exception:
                self.barrier.abort()
                raise

        with ThreadPoolExecutor(self.world) as pool:
            return list(pool.map(work, range(self.world)))


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("epoch", [0, 3])
def test_the_loss_of_a_global_batch_does_not_depend_on_the_number_of_processes(study, monkeypatch, epoch, every):
    it = task(study | {"losses": {"low_level_every": every}})
    one = it.module(it.inputs(2, epoch, 16, 0, 1, CPU))
    processes = Processes(4)
    monkeypatch.setattr(losses_module, "distributed", processes)
    shares = processes.run(lambda rank: it.module(it.inputs(2, epoch, 16, rank, 4, CPU)))
    for name, value in one.items():
        mean = torch.stack([share[name] for share in shares]).mean()
        torch.testing.assert_close(mean, value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("epoch", [0, 3])
def test_with_local_negatives_it_does(study, monkeypatch, epoch):
    it = task(study | {"losses": {"negatives": "local"}})
    one = it.module(it.inputs(2, epoch, 16, 0, 1, CPU))
    processes = Processes(4)
    monkeypatch.setattr(losses_module, "distributed", processes)
    shares = processes.run(lambda rank: it.module(it.inputs(2, epoch, 16, rank, 4, CPU)))
    assert (torch.stack([share["contrast"] for share in shares]).mean() - one["contrast"]).abs().item() > 0.1


def test_losses_on_every_third_trial_are_on_every_third_of_the_global_batch(study):
    """5 trials of each of 2 subjects: 0, 3, 6 and 9 of the batch."""
    sparse = task(study | {"losses": {"low_level_every": 3}})
    whole, some = (it.inputs(2, 3, 10, 0, 1, CPU) for it in (task(study), sparse))
    rows = torch.tensor([0, 3, 6, 9])
    assert torch.equal(some["low_level_rows"], rows) and "low_level_rows" not in whole
    for name in ("latents", "maps", "augmented_maps"):
        assert torch.equal(some[name], whole[name][rows])
    assert torch.equal(some["kept"]["seed"], whole["kept"]["seed"][rows])
    assert len(some["tokens"]) == len(some["noise"]) == len(some["kept"]["sequence0"]) == 10


def test_a_loss_on_more_trials_in_one_process_than_in_another_is_refused(study, monkeypatch):
    trials = open_trials(study["recordings"], study["sessions"], 0, 0)
    batches = Batches(trials, LossConfig(low_level_every=4), 0)
    for batch, world in ((16, 1), (16, 2), (32, 4)):
        batches.check_low_level_every(batch, world)
    message = (
        r"losses\.low_level_every = 4 chooses 0 to 2 trials of a batch in each of 4 processes; choose a divisor of 2,"
    )
    with pytest.raises(UserError, match=message):
        batches.check_low_level_every(16, 4)
    monkeypatch.setattr(task_module.distributed, "world", lambda: 4)
    with pytest.raises(UserError, match=message):
        task(study | {"losses": {"low_level_every": 4}}, batch=16)
    task(study | {"losses": {"low_level_every": 4}, "model": MODEL | {"low_level": None}}, batch=16)


def test_dropout_is_of_the_sample_and_not_of_the_process(study):
    it = task(study | {"model": MODEL | {"backbone": "residual_mlp", "dropout": 0.5}}, batch=16)
    whole, later = (it.inputs(step, 3, 16, 0, 1, CPU)["kept"] for step in (2, 3))
    assert {name: kept.shape for name, kept in whole.items()} == {"wide0": (16, 16), "seed": (16, 32 * 4)}
    assert 0.35 < whole["wide0"].float().mean() < 0.65 and 0.6 < whole["seed"].float().mean() < 0.8
    assert not torch.equal(whole["wide0"], later["wide0"])
    places = [[number * 8 + rank * 4 + i for number in (0, 1) for i in range(4)] for rank in (0, 1)]
    for rank in (0, 1):
        for name, kept in it.inputs(2, 3, 16, rank, 2, CPU)["kept"].items():
            assert torch.equal(kept, whole[name][places[rank]])
    block = it.module.model.backbone.blocks.wide[0]
    x = torch.randn(16, 16)
    norm, widen, gelu, _, out = block
    wanted = out(gelu(widen(norm(x))) * whole["wide0"] / 0.5)
    torch.testing.assert_close(block.train()(x, whole), wanted)
    torch.testing.assert_close(block.eval()(x, None), out(gelu(widen(norm(x)))))


def test_two_processes_train_as_one(study, tmp_path):
    """With all that is random: mixtures, the diffusion's numbers, views, dropout."""

    def config(backbone):
        settings = single(study, sessions={"subj01": 1}, model=MODEL | {"backbone": backbone, "dropout": 0.5})
        return {
            "task": "fmri2img.methods.mindeye2.task:MindEye2Task",
            "settings": settings | {"losses": {"mixup_share": 0.5}},
            "training": {"epochs": 2, "batch": 8, "learning_rate": 1e-3, "precision": "fp32", "log_every": 5},
        }

    backbones = ("as_released", "residual_mlp")
    run_pairs(tmp_path, [(f"two_{backbone}", config(backbone)) for backbone in backbones])
    for backbone in backbones:
        train(config(backbone), tmp_path / f"one_{backbone}", tmp_path / "work")
        one, two = table(tmp_path / f"one_{backbone}"), table(tmp_path / f"two_{backbone}")
        np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-3)
        np.testing.assert_allclose(two["gradient_norm"], one["gradient_norm"], rtol=1e-2)
        assert list(two["validation_retrieval_image"].dropna()) == list(one["validation_retrieval_image"].dropna())


def test_dropout_is_the_same_compiled_and_with_recomputed_activations(study):
    settings = study | {"model": MODEL | {"backbone": "residual_mlp", "dropout": 0.5}}
    gradients = []
    for recomputed in (False, True):
        it = task(settings, activation_checkpointing=recomputed)
        inputs = it.inputs(2, 3, 8, 0, 1, CPU)
        sum(it.module(inputs).values()).backward()
        gradients.append({name: p.grad for name, p in it.module.named_parameters() if p.grad is not None})
    torch.testing.assert_close(*gradients)
    backbone, x = it.module.model.backbone, torch.randn(8, 16)
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, inputs["kept"]), backbone(x, inputs["kept"]))


# ---- starting points, groups, validation, saving


def test_sources_tell_what_was_made_anew_at_the_same_path(study, tmp_path):
    """Of a recording, tokens, a view and the initial network, each replaced by another one with equal metadata."""
    task(single(study, "subj02"), seed=1).save(tmp_path / "initial", {"seconds": 1})
    for name in ("subj01", "tokens", "view1"):
        unrecorded(shutil.copytree(Path(study["recordings"]["subj01"]).parent / name, tmp_path / name))
    views = [study["local_features"][0], str(tmp_path / "view1"), study["local_features"][2]]
    settings = single(study, initial=str(tmp_path / "initial"), embeddings=str(tmp_path / "tokens")) | {
        "recordings": {"subj01": str(tmp_path / "subj01")}, "local_features": views,
    }  # fmt: skip
    before = task(settings).sources()
    assert set(before) == {
        "recordings.subj01", "embeddings", "latents", "local_features.0", "local_features.1", "local_features.2",
        "initial",
    }  # fmt: skip
    assert task(settings).sources() == before
    for path in ("subj01/betas.npy", "tokens/tokens.npy", "view1/tokens.npy"):
        array = np.load(tmp_path / path)
        np.save(tmp_path / path, array + array.dtype.type(0.01))
    (unrecorded(tmp_path / "initial") / "config.json").write_text(
        (tmp_path / "initial/config.json").read_text().replace('"seconds": 1', '"seconds": 2')
    )
    after = task(settings).sources()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"recordings.subj01", "embeddings", "local_features.1", "initial"}
    trials = pd.read_parquet(tmp_path / "subj01/trials.parquet")
    trials.loc[trials.index[trials["part"] == "train"][0], "image_id"] += 2
    trials.to_parquet(tmp_path / "subj01/trials.parquet")
    assert task(settings).sources()["recordings.subj01"] != after["recordings.subj01"]


def test_fine_tuning_starts_from_everything_but_the_adapters(study, tmp_path):
    pretrained = task(single(study, "subj02"), seed=1)
    with torch.no_grad():
        pretrained.module.model.adapters["subj02"].bias.fill_(7)
    pretrained.save(tmp_path / "pretrained", {"steps": 0})
    settings = single(study, sessions={"subj01": 1}, initial=str(tmp_path / "pretrained"))
    it, fresh = task(settings, seed=2), task(settings | {"initial": None}, seed=2)
    source, start = pretrained.module.model.state_dict(), it.module.model.state_dict()
    for name, tensor in start.items():
        origin = fresh.module.model.state_dict() if name.startswith("adapters.") else source
        assert torch.equal(tensor, origin[name]), name
    inherited = task(settings | {"inherit_adapter_bias": True}, seed=2).module.model.adapters["subj01"]
    assert (inherited.bias == 7).all()
    assert torch.equal(inherited.weight, start["adapters.subj01.weight"])

    it.save(tmp_path / "tuned", {"steps": 0})
    model, metadata = load_model(tmp_path / "tuned")
    assert list(model.voxels) == ["subj01"] and metadata["training_subjects"] == ["subj01", "subj02"]
    assert metadata["subjects"] == ["subj01"] and metadata["sessions"] == {"subj01": 1}
    assert metadata["initial"]["subjects"] == ["subj02"]
    trained = open_trials(settings["recordings"], settings["sessions"], 0.2, 2)[0]
    assert metadata["trials"] == len(trained.rows)
    assert metadata["images"] == len(set(trained.ids(trained.rows)))
    json.dumps(metadata)


def test_an_adapter_that_starts_at_zero_learns_nothing_outside_its_trials(study):
    """Weights in directions in which no training trial varies stay as they start: 0, as in ridge, or random."""
    for start, remains in (("zeros", False), ("random", True)):
        it = task(single(study, adapter_start=start), seed=2)
        model = it.module.model.eval()
        adapter, trials = model.adapters["subj01"], it._trials[0]
        betas = torch.from_numpy(trials.betas(trials.rows)[:4])
        outside = torch.linalg.svd(betas)[2][4:]  # of voxel space, (directions, voxels)
        optimiser = torch.optim.SGD(adapter.parameters(), lr=0.1)
        for _ in range(3):
            optimiser.zero_grad()
            model({"subj01": betas}).projected.square().mean().backward()
            optimiser.step()
        assert adapter.weight.abs().max() > 0
        assert ((adapter.weight @ outside.T).abs().max() > 1e-5) == remains
    with pytest.raises(UserError, match=r"settings\.adapter_start: 'ones'; use random or zeros"):
        task(single(study, adapter_start="ones"))


def test_a_start_of_another_size_is_named(study, tmp_path):
    task(single(study, "subj02")).save(tmp_path / "pretrained", {})
    settings = single(study, initial=str(tmp_path / "pretrained"), model=MODEL | {"hidden": 32})
    with pytest.raises(UserError, match=r"its hidden is 16, but settings\.model\.hidden is 32"):
        task(settings)


def test_a_start_that_has_seen_the_subject_is_refused(study, tmp_path):
    task(single(study, "subj02")).save(tmp_path / "pretrained", {})
    with pytest.raises(UserError, match="was already trained on subj02; start from a network"):
        task(single(study, "subj02", initial=str(tmp_path / "pretrained")))


def test_weight_decay_spares_biases_but_not_those_of_adapters_nor_norms(study):
    model = (it := task(study)).module.model
    decayed, spared = it.parameter_groups(0.01)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)
    names = {id(p): name for name, p in model.named_parameters()}
    kept = {names[id(p)] for p in spared["params"]}
    assert {names[id(p)] for p in decayed["params"]} | kept == {
        n for n, p in model.named_parameters() if p.requires_grad
    }
    assert "prior.relative_position_bias.weight" in kept
    assert "backbone.to_tokens.bias" in kept and "low_level.norm.bias" in kept
    assert not any(name.startswith("adapters.") for name in kept)
    for name in ("backbone.blocks.wide.0.0.weight", "low_level.norm.weight", "prior.norm.gain", "prior.null_brain"):
        assert name in names.values() and name not in kept


def test_validation_is_perfect_for_a_network_that_returns_the_tokens(study):
    it = task(study)
    tokens = torch.from_numpy(np.load(f"{study['embeddings']}/tokens.npy")).float()

    class Oracle(torch.nn.Module):
        def model(self, betas):
            ((subject, values),) = betas.items()
            image_id = Recording.open(study["recordings"][subject]).trials["image_id"].to_numpy()
            rows = image_id[marked(values)] // 2
            return type("Encoded", (), {"projected": tokens[rows]})

    found = it.validate(Oracle(), CPU)
    assert found["retrieval_image"] == found["retrieval_brain"] == 1.0
    untrained = it.validate(it.module.eval(), CPU)
    assert untrained["retrieval_image"] < 0.7 and 0 < untrained["chance"] < 0.25
    assert task(study | {"validation_share": 0}).validate(it.module, CPU) == {}


def test_training_learns_to_retrieve_held_out_images(study, tmp_path):
    config = {
        "task": "fmri2img.methods.mindeye2.task:MindEye2Task",
        "settings": study
        | {"model": MODEL | {"hidden": 32, "low_level": None}, "latents": None, "local_features": None},
        "training": {"epochs": 40, "batch": 20, "learning_rate": 3e-3, "precision": "fp32", "log_every": 100},
    }
    train(config, tmp_path / "out", tmp_path / "work")
    log = table(tmp_path / "out")
    assert log["loss_prior"].iloc[-6:].mean() < 0.9 * log["loss_prior"].iloc[:6].mean()
    assert log["validation_retrieval_image"].iloc[-1] > 2 * log["validation_chance"].iloc[-1]


# ---- settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedings": "x"}, r"unknown key 'settings\.embedings'"),
        ({"recordings": {}}, r"key 'settings\.recordings' is missing or empty"),
        ({"sessions": {"subj01": 1}}, r"key 'settings\.sessions\.subj02' is missing"),
        ({"validation_share": 1}, r"settings\.validation_share: 1 is not a share"),
        ({"local_features": None}, r"'settings\.latents' and 'settings\.local_features' go together"),
        ({"inherit_adapter_bias": True}, r"inherit_adapter_bias: true needs settings\.initial"),
        ({"model": MODEL | {"tokens": 5}}, r"settings\.model\.tokens: 5 does not fit the targets, which have 4"),
        (
            {"model": MODEL | {"low_level": MODEL["low_level"] | {"channels": [32]}}},
            r"its grid has 16 places, the teacher's map has 4",
        ),
        ({"losses": {"negatives": "none"}}, r"settings\.losses\.negatives': 'none'"),
    ],
)
def test_bad_settings_are_named(study, change, message):
    with pytest.raises(UserError, match=message):
        task(study | change)


def test_images_without_targets_are_named(study, tmp_path):
    tokens = np.load(f"{study['embeddings']}/tokens.npy")
    save_embeddings(tmp_path / "few", np.arange(IMAGES - 1) * 2, tokens[:-1], {"encoder": "tiny", "revision": "r1"})
    with pytest.raises(UserError, match=rf"few: lacks image_id {2 * (IMAGES - 1)}"):
        task(study | {"embeddings": str(tmp_path / "few")})


def test_recordings_of_different_splits_are_refused(study, tmp_path):
    source = Recording.open(study["recordings"]["subj02"])
    with Recording.writer(tmp_path / "other") as writer:
        writer.betas(*source.betas.shape)[:] = source.betas
        writer.finish(source.trials, source.voxels, source.metadata | {"split_sha256": "cd"})
    with pytest.raises(UserError, match="other: its test images are not those of"):
        task(study | {"recordings": study["recordings"] | {"subj02": str(tmp_path / "other")}})


def test_every_known_defect_is_off_by_default():
    defaults = LossConfig().to_dict() | {"schedule_stepping": TrainingConfig(epochs=1, batch=1).schedule_stepping}
    switches = {defect.key.split(".")[-1]: defect for defect in KNOWN_DEFECTS}
    assert {"permutation_offsets", "fixed_points", "schedule_stepping", "encoder", "inherit_adapter_bias",
            "normalise"} <= set(switches)  # fmt: skip
    for key, defect in switches.items():
        assert defect.released != defect.correct
        if key in defaults:
            assert defaults[key] == defect.correct
