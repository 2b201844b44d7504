"""The training engine: schedules, samples, one process against two, resuming, what is recorded, what is refused."""

import contextlib
import errno
import json
import math
import re
import shutil
import threading
import time
import warnings

import numpy as np
import pytest
import torch
import training_tasks
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.distributed.run import get_args_parser
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter
from training_launch import REPOSITORY, run_pairs, table, toy, weights

from fmri2img.errors import UserError
from fmri2img.training import checkpoint, sampler
from fmri2img.training.backends import Plain
from fmri2img.training.configuration import TrainingConfig
from fmri2img.training.loop import Interrupted, train
from fmri2img.training.schedules import schedule
from fmri2img.training.sources import fingerprint
from fmri2img.training.task import task_class


def torch_one_cycle(epochs, per_epoch, pace=1):
    """(learning rate, beta1) of every step with torch's OneCycleLR, advanced `pace` steps a step while it lasts."""
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    total = epochs * per_epoch
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 3e-4, total_steps=total, pct_start=2 / epochs, final_div_factor=1000
    )
    values = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(total):
            values.append((optimiser.param_groups[0]["lr"], optimiser.param_groups[0]["betas"][0]))
            for _ in range(pace):
                if scheduler._step_count <= total:
                    scheduler.step()
    return values


def rates(world=1, per_epoch=31, **settings):
    config = TrainingConfig.read({"batch": 8, **settings})
    at = schedule(config, per_epoch, world)
    return [at(step) for step in range(config.epochs * per_epoch)]


def test_one_cycle_is_that_of_torch():
    assert rates(epochs=150) == torch_one_cycle(150, 31)
    assert rates(epochs=150)[0] == pytest.approx((1.2e-5, 0.95)) and rates(epochs=150)[-1] == pytest.approx(
        (1.2e-8, 0.95)
    )


def test_the_schedule_does_not_depend_on_the_number_of_processes_unless_asked():
    assert rates(epochs=150, world=8) == rates(epochs=150)
    released = rates(epochs=150, per_epoch=59, world=8, schedule_stepping="per_process")
    assert released == torch_one_cycle(150, 59, pace=8)
    assert next(i for i, (rate, _) in enumerate(released) if rate < 1e-7) / 59 == pytest.approx(18.6, abs=0.05)


@pytest.mark.parametrize("epochs", [1, 2])
def test_trainings_no_longer_than_the_warm_up_warm_up_for_half_of_it(epochs):
    values = [rate for rate, _ in rates(epochs=epochs)]
    assert all(map(math.isfinite, values)) and values[-1] == pytest.approx(1.2e-8)
    assert np.argmax(values) == pytest.approx(len(values) / 2, abs=1)


def test_linear_and_constant_schedules():
    linear = [rate for rate, _ in rates(epochs=4, warmup_epochs=1, schedule="linear", linear_end=0.1)]
    assert linear[30] == pytest.approx(3e-4) and linear[-1] == pytest.approx(3e-5) and max(linear) == linear[30]
    np.testing.assert_allclose(np.diff(linear[31:]), np.diff(linear[31:])[0])
    constant = [rate for rate, _ in rates(epochs=4, warmup_epochs=0, schedule="constant")]
    assert set(constant) == {3e-4}


def test_the_cosine_schedule_warms_up_and_ends_at_a_fiftieth():
    cosine = [rate for rate, _ in rates(epochs=100, per_epoch=1, warmup_epochs=4, schedule="cosine")]
    assert cosine[0] < cosine[1] < cosine[2] < max(cosine) <= 3e-4
    assert cosine[50] == pytest.approx(3e-4 * (0.02 + 0.98 / 2))
    assert cosine[-1] == pytest.approx(3e-4 * 0.02, rel=0.02) and sorted(cosine[4:], reverse=True) == cosine[4:]


def test_streams_use_every_row_once_per_pass_and_have_no_state():
    streams = sampler.Streams([7, 5], seed=3)
    rows = streams.rows(0, 0, 21)
    assert all(sorted(rows[start : start + 7]) == list(range(7)) for start in (0, 7, 14))
    assert not np.array_equal(rows[:7], rows[7:14])
    np.testing.assert_array_equal(sampler.Streams([7, 5], seed=3).rows(0, 4, 9), rows[4:13])
    assert not np.array_equal(sampler.Streams([7, 5], seed=4).rows(0, 0, 7), rows[:7])
    assert len(set(streams.rows(1, 0, 5))) == 5


def test_seeds_differ_in_every_key_and_in_their_number():
    keys = [(1, 2), (2, 1), (1, 2, 0), (1, 2, 1), (1,)]
    assert len({sampler.seed_of(*k) for k in keys}) == len(keys)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A training with dropout that nothing interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed")
    train(toy(dropout=0.3), folder / "out", folder / "work")
    return folder


def test_the_output_holds_weights_record_log_and_events(undisturbed):
    out = undisturbed / "out"
    record = json.loads((out / "training.json").read_text())
    assert record["steps"] == 20 and record["processes"] == 1 and record["versions"]["torch"]
    assert record["validation"]["mean_weight"] == table(out)["validation_mean_weight"].iloc[-1]
    assert list((out / "tensorboard").glob("events*"))
    assert not (undisturbed / "work").exists()
    log = table(out)
    assert list(log["step"]) == list(range(20)) and list(log["epoch"]) == sorted(list(range(4)) * 5)
    np.testing.assert_allclose(log["loss"], log["loss_mse"] + log["loss_size"], rtol=1e-6)
    config = TrainingConfig.read(toy()["training"])
    assert list(log["learning_rate"]) == [schedule(config, 5, 1)(step)[0] for step in range(20)]
    assert log["loss"].iloc[-5:].mean() < log["loss"].iloc[:5].mean()


def test_an_epoch_may_have_fewer_steps_than_a_pass(tmp_path):
    """A limit above a pass changes nothing; below it, epochs end sooner and samples go on where they ended."""
    epochs = {}
    for limit in (3, 50):
        settings = toy()
        settings["training"] |= {"epoch_steps": limit}
        train(settings, tmp_path / f"out{limit}", tmp_path / f"work{limit}")
        epochs[limit] = list(table(tmp_path / f"out{limit}")["epoch"])
    assert epochs[3] == sorted(list(range(4)) * 3) and epochs[50] == sorted(list(range(4)) * 5)


@pytest.mark.parametrize("where", ["save_model", "save_file", "rename", "_remove"])
def test_a_crash_inside_a_checkpoint_loses_nothing(where, undisturbed, tmp_path, monkeypatch):
    """The third checkpoint is cut short at each of its stages; the resumed run ends with the same weights."""

    def crash_at(function, count):
        calls = []

        def wrapped(*args, **kwargs):
            calls.append(1)
            if len(calls) == count:
                raise KeyboardInterrupt
            return function(*args, **kwargs)

        return wrapped

    config = toy(dropout=0.3, checkpoint_steps=3)
    with monkeypatch.context() as patch:
        if where == "rename":
            patch.setattr(checkpoint.os, "rename", crash_at(checkpoint.os.rename, 3))
        else:
            patch.setattr(checkpoint, where, crash_at(getattr(checkpoint, where), 3))
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "out", tmp_path / "work")
    assert checkpoint.newest(tmp_path / "work").name in ("step-00000006", "step-00000009")
    train(config, tmp_path / "out", tmp_path / "work")
    assert weights(tmp_path / "out") == weights(undisturbed / "out")
    log = table(tmp_path / "out")
    assert list(log["step"]) == list(range(20))
    np.testing.assert_array_equal(log["loss"], table(undisturbed / "out")["loss"])


@pytest.mark.parametrize("left", [0, 1], ids=["at_the_end", "of_an_older_checkpoint"])
def test_a_kill_inside_the_removal_of_a_checkpoint_leaves_none_that_looks_complete(
    left, undisturbed, tmp_path, monkeypatch
):
    """Removal stops after the first file; what remains is not gone on from."""
    config, work = toy(dropout=0.3, checkpoint_steps=9), tmp_path / "work"

    def killed(path, ignore_errors=False):
        path = checkpoint.Path(path)
        whole = (path / "state.json").exists()
        if whole and len(list(work.glob("step-*"))) == 1 + left:
            (path / "model.safetensors").unlink()
            raise KeyboardInterrupt
        rmtree(path, ignore_errors=ignore_errors)

    rmtree = checkpoint.shutil.rmtree
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "out", work)
    gutted = [path for path in work.glob("step-*") if not (path / "model.safetensors").exists()]
    assert len(gutted) == 1
    found = checkpoint.newest(work)
    assert found is None if not left else found.name == "step-00000018"
    rmtree(tmp_path / "out", ignore_errors=True)
    train(config, tmp_path / "out", work)
    assert weights(tmp_path / "out") == weights(undisturbed / "out") and not work.exists()


def test_sigterm_writes_a_checkpoint_and_the_run_goes_on(undisturbed, tmp_path):
    config = toy(dropout=0.3, signal_at=7)
    stops = 0
    while not (tmp_path / "out").exists():
        try:
            train(config, tmp_path / "out", tmp_path / "work")
        except Interrupted as stop:
            stops += 1
            assert f"step {int(checkpoint.newest(tmp_path / 'work').name[-8:])} " in str(stop)
            assert stops < 4  # the same batch is made again, and sends its signal again, until its step is done
    assert stops >= 1
    assert weights(tmp_path / "out") == weights(undisturbed / "out")


FILES = ("state.json", "model.safetensors", "optimiser.safetensors", "average.safetensors", "log.parquet")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A work folder with a checkpoint."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(Interrupted):
        train(toy(signal_at=7, ema=0.9), folder / "out", folder / "work")
    return folder / "work"


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "overwritten"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_named_with_the_remedy(name, damage, stopped, tmp_path):
    work = shutil.copytree(stopped, tmp_path / "work")
    file = checkpoint.newest(work) / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "cut": content[:-9], "overwritten": b"<html>" * 99}[damage])
    with pytest.raises(
        UserError, match=rf"{file.parent}: the checkpoint cannot be read \(.*\); delete {work} to start"
    ):
        train(toy(signal_at=7, ema=0.9), tmp_path / "out", work)


def test_checkpoints_are_written_while_the_training_goes_on_and_hold_what_was_at_their_step(
    undisturbed, tmp_path, monkeypatch
):
    """The first one is on its way to the disk until step 9 is made; a training that resumes from it ends as usual."""
    later, waited = threading.Event(), []

    def slow(tensors, folder):
        waited.append(later.wait(20))
        save(tensors, folder)

    def inputs(task, step, *others):
        if step == 9:
            later.set()
        return make(task, step, *others)

    def kept(work, step):
        path = publish(work, step)
        shutil.copytree(path, tmp_path / "again" / path.name, dirs_exist_ok=True)

    save, make, publish = checkpoint.Tensors.save, training_tasks.Toy.inputs, checkpoint.publish
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Tensors, "save", slow)
        patch.setattr(training_tasks.Toy, "inputs", inputs)
        patch.setattr(checkpoint, "publish", kept)
        train(toy(dropout=0.3, checkpoint_steps=6), tmp_path / "out", tmp_path / "work")
    assert waited[0] and weights(tmp_path / "out") == weights(undisturbed / "out")
    for step in (12, 18):
        shutil.rmtree(tmp_path / f"again/step-{step:08d}")
    train(toy(dropout=0.3), tmp_path / "resumed", tmp_path / "again")
    assert weights(tmp_path / "resumed") == weights(undisturbed / "out")


def test_checkpoints_that_take_long_are_rare(tmp_path, monkeypatch):
    """They are due all the time, but each takes longer than a fiftieth of the training."""
    made = []

    def slow(work, step):
        made.append(step)
        time.sleep(0.05)
        return publish(work, step)

    publish = checkpoint.publish
    monkeypatch.setattr(checkpoint, "publish", slow)
    train(toy(pause=0.02, checkpoint_minutes=1e-9), tmp_path / "out", tmp_path / "work")
    assert len(made) == 1


@pytest.mark.parametrize("nan_at", [None, 7])
def test_events_that_cannot_be_written_neither_end_a_training_nor_hide_why_it_ended(nan_at, tmp_path, monkeypatch):
    def broken(*args, **options):
        raise OSError("the thread that writes has died")

    for name in ("add_scalar", "flush", "close"):
        monkeypatch.setattr(SummaryWriter, name, broken)
    config = toy(log_every=1) if nan_at is None else toy(log_every=1, nan_at=nan_at)
    expected = contextlib.nullcontext() if nan_at is None else pytest.raises(UserError, match=r"step 7: .* nan")
    with expected:
        train(config, tmp_path / "out", tmp_path / "work")
    assert len(table(tmp_path / ("work" if nan_at else "out"))) == (nan_at or 20)


def test_nan_stops_with_step_and_term_named_and_the_checkpoint_stays(tmp_path):
    with pytest.raises(UserError, match=r"step 7: loss term 'mse' is nan.*step-00000006"):
        train(toy(nan_at=7, checkpoint_steps=3), tmp_path / "out", tmp_path / "work")
    assert checkpoint.newest(tmp_path / "work").name == "step-00000006"
    assert not (tmp_path / "out").exists()
    log = table(tmp_path / "work")
    assert list(log["step"]) == list(range(7)) and np.isfinite(log["loss"]).all()


def test_an_infinite_gradient_stops_before_it_reaches_the_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "get_total_norm", lambda gradients: torch.tensor(math.inf))
    with pytest.raises(UserError, match=r"step 0: the norm of the gradient is inf.*no checkpoint"):
        train(toy(), tmp_path / "out", tmp_path / "work")


def test_the_training_ends_with_the_moving_average_of_its_weights(tmp_path, monkeypatch):
    """As torch's AveragedModel computes it."""
    averaged, step = [], Plain.step

    def recorded(self, norm):
        norm = step(self, norm)
        if not averaged:
            averaged.append(AveragedModel(self._module, multi_avg_fn=get_ema_multi_avg_fn(0.8)))
        averaged[0].update_parameters(self._module)
        return norm

    with monkeypatch.context() as patch:
        patch.setattr(Plain, "step", recorded)
        train(toy(ema=0.8), tmp_path / "out", tmp_path / "work")
    wanted = averaged[0].module.state_dict()
    for name, tensor in load_file(tmp_path / "out" / "model.safetensors").items():
        assert torch.equal(tensor, wanted[name]), name


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), SafetensorError("I/O error: (os error 28)")])
def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(error, tmp_path, monkeypatch):
    saved = []

    def full(*args):
        saved.append(1)
        if len(saved) == 2:
            raise error
        return save_file(*args)

    save_file = checkpoint.save_file
    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match="the disk is full"):
        train(toy(checkpoint_steps=3), tmp_path / "out", tmp_path / "work")
    assert checkpoint.newest(tmp_path / "work").name == "step-00000003"


def test_a_checkpoint_of_another_configuration_is_refused_by_key(tmp_path):
    with pytest.raises(UserError, match="nan"):
        train(toy(nan_at=7, checkpoint_steps=3), tmp_path / "out", tmp_path / "work")
    with pytest.raises(UserError, match=r"another configuration \(training.learning_rate changed\)"):
        train(toy(nan_at=7, learning_rate=1e-3), tmp_path / "out", tmp_path / "work")
    with pytest.raises(UserError, match="step 7"):  # how often to save or print is free to change
        train(toy(nan_at=7, checkpoint_steps=5, log_every=1), tmp_path / "out", tmp_path / "work")


def test_a_checkpoint_made_from_other_artifacts_is_refused_by_name(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="nan"):
        train(toy(nan_at=7, checkpoint_steps=3), tmp_path / "out", tmp_path / "work")
    with monkeypatch.context() as patch:
        patch.setattr(training_tasks.Toy, "sources", lambda task: {"rows": "another"})
        with pytest.raises(UserError, match=r"another configuration \(sources.rows changed\); .*delete the folder"):
            train(toy(nan_at=7, checkpoint_steps=3), tmp_path / "out", tmp_path / "work")
    with pytest.raises(UserError, match=r"step 7: .*step-00000006"):
        train(toy(nan_at=7, checkpoint_steps=3), tmp_path / "out", tmp_path / "work")


def test_fingerprints_tell_metadata_shapes_and_rows_apart():
    rng, metadata = np.random.default_rng(0), {"split": "a", "made": 1}
    array = rng.normal(size=(1000, 5)).astype(np.float32)
    others = [array + 1e-6, array[:-1], array.astype(np.float64), array[::-1]]
    found = [fingerprint(metadata, array), fingerprint({}, array), fingerprint(metadata, array, array[:1])]
    found += [fingerprint(metadata, other) for other in others]
    assert len(set(found)) == len(found)
    assert fingerprint({"made": 1, "split": "a"}, array.copy()) == found[0]


def test_gradient_norm_is_that_before_clipping_and_clipping_bounds_the_step(tmp_path, monkeypatch):
    seen = []
    step = torch.optim.AdamW.step

    def spy(optimiser, *args):
        gradients = [p.grad for group in optimiser.param_groups for p in group["params"]]
        seen.append(float(torch.nn.utils.get_total_norm(gradients)))
        return step(optimiser, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    train(toy(clip=0.5, schedule="linear", validate_every_epochs=2), tmp_path / "out", tmp_path / "work")
    norms = table(tmp_path / "out")["gradient_norm"].to_numpy()
    assert (norms > 0.5).any()
    np.testing.assert_allclose(seen, np.minimum(norms, 0.5), rtol=1e-4)


def test_accumulated_batches_follow_the_gradient_of_the_whole(tmp_path):
    train(toy(noise=0.0), tmp_path / "whole", tmp_path / "work")
    train(toy(noise=0.0, accumulation=4), tmp_path / "quarters", tmp_path / "work")
    whole, quarters = table(tmp_path / "whole"), table(tmp_path / "quarters")
    for column in ("loss", "gradient_norm", "learning_rate"):
        np.testing.assert_allclose(quarters[column], whole[column], rtol=1e-4)


PAIRS = {
    "mean_of_samples": toy("regression", dropout=0.3),
    "accumulated": toy("regression", dropout=0.3, accumulation=2),
    "same_loss_everywhere": toy("shared"),
    "own_rows_against_all": toy("own"),
    "bf16": toy("own", precision="bf16"),
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Trainings in two processes."""
    folder = tmp_path_factory.mktemp("pairs")
    run_pairs(folder, list(PAIRS.items()))
    return folder


@pytest.mark.parametrize("name", PAIRS)
def test_two_processes_follow_the_loss_curve_of_one(name, pairs, tmp_path):
    train(PAIRS[name], tmp_path / "out", tmp_path / "work")
    one, two = table(tmp_path / "out"), table(pairs / name)
    tolerance = 2e-2 if name == "bf16" else 2e-5
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=tolerance)
    np.testing.assert_allclose(two["gradient_norm"], one["gradient_norm"], rtol=10 * tolerance)
    np.testing.assert_array_equal(two["learning_rate"], one["learning_rate"])
    assert json.loads((pairs / name / "training.json").read_text())["processes"] == 2


def test_dropout_that_draws_for_itself_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(training_tasks, "Dropout", lambda name, chance, units: torch.nn.Dropout(chance))
    with pytest.raises(ValueError, match=r"dropout: is a Dropout of torch; use fmri2img\.training\.dropout"):
        train(toy(dropout=0.3), tmp_path / "out", tmp_path / "work")


def test_torchrun_takes_no_option_of_the_training_for_its_own():
    """It also reads what follows the script, and accepts shortened options."""
    ours = re.findall(r'"(--[a-z-]+)"', (REPOSITORY / "scripts/train.py").read_text())
    theirs = [option for action in get_args_parser()._actions for option in action.option_strings]
    assert len(ours) > 4 and not [option for option in ours for other in theirs if other.startswith(option)]


def test_a_batch_that_the_processes_cannot_divide_is_refused():
    config = TrainingConfig.read(toy(batch=6, accumulation=2)["training"])
    config.check_processes(3)
    with pytest.raises(UserError, match=r"key 'training\.batch': 6 is not a multiple .*2 x 2"):
        config.check_processes(2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lerning_rate": 1}, "key 'training.lerning_rate': unknown; did you mean 'learning_rate'"),
        ({"batch": None}, "key 'training.batch': null is not a whole number"),
        ({"precision": "fp8"}, "key 'training.precision': 'fp8' is not one of bf16, fp32, fp16"),
        ({"epochs": 0}, "key 'training.epochs': 0 is out of range; it must be at least 1"),
        ({"clip": -1}, "key 'training.clip': -1 is out of range; it must be at least 0"),
        ({"compile": 1}, "key 'training.compile': 1 is not true or false"),
        ({"accumulation": 3}, "key 'training.batch': 8 is not a multiple of accumulation .3."),
    ],
)
def test_bad_configurations_are_named(change, message):
    with pytest.raises(UserError, match=message):
        TrainingConfig.read(toy()["training"] | change, "training configuration", "training")


def test_missing_things_are_named(tmp_path, monkeypatch):
    for name in ("training_tasks", "no_such_module:Toy", "training_tasks:NoTask"):
        with pytest.raises(UserError, match=name.split(":")[-1] if "NoTask" in name else name.split(":")[0]):
            task_class(name)
    with pytest.raises(UserError, match="key 'settings' is missing"):
        train({"task": "training_tasks:Toy", "training": {}}, tmp_path / "out", tmp_path / "work")
    with pytest.raises(UserError, match="bitsandbytes"):
        train(toy(optimiser="adamw8bit"), tmp_path / "out", tmp_path / "work")
    with pytest.raises(UserError, match="fp16"):
        train(toy(precision="fp16"), tmp_path / "out", tmp_path / "work")
    with pytest.raises(UserError, match="needs torchrun"):
        train(toy(deepspeed="config/deepspeed/zero2_offload.json"), tmp_path / "out", tmp_path / "work")
