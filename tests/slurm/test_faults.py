"""A study on a real Slurm, and what happens to it there: devices, memory, time limits, cancelled and lost jobs.

Most scenarios copy the finished study and train one more network of the sleeper, under another seed; several run at
once, because they wait most of their time.
"""

import json
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
import three_jobs
from cluster import Cluster
from trial import PATIENCE, Trial, wait_for

from fmri2img.training import claim

SLOW = {"epochs": 100}  # 500 steps
AT_ONCE = 5
scenarios = {}


def scenario(function):
    """Run a function (copied, cluster) as a test, together with others. copied: makes a copy of the study."""
    scenarios[function.__name__] = function
    return function


class Copier:
    """Makes a copy of the finished study, with other settings of the sleeper, in the scenario's folder."""

    def __init__(self, study, folder):
        self.study, self.folder = study, folder

    def __call__(self, site=None, training=None, nodes=1, **sleeper):
        finetuning = {"nodes": nodes, "training": {"epochs": 2, "batch": 8, "log_every": 1} | (training or {})}
        return self.study[0].copy(self.folder, site, sleeper=sleeper | {"finetuning": finetuning})


@pytest.fixture(scope="session")
def running(study, cluster, tmp_path_factory):
    """The scenarios by name, as futures."""
    folder = tmp_path_factory.mktemp("scenarios")
    pool = ThreadPoolExecutor(AT_ONCE)
    yield {name: pool.submit(run, Copier(study, folder / name), cluster) for name, run in scenarios.items()}
    pool.shutdown(cancel_futures=True)


def finished(process, trial, status=0):
    assert process.wait(PATIENCE) == status, trial.printed[-5000:]


def steps(trial, seed):
    return list(pd.read_parquet(trial.folder / trial.network(seed) / "log.parquet")["step"])


def at_work(process, trial, seed, step=0):
    """Wait until a training has begun (and has written a checkpoint after `step`, if it is not 0)."""

    def begun():
        assert process.poll() is None, trial.printed[-5000:]
        return "step 2/" in trial.log(seed) and trial.step(seed) >= step

    wait_for(begun, "training")
    return trial.jobs()[-1]


def test_a_study_runs_from_end_to_end_and_its_jobs_request_what_their_class_says(study):
    trial, status = study
    assert status == 0, trial.printed[-5000:]
    assert (trial.folder / "results/trial/page.html").exists()
    assert len(trial.printed.splitlines()) < 60, trial.printed
    (training,) = trial.jobs()
    assert training["JobState"] == "COMPLETED" and training["Partition"] == "volta"
    assert training["TresPerJob"] == "gres:gpu:v100:1" and training["MinMemoryNode"] == "125G"
    assert all(job["Partition"] == ("volta" if "TresPerJob" in job else "batch") for job in trial.jobs(""))
    # After training, one submission for each cell: the GPU and the memory of one of its jobs, and the time of all.
    cells = trial.jobs("cell")
    assert len(cells) == 2 and not [job for rule in ("decode", "draw", "caption") for job in trial.jobs(rule)]
    assert {job["TresPerJob"] for job in cells} == {"gres:gpu:v100:1"}
    assert {job["MinMemoryNode"] for job in cells} == {"48000M"} and {job["CPUs/Task"] for job in cells} == {"8"}
    assert {job["TimeLimit"] for job in cells} == {"14:00:00"}  # decoding 2 hours, drawing 12
    assert not trial.work(0).exists()  # what a training keeps is removed at the end


@scenario
def a_training_goes_on_after_the_time_limit_in_slices_that_are_not_tries(copied, cluster):
    """About two and a half minutes in a partition that gives two."""
    short = {"max_runtime": 2, "max_mem_mb": 512000, "max_threads": 64, "gpus": 2, "gpu_type": "v100"}
    batch = {"max_runtime": 1440, "max_mem_mb": 512000, "max_threads": 64}
    site = {"partitions": {"batch": batch, "short": short}}
    trial = copied(site=site, training={"epochs": 50}, pause=0.5)
    process = trial.start(trial.network(1))
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < 2 * PATIENCE:
        assert "PartitionTimeLimit" not in {job["Reason"] for job in trial.jobs()}
        time.sleep(1)
    finished(process, trial)
    jobs = trial.jobs()
    assert len(jobs) >= 2 and {job["Partition"] for job in jobs} == {"short"}
    assert {job["TimeLimit"] for job in jobs} == {"00:02:00"} and len({job["MinMemoryNode"] for job in jobs}) == 1
    assert steps(trial, 1) == list(range(250))
    assert "stopped by SIGTERM" in trial.printed and "It goes on in a new job." in trial.printed
    assert "failed" not in trial.printed


@scenario
def a_job_that_slurm_has_forgotten_does_not_keep_snakemake_waiting(copied, cluster):
    """The job ends, and Slurm forgets it, while the machine of Snakemake sleeps. On a cluster that forgets at once."""
    # munged's socket must have a short path.
    with TemporaryDirectory() as short, Cluster(Path(short) / "cluster", min_job_age=10) as forgetful:
        trial = Trial(copied.folder, forgetful)
        process = trial.start("results/trial/splits/shared1000.json")
        wait_for(lambda: forgetful.run("squeue", "--noheader").strip(), "job")
        os.kill(process.pid, signal.SIGSTOP)
        wait_for(lambda: not forgetful.run("squeue", "--noheader", "--states=all").strip(), "end of all jobs")
        os.kill(process.pid, signal.SIGCONT)
        wait_for(lambda: process.poll() is not None, "end of Snakemake")
        assert process.returncode == 0, trial.printed[-5000:]


@scenario
def the_other_seed_of_a_cancelled_training_is_scored_in_slurm(copied, cluster):
    """What does not depend on the cancelled job is reported, with the gap."""
    trial = copied.study[0].copy(copied.folder, seeds=[0, 1])
    process = trial.start()
    (job,) = wait_for(lambda: [job for job in trial.jobs() if job["JobState"] == "RUNNING"], "training")
    cluster.run("scancel", job["JobId"])
    assert process.wait(2 * PATIENCE) == 1, trial.printed[-5000:]
    assert len(trial.jobs()) == 1 and "Reported without it: results/trial/page.html" in trial.printed
    tables = trial.folder / "results/trial/tables"
    (gap,) = pd.read_csv(tables / "gaps.csv").to_dict("records")
    assert (gap["method"], gap["what"], gap["n_scored"]) == ("sleeper", "seed 1", 1)
    assert "the Slurm job was cancelled" in gap["reason"]
    scores = pd.read_parquet(trial.folder / "results/trial/scores/sleeper.parquet")
    assert set(scores["seed"]) == {0} and trial.jobs("evaluate")
    assert pd.read_csv(tables / "jobs.csv").set_index("job").loc["evaluate/sleeper", "slurm_job"] > 0
    # The copy of the study is without the logs of what was made before, and the report says so.
    facts = pd.read_csv(tables / "provenance.csv").set_index("item")["value"]
    assert "left no record" in facts["without a record"] and "Slurm jobs" in facts["in Slurm"]


@scenario
def the_next_try_of_a_submission_begins_with_the_job_that_failed(copied, cluster):
    copied.folder.mkdir()
    three_jobs.second_fails_once(copied.folder, cluster)


@scenario
def the_device_is_handed_to_the_job_and_is_an_error_where_torch_does_not_see_it(copied, cluster):
    """On stand-in devices it never does: one line, one try, and little else on the terminal."""
    trial = copied()
    assert trial.run(trial.network(1), stand_in=False) == 1
    told = "this job requested 1 GPU and sees 0"
    assert re.search(rf"Error: {told} .*CUDA_VISIBLE_DEVICES = '[01]'", trial.log(1)), trial.log(1)
    assert len(trial.jobs()) == 1 and trial.printed.count(told) == 1
    assert "It is not tried again." in trial.printed and "finetune/sleeper/subj01/1sessions/seed1.log" in trial.printed
    assert len(trial.printed.splitlines()) < 25 and max(map(len, trial.printed.splitlines())) < 600, trial.printed


@scenario
def a_job_that_runs_out_of_memory_gets_more(copied, cluster):
    trial = copied(site={"classes": {"train": {"mem_mb": 1000}}}, memory_mb=700)
    finished(trial.start(trial.network(1)), trial)
    first, second = trial.jobs()
    assert (first["MinMemoryNode"], second["MinMemoryNode"]) == ("1000M", "2000M")
    assert "failed (try 1 of 3): the Slurm job ran out of memory" in trial.printed


@scenario
def a_cancelled_job_is_not_submitted_again_and_goes_on_when_the_study_does(copied, cluster):
    trial = copied(pause=0.2, training=SLOW)
    process = trial.start(trial.network(1))
    job = at_work(process, trial, 1)
    cluster.run("scancel", job["JobId"])
    finished(process, trial, 1)
    assert len(trial.jobs()) == 1 and "the Slurm job was cancelled" in trial.printed
    assert trial.step(1) > 0 and not (trial.work(1) / claim.FILE).exists()


@scenario
def ctrl_c_cancels_the_jobs(copied, cluster):
    trial = copied(pause=0.2, training=SLOW)
    process = trial.start(trial.network(1))
    at_work(process, trial, 1)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) != 0
    wait_for(lambda: trial.jobs()[-1]["JobState"] == "CANCELLED", "cancelled job", 60)
    assert trial.step(1) > 0 and len(trial.jobs()) == 1


@scenario
def after_a_lost_main_process_the_network_is_made_once_and_is_not_deleted(copied, cluster):
    """The job that Snakemake left behind goes on; a second one waits for it, and finds the network made."""
    trial = copied(pause=0.3, training={"epochs": 30})
    process = trial.start(trial.network(1))
    orphan = at_work(process, trial, 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process = trial.start(trial.network(1))
    wait_for(lambda: "waiting for the trainer on" in trial.log(1), "second trainer")
    assert f"Slurm job {orphan['JobId']}" in trial.log(1)
    made = trial.folder / trial.network(1) / "training.json"
    wait_for(made.exists, "network of the first trainer")
    number = made.stat().st_ino
    finished(process, trial)
    assert made.stat().st_ino == number and "training from step" not in trial.log(1)
    assert [job["JobState"] for job in trial.jobs()] == ["COMPLETED", "COMPLETED"]
    assert steps(trial, 1) == list(range(150))


@scenario
def a_network_that_was_finished_without_snakemake_is_not_trained_again(copied, cluster):
    """The main process is lost, the job ends, and only then the study is started again."""
    trial = copied(pause=0.2, training={"epochs": 10})
    process = trial.start(trial.network(1))
    at_work(process, trial, 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: trial.jobs()[-1]["JobState"] == "COMPLETED", "end of the job")
    weights = (trial.folder / trial.network(1) / "model.safetensors").read_bytes()
    finished(trial.start(trial.network(1)), trial)
    assert len(trial.jobs()) == 1 and "Nothing to be done" in trial.printed
    assert (trial.folder / trial.network(1) / "model.safetensors").read_bytes() == weights
    # Without Snakemake's record of it, it is sent to the cluster again, and its output is deleted before.
    finished(trial.start(trial.network(1), "--forcerun", "finetune"), trial)
    assert len(trial.jobs()) == 2 and "was finished before" in trial.log(1) and "from step" not in trial.log(1)
    assert (trial.folder / trial.network(1) / "model.safetensors").read_bytes() == weights


@scenario
def a_study_with_a_failing_method_ends_in_a_page_with_a_gap_and_few_lines(copied, cluster):
    trial = copied(nan_at=1)
    assert trial.run() == 1
    assert len(trial.jobs()) == 1 and "failed (try 1 of 3): step 1: loss term 'mse' is nan" in trial.printed
    page = (trial.folder / "results/trial/page.html").read_text()
    assert "step 1: loss term" in page and "is nan" in page
    board = pd.read_csv(trial.folder / "results/trial/tables/leaderboard.csv")
    assert "ridge" in set(board["method"])
    assert len(trial.printed.splitlines()) < 60 and max(map(len, trial.printed.splitlines())) < 600, trial.printed


@scenario
def two_nodes_train_one_network(copied, cluster):
    trial = copied(nodes=2)
    finished(trial.start(trial.network(1)), trial)
    (job,) = trial.jobs()
    assert job["NumNodes"] == "2" and job["NodeList"] == "v[1-2]"
    record = json.loads((trial.folder / trial.network(1) / "training.json").read_text())
    assert record["processes"] == 2


@pytest.mark.parametrize("name", scenarios)
def test_that(name, running):
    running[name].result()


def test_a_training_goes_on_from_its_checkpoint_after_its_node_has_died(study, cluster, running, tmp_path):
    """Last, when nothing else runs on the node."""
    for other in running.values():
        other.exception()
    copied = Copier(study, tmp_path / "trial")
    trial = copied(pause=0.1, training={"epochs": 60, "checkpoint_steps": 20})
    process = trial.start(trial.network(1))
    job = at_work(process, trial, 1, step=20)
    reached, node = trial.step(1), job["NodeList"]
    cluster.kill_node(node)
    try:
        finished(process, trial)
    finally:
        cluster.start_node(node)
    assert f"training from step {reached}" in trial.log(1) or "training from step 0" not in trial.log(1)
    assert steps(trial, 1) == list(range(300))
