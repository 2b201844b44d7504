"""A run that is killed at any moment is started again by the same command, and nothing of it is still at work."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from snakemake.exceptions import LockException, WorkflowError

from fmri2img import liveness, runs
from fmri2img.errors import UserError
from fmri2img.interpreter import check_interpreter
from fmri2img.paths import REPOSITORY, SCRIPTS

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
BEGIN = """
import sys, time
from fmri2img import runs
runs.begin(sys.argv[1])
print("began", flush=True)
time.sleep(99)
"""
FOLLOW = """
import time
from fmri2img import liveness
liveness.follow()
print(1, flush=True)
time.sleep(99)
"""
LEAD = f"""
import subprocess, sys, time
from fmri2img import liveness
liveness.lead()
print(subprocess.Popen([sys.executable, "-c", {FOLLOW!r}]).pid, flush=True)
time.sleep(99)
"""
WRAPPER = """
import sys
from pathlib import Path
from fmri2img import runs
runs.REPOSITORY = Path(sys.argv[1])
runs.status(runs.snakemake(["--cores", "1"]))
"""
MAKE = f"""
import os, subprocess, sys
subprocess.run([sys.executable, "-c", {WRAPPER!r}, *sys.argv[1:]], env=os.environ | {{"MAKELEVEL": "1"}})
"""
SNAKEFILE = """
from fmri2img import runs

runs.guard(workflow, "toy")


rule all:
    default_target: True
    input:
        "first",
        "second",


rule first:
    output:
        "first",
    shell:
        "echo first >> made; touch {output}"


rule second:
    input:
        "first",
    output:
        "second",
    shell:
        "echo begun > {output}; [ -e mended ] || {sys.executable} -c "
        "'from fmri2img import liveness; liveness.follow(); import os, time; "
        'open("job", "w").write(str(os.getpid())); time.sleep(99)\\'; '
        "echo whole > {output}"
"""


@pytest.fixture
def started():
    """Start Python code; what still runs in the end is killed."""
    processes = []

    def start(*arguments: str, **options) -> subprocess.Popen:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": ENVIRONMENT} | options
        processes.append(subprocess.Popen([sys.executable, *arguments], **options))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def comes_true(condition) -> bool:
    """Whether a condition holds within a minute."""
    for _ in range(1200):
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """A working directory with a lock that a killed Snakemake left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "_held", [])
    runs.SNAKEMAKES.mkdir(parents=True)
    file = runs.SNAKEMAKES / "0.output.lock"
    file.write_text("results/toy/page.html\n")
    return file


def test_a_process_ends_when_the_one_that_it_works_for_is_killed(started):
    leader = started("-c", LEAD)
    follower = int(leader.stdout.readline())
    assert leader.stdout.readline() == "1\n" and liveness.started(follower)
    leader.kill()
    assert comes_true(lambda: not liveness.started(follower))


def test_a_process_that_ended_has_gone_even_if_its_parent_has_not_asked_or_its_number_is_used_again(started):
    process = started("-c", "import time; time.sleep(99)")
    record = liveness.record() | {"process": process.pid, "started": liveness.started(process.pid)}
    assert not liveness.has_gone(record) and not liveness.has_gone(liveness.record())
    assert liveness.has_gone(liveness.record() | {"started": "another one of this number"})
    process.kill()
    assert comes_true(lambda: liveness.has_gone(record))  # a zombie, for nobody has waited for it


def test_of_processes_of_other_machines_it_is_not_known_whether_they_have_gone():
    assert not liveness.has_gone({"machine": "h02", "process": 1, "started": "1"})


def test_without_proc_a_process_is_known_by_its_number(monkeypatch, started):
    process = started("-c", "")
    monkeypatch.setattr(Path, "exists", lambda path: str(path) != "/proc/self/stat")
    assert not liveness.has_gone(liveness.record())
    process.wait()
    assert liveness.has_gone(liveness.record() | {"process": process.pid})


def test_locks_of_a_killed_run_are_removed(locked, started):
    killed = started("-c", BEGIN, "toy")
    killed.stdout.readline()
    locked.write_text("results/toy/page.html\n")
    killed.kill()
    killed.wait()
    runs.begin("toy")
    assert not locked.exists()


def test_locks_stay_while_a_run_of_another_study_is_at_work(locked, started):
    other = started("-c", BEGIN, "other")
    assert other.stdout.readline() == "began\n"
    locked.write_text("results/other/page.html\n")
    runs.begin("toy")
    assert locked.exists()


def test_a_second_run_of_a_study_waits_for_the_first_and_says_for_whom(locked, started):
    first = started("-c", BEGIN, "toy")
    assert first.stdout.readline() == "began\n"
    second = started("-c", BEGIN, "toy")
    line = second.stdout.readline()
    assert f"Another run of study toy is at work here (process {first.pid} on " in line
    first.kill()
    assert second.stdout.readline() == "began\n"


def test_a_killed_command_takes_its_jobs_along_and_is_started_again_without_options(tmp_path, started):
    """What is killed is make, with which its command ends, with which Snakemake ends, with which its jobs end."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    make = started("-c", MAKE, str(tmp_path), cwd=tmp_path, stdout=subprocess.DEVNULL)
    assert comes_true(lambda: (tmp_path / "job").exists() and (tmp_path / "job").read_text())
    job = int((tmp_path / "job").read_text())
    make.kill()
    assert comes_true(lambda: not liveness.started(job))
    assert list((tmp_path / runs.SNAKEMAKES).glob("*.lock")) and (tmp_path / "second").read_text() == "begun\n"
    (tmp_path / "mended").touch()
    again = started("-m", "snakemake", "--cores", "1", cwd=tmp_path)
    output = again.communicate()[0]
    assert again.returncode == 0, output
    assert (tmp_path / "second").read_text() == "whole\n" and (tmp_path / "made").read_text() == "first\n"


def test_files_that_the_run_of_another_study_has_are_waited_for_by_the_user(locked, started, monkeypatch):
    other = started("-c", BEGIN, "other")
    assert other.stdout.readline() == "began\n"
    runs.begin("toy")

    @contextmanager
    def lock_files():
        raise LockException()
        yield

    told = rf"the run of study other \(process {other.pid} on .*\) at work here"
    with pytest.raises(WorkflowError, match=told), runs._explained(lock_files)():
        pass
    other.kill()
    other.wait()
    with pytest.raises(LockException), runs._explained(lock_files)():
        pass


def test_a_dry_run_neither_waits_nor_makes_others_wait(tmp_path, started):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    first = started("-c", BEGIN, "toy", cwd=tmp_path)
    first.stdout.readline()
    assert started("-m", "snakemake", "-n", cwd=tmp_path).wait() == 0


@pytest.mark.parametrize("folder", ["My Projects", "it's", "a$b", "a(1)", "a;b", "a&b"])
def test_a_python_that_snakemake_could_not_start_is_named_with_the_remedy(folder):
    with pytest.raises(UserError, match=r"Snakemake cannot start jobs .* move the repository to a path without"):
        check_interpreter(f"/home/me/{folder}/fmri2img/.venv/bin/python")


@pytest.mark.parametrize("folder", ["fmri2img", "été_2026", "v1.0+x@y,z=~%", "日本"])
def test_other_paths_of_python_are_taken_as_bash_takes_them(folder):
    path = f"/home/me/{folder}/.venv/bin/python"
    check_interpreter(path)
    printed = subprocess.run(["bash", "-c", f"printf '%s\\n' {path}"], capture_output=True, text=True, check=True)
    assert printed.stdout == f"{path}\n"


def test_no_environment_is_installed_where_no_job_could_start(tmp_path):
    clone = tmp_path / "My Projects/fmri2img"
    for name in ("envs/create_venv.sh", *(f"scripts/fmri2img/{m}.py" for m in ("__init__", "errors", "interpreter"))):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text((REPOSITORY / name).read_text())
    done = subprocess.run(["sh", "envs/create_venv.sh"], cwd=clone, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("Error: ") and len(done.stderr.splitlines()) == 1
    assert "has a space in it" in done.stderr and not (clone / ".venv").exists()
