"""A GPU that was requested is there, or the job ends in its first second."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from training_launch import ENVIRONMENT, start, toy

from fmri2img.devices import ALLOW_CPU, VISIBLE, check_gpus, gpus_of, visible
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


# GPUs of a machine without a scheduler, which CPUs stand in for


@pytest.fixture
def shared_gpus(tmp_path):
    """Start a process that takes some of the GPUs a and b, prints which it sees, and keeps them until it is killed."""
    processes = []
    code = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep(99)"

    def take(number, **variables):
        environment = {name: value for name, value in ENVIRONMENT.items() if name != "SLURM_JOB_ID"}
        environment |= {VISIBLE: "a,b", ALLOW_CPU: "1", "TMPDIR": str(tmp_path), **variables}
        command = [sys.executable, "-m", "fmri2img.devices", str(number), sys.executable, "-c", code]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield take
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_each_job_of_a_machine_has_a_gpu_of_its_own_and_the_next_waits_for_one(shared_gpus):
    first, second = shared_gpus(1), shared_gpus(1)
    assert {first.stdout.readline(), second.stdout.readline()} == {"a\n", "b\n"}
    third = shared_gpus(1)
    assert third.stdout.readline() == "waiting for 1 of the GPUs a, b, which other jobs use\n"
    second.kill()
    assert third.stdout.readline() in ("a\n", "b\n")


def test_a_job_of_two_gpus_waits_for_both_and_holds_none_meanwhile(shared_gpus):
    first = shared_gpus(1)
    first.stdout.readline()
    both = shared_gpus(2)
    assert both.stdout.readline().startswith("waiting for 2 of")
    assert shared_gpus(1).stdout.readline() in ("a\n", "b\n")


def test_gpus_that_slurm_gave_to_a_job_are_its_own(shared_gpus):
    """Every node's first GPU may be called 0 in the job that has it."""
    jobs = [shared_gpus(1, SLURM_JOB_ID=number, **{VISIBLE: "0"}) for number in ("71", "72")]
    assert [job.stdout.readline() for job in jobs] == ["0\n", "0\n"]


def test_jobs_within_one_allocation_share_its_gpus_out(shared_gpus):
    jobs = [shared_gpus(1, SLURM_JOB_ID="71") for _ in range(2)]
    assert {job.stdout.readline() for job in jobs} == {"a\n", "b\n"}


def test_all_gpus_of_the_machine_are_there_unless_the_user_names_some(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv(VISIBLE, raising=False)
    assert visible() == ["0", "1", "2"]
    for given, seen in {"2,0": ["2", "0"], "": [], "MIG-1/2": ["MIG-1/2"]}.items():
        monkeypatch.setenv(VISIBLE, given)
        assert visible() == seen


def test_a_script_takes_the_gpus_of_its_resources(tmp_path):
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "SLURM_JOB_ID"}
    environment |= {VISIBLE: "a,b", ALLOW_CPU: "1", "TMPDIR": str(tmp_path)}
    script = SCRIPT.replace('"worked"', "__import__('os').environ['CUDA_VISIBLE_DEVICES']")
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "log"), "1"], env=environment, check=True)
    assert (tmp_path / "log").read_text() == "a\n"
