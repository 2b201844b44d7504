"""One trainer per work folder, and no training of what is finished."""

import json
import os
import signal
import threading
import time

import pytest
from training_launch import toy, weights

from fmri2img import liveness
from fmri2img.training import claim, finished
from fmri2img.training.claim import Claim, Interrupted, claimed
from fmri2img.training.loop import Run, train


def record(work):
    return json.loads((work / claim.FILE).read_text())


def planted(work, **changes):
    """A claim of a trainer on another machine."""
    work.mkdir(exist_ok=True)
    other = Claim(work)._record | {"trainer": "other", "host": "h02", "machine": "h02", "job": "71"} | changes
    (work / claim.FILE).write_text(json.dumps(other))


@pytest.fixture
def quick(monkeypatch):
    """Seconds for minutes."""
    for name, seconds in {"BEAT": 0.05, "SILENCE": 0.4, "POLL": 0.05}.items():
        monkeypatch.setattr(claim, name, seconds)


def test_a_second_trainer_waits_while_the_first_one_lives_and_says_for_whom(tmp_path, quick, capsys):
    order = []

    def second():
        other = Claim(tmp_path / "work")
        other._sleep = lambda told: time.sleep(0.05)  # signals can be caught by the main thread only
        other.acquire()
        order.append("second")
        other.release()

    with claimed(tmp_path / "work"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(1)  # longer than the silence after which it would be taken for dead
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert f"process {os.getpid()}), which trains in" in capsys.readouterr().out
    assert not (tmp_path / "work").exists()


def test_a_trainer_of_another_machine_that_is_silent_is_replaced(tmp_path, quick, capsys):
    planted(tmp_path)
    began = time.monotonic()
    with claimed(tmp_path):
        assert time.monotonic() - began > 0.4 and record(tmp_path)["trainer"] != "other"
    assert "taking over from the trainer on h02 (Slurm job 71, process" in capsys.readouterr().out


def test_a_trainer_of_this_machine_that_has_ended_is_replaced_at_once(tmp_path):
    planted(tmp_path, machine=liveness.machine(), process=os.getpid(), started="another process of this number")
    began = time.monotonic()
    with claimed(tmp_path):
        assert time.monotonic() - began < 1


def test_a_requeued_job_does_not_wait_for_itself(tmp_path, monkeypatch):
    planted(tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    began = time.monotonic()
    with claimed(tmp_path):
        assert time.monotonic() - began < 1


def test_a_trainer_that_was_replaced_while_it_stood_still_stops(tmp_path, quick, monkeypatch):
    """It neither touches the claim of its successor nor removes it, and publishes no checkpoint."""

    def replaced(self):
        planted(tmp_path / "work")
        while not self._claim.lost:
            time.sleep(0.01)
        steps(self)

    steps = Run.steps
    monkeypatch.setattr(Run, "steps", replaced)
    with pytest.raises(Interrupted, match=r"another trainer took .*work over"):
        train(toy(checkpoint_steps=1), tmp_path / "out", tmp_path / "work")
    assert record(tmp_path / "work")["trainer"] == "other" and not list((tmp_path / "work").glob("step-*"))


def test_of_two_that_replace_a_silent_trainer_only_one_does(tmp_path, quick):
    planted(tmp_path)
    stale = record(tmp_path)
    first, second = Claim(tmp_path), Claim(tmp_path)
    first._remove(stale)
    assert first._create()
    second._remove(stale)  # it looked before the first one came
    assert record(tmp_path) == first._record and not second._create()


def test_sigterm_ends_the_wait(tmp_path):
    planted(tmp_path)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Interrupted, match=r"waited for the trainer on h02 \(Slurm job 71"), claimed(tmp_path):
        pass
    assert record(tmp_path)["trainer"] == "other"


def test_an_output_of_another_configuration_is_replaced(tmp_path):
    train(toy(), tmp_path / "out", tmp_path / "work")
    before = weights(tmp_path / "out")
    train(toy(seed=1), tmp_path / "out", tmp_path / "work")
    assert weights(tmp_path / "out") != before


@pytest.fixture
def trained_once(tmp_path, monkeypatch):
    """A training whose output Snakemake deleted; from then on no step is taken."""
    train(toy(), tmp_path / "out", tmp_path / "work", code="a")
    before = weights(tmp_path / "out")
    finished.shutil.rmtree(tmp_path / "out")
    return before


def test_a_finished_network_that_was_deleted_is_not_trained_again(trained_once, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "steps", None)
    for _ in range(2):
        train(toy(log_every=1), tmp_path / "out", tmp_path / "work", code="a")
        assert weights(tmp_path / "out") == trained_once
        finished.shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("changes", [{"code": "b"}, {"code": None}, {"config": toy(seed=1), "code": "a"}])
def test_a_finished_network_of_other_code_or_settings_is_trained_anew(trained_once, changes, tmp_path, capsys):
    capsys.readouterr()
    train(changes.get("config", toy()), tmp_path / "out", tmp_path / "work", code=changes["code"])
    assert "training from step 0" in capsys.readouterr().out
    made = json.loads((tmp_path / "out/training.json").read_text())["config"]
    assert made["code"] == changes["code"]


def test_what_is_kept_takes_no_space_and_is_removed_when_the_study_is_complete(tmp_path):
    out, work = tmp_path / "out", tmp_path / "training/sleeper/seed0"
    train(toy(), out, work, code="a")
    (work / "settings.json").write_text("{}")  # as the rules leave it
    kept = finished.kept(work)
    assert (kept / "model.safetensors").samefile(out / "model.safetensors")
    with claimed(work):
        finished.clear(tmp_path / "training")
        assert kept.exists()  # of a folder in which somebody trains
    finished.clear(tmp_path / "training")
    assert not work.exists() and (out / "model.safetensors").exists()


def test_without_links_the_network_is_moved(tmp_path, monkeypatch):
    def refused(*args, **options):
        raise PermissionError("no links here")

    monkeypatch.setattr(finished.os, "link", refused)
    train(toy(), tmp_path / "out", tmp_path / "work", code="a")
    assert weights(tmp_path / "out") and not finished.kept(tmp_path / "work").exists()
