"""A training over two nodes follows the loss curve of one process, and `make slurm-check` says what devices are."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from cluster import Cluster

REPOSITORY = Path(__file__).resolve().parents[2]
DECODER = "results/nodes/decoders/mindeye2_scratch/subj01/1sessions/seed0"
STUDY = {
    "study": "nodes",
    "nsd": {
        "root": "data",
        "simulation": {
            "seed": 5,
            "stimuli": 480,
            "trials_per_run": [11, 9],
            "subjects": {
                "subj01": {"sessions": 2, "dims": [13, 15, 11]},
                "subj02": {"sessions": 2, "dims": [12, 16, 11]},
                "subj03": {"sessions": 2, "dims": [8, 9, 10]},
                "subj04": {"sessions": 2, "dims": [8, 9, 10]},
            },
        },
    },
    "subjects": ["subj01"],
    "sessions": [1],
    "methods": ["mindeye2_scratch_unrefined"],
    "budgets": {},
    "metrics": ["pixcorr"],
    "mindeye2": {
        "low_level": None,
        "finetuning": {"training": {"epochs": 3, "epoch_steps": 0, "batch": 24, "warmup_epochs": 0.2}},
    },
}
# Classes of the laptop's size request no GPU; the training runs on the nodes with the stand-in devices all the same.
SITE = {
    "partitions": {
        "batch": {"max_runtime": 60, "max_mem_mb": 16000, "max_threads": 8},
        "volta": {
            "max_runtime": 60,
            "max_mem_mb": 16000,
            "max_threads": 8,
            "max_nodes": 2,
            "gpus": 2,
            "gpu_type": "v100",
        },
    },
    "classes": {"train": {"partition": "volta", "mem_mb": 4000}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A working directory with the study, made on this machine up to what the training needs."""
    folder = tmp_path_factory.mktemp("nodes")
    for name in ("config", "resources", "slurm"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    (folder / "site.yaml").write_text(yaml.safe_dump(SITE))
    snakemake(folder, "--cores", "2", "--", "results/nodes/recordings/subj01", "results/nodes/embeddings/demo_clip")
    return folder


def snakemake(folder: Path, *arguments: str, environment: dict | None = None) -> str:
    command = [sys.executable, "-m", "snakemake", "--directory", str(folder), "--config", f"site={folder}/site.yaml"]
    command += ["--configfile", str(folder / "study.yaml"), *(str(path) for path in folder.glob("devices.yaml"))]
    run = subprocess.run([*command, *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    return run.stdout + run.stderr


def losses(cluster: Cluster, folder: Path, name: str, stage: dict) -> tuple[np.ndarray, int]:
    """Loss of every step, and the number of processes, of the study's training with these keys of its stage."""
    (folder / "devices.yaml").write_text(yaml.safe_dump({"mindeye2": {"finetuning": stage}}))
    profile = ["--profile", "slurm", "--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "10"]
    snakemake(folder, *profile, "--", DECODER, environment=cluster.environment)
    made = (folder / DECODER).rename(folder / name)
    shutil.rmtree(folder / "results/nodes/training")  # where a finished network is kept
    return pd.read_parquet(made / "log.parquet")["loss"].to_numpy(), yaml.safe_load(
        (made / "training.json").read_text()
    )["processes"]


def test_two_nodes_with_two_processes_follow_the_loss_curve_of_one_process(cluster, folder):
    one, alone = losses(cluster, folder, "one", {})
    four, together = losses(cluster, folder, "four", {"nodes": 2, "gpus_per_node": 2})
    assert (alone, together, len(one)) == (1, 4, 15) and one.std() > 1
    np.testing.assert_allclose(four, one, rtol=1e-5)
    jobs = {job["NumNodes"]: job for job in cluster.jobs() if job["Partition"] == "volta"}
    assert set(jobs) == {"1", "2"}
    assert jobs["2"]["NodeList"] == "v[1-2]"


def test_a_device_that_stands_in_for_a_gpu_is_reported_as_that(cluster, folder):
    command = [sys.executable, str(REPOSITORY / "scripts/slurm_check.py"), "--site", str(folder / "site.yaml")]
    command += ["--configfile", str(REPOSITORY / "config/paper.yaml"), "--wait", "3"]
    environment = cluster.environment | {"PYTHONPATH": str(REPOSITORY / "scripts"), "PWD": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "        partition volta: as stated" in lines
    assert any(
        "nodes volta-1-v100: SLURM handed out device" in line and "only stands in for one" in line for line in lines
    )
    assert any("jobs train: needs 128000 MB" in line or "jobs train: partition volta" in line for line in lines)
    assert any("jobs embed: needs 48000 MB of memory, partition volta gives 16000" in line for line in lines)


def test_a_study_whose_requests_are_refused_ends_before_its_first_job(cluster, folder):
    wrong = SITE | {"partitions": {"volta": {"gpus": 2, "gpu_type": "h100"}}, "classes": {}}
    (folder / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    command = [sys.executable, "-m", "snakemake", "--directory", str(folder), "--profile", "slurm", "--forceall"]
    command += ["--configfile", str(folder / "study.yaml"), "--config", f"site={folder}/wrong.yaml"]
    command += ["resources=cluster", "--", DECODER]
    done = subprocess.run(command, cwd=REPOSITORY, env=cluster.environment, capture_output=True, text=True)
    printed = done.stdout + done.stderr
    assert done.returncode == 1 and f"{folder}/wrong.yaml: SLURM refuses jobs of " in printed, printed[-3000:]
    assert "has been submitted" not in printed
