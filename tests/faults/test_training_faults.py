"""Training that is killed, terminated or broken, in real processes; and DeepSpeed in two of them."""

import json
import random
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from training_launch import TORCHRUN, run_pairs, start, table, toy, weights

from fmri2img.errors import UserError
from fmri2img.training import checkpoint, claim
from fmri2img.training.loop import train

OFFLOAD = {"deepspeed": "config/deepspeed/zero2_offload.json"}


def test_killed_at_random_moments_it_ends_with_the_weights_of_an_undisturbed_run(tmp_path):
    config = toy(dropout=0.3, pause=0.05, checkpoint_steps=1)
    train(config, tmp_path / "undisturbed", tmp_path / "undisturbed_work")
    moments = random.Random(5)
    resumed = []
    for goal in (4, 11):
        process = start(tmp_path, config)
        while process.poll() is None:  # a checkpoint a step: the kill falls in one as often as between two
            found = checkpoint.newest(tmp_path / "work")
            if found is not None and int(found.name[-8:]) >= goal:
                break
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.2))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        resumed.append(int(checkpoint.newest(tmp_path / "work").name[-8:]))
        assert not (tmp_path / "out").exists()
    process = start(tmp_path, config)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    assert f"training from step {resumed[-1]} of 20" in out
    assert weights(tmp_path / "out") == weights(tmp_path / "undisturbed")
    log, undisturbed = table(tmp_path / "out"), table(tmp_path / "undisturbed")
    assert list(log["step"]) == list(range(20))
    np.testing.assert_array_equal(log["loss"], undisturbed["loss"])


def test_sigterm_ends_with_status_143_and_a_checkpoint(tmp_path):
    process = start(tmp_path, toy(pause=0.1))
    while not list((tmp_path / "work").glob("tensorboard/*")) and process.poll() is None:
        time.sleep(0.05)
    process.terminate()
    out, _ = process.communicate()
    assert process.returncode == 143, out
    step = int(checkpoint.newest(tmp_path / "work").name[-8:])
    assert f"stopped by SIGTERM after step {step} of 20" in out and "Traceback" not in out


def test_two_trainers_of_one_folder_make_one_network(tmp_path):
    """The second one waits, also while the first one stands still, finds what it made and leaves it alone."""
    first = start(tmp_path, toy(pause=0.1))
    while not (tmp_path / "work" / claim.FILE).exists():
        time.sleep(0.05)
    first.send_signal(signal.SIGSTOP)
    second = start(tmp_path, toy(pause=0.1))
    assert f"process {first.pid}), which trains in work" in second.stdout.readline()
    first.send_signal(signal.SIGCONT)
    out, _ = first.communicate()
    assert first.returncode == 0, out
    made = (tmp_path / "out/training.json").stat().st_ino
    out, _ = second.communicate()
    assert second.returncode == 0 and out.startswith("out has been made by another trainer"), out
    assert (tmp_path / "out/training.json").stat().st_ino == made and not (tmp_path / "work").exists()


def test_nan_in_one_of_two_processes_stops_both(tmp_path):
    process = start(tmp_path, toy(nan_at=7, checkpoint_steps=3), TORCHRUN)
    out, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "Error: step 7: loss term 'mse' is nan" in out
    assert checkpoint.newest(tmp_path / "work").name == "step-00000006"
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def deepspeed(tmp_path_factory):
    """ZeRO-2 with optimiser offload in two processes: undisturbed, and stopped by a signal and gone on with."""
    folder = tmp_path_factory.mktemp("deepspeed")
    stopped = toy("own", signal_at=7, **OFFLOAD)
    runs = [("whole", toy("own", **OFFLOAD)), ("halves", toy("own", accumulation=2, **OFFLOAD))]
    runs += [("dropping", toy("regression", dropout=0.3, **OFFLOAD))]
    return folder, run_pairs(folder, [*runs, *[("stopped", stopped)] * 4])


def test_deepspeed_follows_the_loss_curve_of_one_plain_process(deepspeed, tmp_path):
    folder, printed = deepspeed
    assert "DeepSpeed" in printed
    train(toy("own"), tmp_path / "out", tmp_path / "work")
    for column in ("loss", "learning_rate", "gradient_norm"):
        np.testing.assert_allclose(table(folder / "whole")[column], table(tmp_path / "out")[column], rtol=1e-3)
    assert json.loads((folder / "whole/training.json").read_text())["versions"]["deepspeed"]
    train(toy("regression", dropout=0.3), tmp_path / "one", tmp_path / "work")
    np.testing.assert_allclose(table(folder / "dropping")["loss"], table(tmp_path / "one")["loss"], rtol=1e-3)


def test_deepspeed_accumulates(deepspeed, tmp_path):
    folder, _ = deepspeed
    train(toy("own", accumulation=2), tmp_path / "out", tmp_path / "work")
    np.testing.assert_allclose(table(folder / "halves")["loss"], table(tmp_path / "out")["loss"], rtol=1e-3)


def test_deepspeed_goes_on_from_its_checkpoint(deepspeed):
    folder, printed = deepspeed
    assert printed.count("Interrupted: stopped by SIGTERM") >= 2  # by both processes
    whole, stopped = table(folder / "whole"), table(folder / "stopped")
    assert list(stopped["step"]) == list(range(20))
    np.testing.assert_allclose(stopped["loss"], whole["loss"], rtol=1e-6)


def test_a_node_without_a_compiler_is_told_what_deepspeed_needs(tmp_path):
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name in ("sh", "which", "uname"):
        (binaries / name).symlink_to(shutil.which(name))
    (binaries / "ninja").symlink_to(Path(sys.executable).with_name("ninja"))
    without = ("env", "-u", "CXX", f"PATH={binaries}", f"TORCH_EXTENSIONS_DIR={tmp_path / 'extensions'}")
    alone = (*TORCHRUN[:-1], "1")
    out, _ = start(tmp_path, toy("own", **OFFLOAD), (*without, *alone)).communicate()
    error = re.search("^Error.*$", out, re.M)[0]
    assert "cannot compile its operator deepspeed_shm_comm" in error and "C++ compiler" in error and "conda" in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ('{"zero_optimization": {"stage": 3}}', "stage must be 1 or 2"),
        (None, "does not exist"),
    ],
)
def test_a_bad_deepspeed_configuration_is_named(text, message, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    path = tmp_path / "zero.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        train(toy(deepspeed=str(path)), tmp_path / "out", tmp_path / "work")
