"""A GPU that was requested is there, or the job ends in its first second."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from training_launch import ENVIRONMENT, start, toy

from fmri2img.devices import ALLOW_CPU, check_gpus, gpus_of
from fmri2img.errors import UserError


@pytest.fixture(autouse=True)
def no_permission(monkeypatch):
    monkeypatch.delenv(ALLOW_CPU, raising=False)


@pytest.mark.parametrize(
    ("resources", "gpus"),
    [({}, 0), ({"gpu": None}, 0), ({"gpu": 2}, 2), ({"gres": "gpu:a100:4"}, 4), ({"gres": "gpu:3"}, 3),
     ({"gres": "gpu:1g.10gb:1", "gpu": 1}, 1), ({"gres": "gpu"}, 1), ({"gres": "license:2"}, 0)],
)  # fmt: skip
def test_gpus_are_read_from_both_forms_of_request(resources, gpus):
    assert gpus_of(resources) == gpus


@pytest.mark.parametrize(
    ("cuda", "given", "remedy"),
    [(None, "0", "is built for CPUs: install its CUDA build"),
     ("12.4", "0", "finds no usable driver: try nvidia-smi there"),
     ("12.4", "", "the job was given none: request them")],
)  # fmt: skip
def test_a_missing_gpu_is_one_line_with_host_job_and_remedy(cuda, given, remedy, monkeypatch):
    monkeypatch.setattr(torch, "version", SimpleNamespace(cuda=cuda, hip=None))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    with pytest.raises(UserError, match=f"requested 1 GPU and sees 0 .*Slurm job 71.*{remedy}.*{ALLOW_CPU}=1"):
        check_gpus(1)
    check_gpus(0)
    monkeypatch.setenv(ALLOW_CPU, "1")
    check_gpus(1)


def test_fewer_gpus_than_asked_for_are_missing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_gpus(2)
    with pytest.raises(UserError, match="requested 4 GPUs and sees 2"):
        check_gpus(4)


def test_a_training_without_its_gpu_ends_before_it_begins(tmp_path):
    process = start(tmp_path, toy(), options=("--gpus", str(torch.cuda.device_count() + 1)))
    out, _ = process.communicate()
    assert process.returncode == 1 and out.startswith("Error: this job requested") and len(out.splitlines()) == 1
    assert not (tmp_path / "work").exists()


SCRIPT = """
import sys
from snakemakes import job_of
from fmri2img import job

snakemake = job_of({}, "output", {}, {}, log=sys.argv[1])
snakemake.resources = job.Items([int(sys.argv[2])], {"gpu": int(sys.argv[2])})
job.run(lambda snakemake: print("worked"))
"""


@pytest.mark.parametrize(("more", "status"), [(1, 1), (0, 0)])
def test_a_script_without_its_gpu_ends_before_its_work(more, status, tmp_path):
    gpus = torch.cuda.device_count() + more
    log = tmp_path / "job.log"
    command = [sys.executable, "-c", SCRIPT, str(log), str(gpus)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == status, done.stderr
    assert ("worked" in log.read_text()) == (not status)
    assert (f"Error: this job requested {gpus} GPU" in done.stderr) == bool(status)
