"""Errors of libraries that a user can do something about are one line with the keys that help."""

import re
import subprocess
import sys

import pytest
import torch
from training_launch import ENVIRONMENT, TORCHRUN, start, toy

from fmri2img.errors import UserError
from fmri2img.failures import reason
from fmri2img.job import Items
from fmri2img.known_errors import less_memory, less_memory_of_training, reported

# Messages as the libraries write them.
MEMORY = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.68 GiB of which 1.20 GiB is "
    "free. Including non-PyTorch memory, this process has 22.48 GiB memory in use. If reserved but unallocated memory "
    "is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True.\n(https://pytorch.org/docs/stable/notes/cuda.html)"
)
FINAL = [
    (torch.OutOfMemoryError(MEMORY), r"of which 1.20 GiB is free\): lower a.batch"),
    (
        RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
        "memory is too small .*lower a.batch",
    ),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "lower a.batch"),
    (RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB, max allowed: 9.07 GB)"), "lower a.batch"),
    (RuntimeError("Error building extension 'cpu_adam': [1/3] c++ ..."), "operator cpu_adam, .*a C.. compiler"),
    (RuntimeError("Unable to JIT load the cpu_adam op due to ninja not being installed."), "cpu_adam, .*needs ninja"),
    (RuntimeError("Failed to find C compiler. Please specify via CC environment variable."), "training.compile: "),
    (
        RuntimeError("CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors"),
        "does not fit the GPU or its driver",
    ),
    (
        RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please"),
        "11040.*install a build",
    ),
    (
        OSError(
            "We couldn't connect to 'https://huggingface.co' to load the files, and cannot find them in the cache."
        ),
        "snakemake fetch",
    ),
    (type("LocalEntryNotFoundError", (OSError,), {})("Cannot find the requested files in the disk cache."), "models/"),
]
AGAIN = [
    (MemoryError(), "the machine's memory is too small .*--cores"),
    (type("_ArrayMemoryError", (MemoryError,), {})("Unable to allocate 8.00 GiB for an array"), "8.00 GiB.*--cores"),
    (
        RuntimeError("[alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you"),
        "--cores",
    ),
    (OSError(12, "Cannot allocate memory"), "--cores"),
    (
        type("DistBackendError", (RuntimeError,), {})("NCCL error in: ProcessGroupNCCL.cpp:1970, remote process"),
        "NCCL_SOCKET_IFNAME",
    ),
    (RuntimeError("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be"), "on another GPU"),
    (RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"), "on another GPU"),
    (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "on another GPU"),
]


@pytest.mark.parametrize(("error", "remedy"), FINAL, ids=lambda value: value if isinstance(value, str) else "")
def test_what_the_user_must_change_is_one_line_and_final(error, remedy):
    found = reported(error, "lower a.batch", " (process 1)")
    assert not found.again and len(str(found).splitlines()) == 1
    assert str(found).startswith("Error (process 1): ")
    assert re.search(remedy, found.line)


@pytest.mark.parametrize(("error", "remedy"), AGAIN, ids=lambda value: value if isinstance(value, str) else "")
def test_what_may_pass_is_one_line_and_tried_again(error, remedy):
    found = reported(error, "lower a.batch")
    assert found.again and len(str(found).splitlines()) == 1 and str(found).startswith("Failed: ")
    assert re.search(remedy, found.line)


def test_a_fault_of_ours_is_not_explained_away():
    assert reported(ValueError("operands could not be broadcast"), "lower a.batch") is None
    assert str(reported(UserError("a.yaml: no such file"), "")) == "Error: a.yaml: no such file"


def test_a_job_names_the_batches_that_it_uses_and_no_others():
    config = {
        "generation": {"steps": 4, "batch": 8},
        "mindeye2": {
            "decoding": {"batch": 32, "prior_steps": 20},
            "finetuning": {"training": {"batch": 24, "clip": 1.0}},
        },
    }
    drawn = Items([], {"function": "unclip", "settings": {"steps": 4, "batch": 8, "strength": 0.5}})
    decoded = Items([], {"settings": {"prior_steps": 20, "batch": 32}})
    assert less_memory(config, drawn).startswith("lower generation.batch, or use a GPU with more memory")
    assert less_memory(config, decoded).startswith("lower mindeye2.decoding.batch, or ")
    assert less_memory(config, Items([], {"shard": [0, 1]})).startswith("use a GPU with more memory")


def test_a_training_names_the_keys_of_its_stage():
    assert "lower mindeye2.finetuning.training.batch, or use more GPUs" in less_memory_of_training(
        "mindeye2.finetuning"
    )
    assert less_memory_of_training(None).endswith("or lower training.batch")


SCRIPT = """
import sys
from snakemakes import job_of
from fmri2img import job

snakemake = job_of({}, "output", {"settings": {"batch": 8, "steps": 4}}, {}, log=sys.argv[1])
snakemake.config = {"generation": {"batch": 8, "steps": 4}}


def main(snakemake):
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 1 GiB.")


job.run(main)
"""
LINE = "Error: the GPU's memory is too small (CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a"


def test_a_script_without_enough_memory_ends_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "log")], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(LINE) and "lower generation.batch" in done.stderr
    assert (tmp_path / "log").read_text() == done.stderr


@pytest.mark.parametrize(("launcher", "processes"), [((sys.executable,), 1), (TORCHRUN, 2)])
def test_processes_of_a_training_without_enough_memory_end_in_one_line_each(launcher, processes, tmp_path):
    config = toy(out_of_memory_at=3) | {"stage": "mindeye2.finetuning"}
    process = start(tmp_path, config, launcher)
    out, _ = process.communicate()
    lines = re.findall("^Error.*$", out, re.M)
    assert process.returncode == 1 and 1 <= len(lines) <= processes and "Traceback" not in out
    assert all("is too small (CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0" in line for line in lines)
    assert all("set mindeye2.finetuning.training.activation_checkpointing to true" in line for line in lines)
    (tmp_path / "log").write_text(out)
    assert reason([tmp_path / "log"], "", 0).startswith("the GPU's memory is too small")


def test_a_process_of_a_training_that_is_killed_is_told(tmp_path):
    out, _ = start(tmp_path, toy(killed_at=3), TORCHRUN).communicate()
    assert re.findall(r"^Failed \(process [01]\): it was killed by SIGKILL", out, re.M) and "Traceback" not in out
