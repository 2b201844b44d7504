"""Jobs on this machine as forks of one process that has imported the libraries.

Importing torch, transformers and diffusers takes longer than the work of most jobs of a small study. So a run of many
jobs has a process that imports them once (fmri2img.preloaded) and is forked for each job: the fork server of Python's
multiprocessing. A fork runs the file that Snakemake wrote for the job as a new interpreter would, with the environment,
working directory, output and exit status that it would have.

Jobs that need more are started by Snakemake as ever: those with several threads (libraries read their number when they
are imported), GPUs (CUDA cannot be forked), downloads (the server's libraries are offline), or a Conda environment, a
container or modules of their own; all where a run is small, on other systems than Linux, and if the server fails.
"""

import atexit
import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import connection
from typing import Any

import psutil
from snakemake.benchmark import benchmarked
from snakemake.script import PythonScript

from fmri2img.devices import gpus_of
from fmri2img.job_environment import ONE_THREAD

FEWEST = 10  # jobs of a run that are worth the server's imports, which take as long as those of two or three large ones
PRELOADED = "fmri2img.preloaded"
SEARCHED = [path for path in sys.path if path]  # of the server: a script finds its own folder, but not the working one
LOST = 255  # multiprocessing's exit status of a process whose server has gone

start_cold = PythonScript.execute_script
# Starting a process looks at all others, and their exit status can be read only once.
lock = threading.Lock()


def begin(workflow: Any, prefix: str) -> None:
    """Have the jobs of a run that begins come from a fork server. prefix: what the shell runs before each job."""
    jobs = sum(1 for _ in workflow.dag.needrun_jobs())
    if sys.platform == "linux" and workflow.local_exec and not prefix and jobs >= FEWEST:
        multiprocessing.get_context("forkserver").set_forkserver_preload([PRELOADED])
        PythonScript.execute_script = execute_script


def execute_script(script: PythonScript, path: str, edit: bool = False) -> None:
    """In place of Snakemake's method: run a job's file. Raises CalledProcessError, as that one, when it fails."""
    began = time.time()
    fork = start(script, path) if can_fork(script) else None
    if fork is None:
        start_cold(script, path, edit)
        return
    with contextlib.ExitStack() as stack:
        if script.bench_record is not None:
            try:
                stack.enter_context(benchmarked(fork.pid, script.bench_record))
            except psutil.NoSuchProcess:  # it has ended, and its server has taken its status
                script.bench_record.running_time = time.time() - began
        status = ended(fork)
    if status:
        raise subprocess.CalledProcessError(status, [sys.executable, path])


def can_fork(script: PythonScript) -> bool:
    """Whether a job needs nothing but what the server has."""
    own = script.conda_env or script.container_img or script.env_modules or script.resources.get("downloads")
    return script.threads == 1 and not own and not gpus_of(script.resources)


def start(script: PythonScript, path: str) -> Any:
    """A process of multiprocessing that runs a job's file; None if the server cannot be had."""
    context = multiprocessing.get_context("forkserver")
    fork = context.Process(target=run, args=(path, environment_of(script)))
    with lock, contextlib.suppress(OSError, EOFError):
        fork.start()
        return fork
    return None


def ended(fork: Any) -> int:
    """Wait for a fork's end and return its exit status. A fork whose server has gone is killed."""
    connection.wait([fork.sentinel])
    with lock:
        fork.join()
    if fork.exitcode == LOST:
        with contextlib.suppress(ProcessLookupError):
            os.kill(fork.pid, signal.SIGKILL)
    return fork.exitcode


def environment_of(script: PythonScript) -> dict[str, str]:
    """What Snakemake gives to a script's process (snakemake.shell)."""
    folder = script.resources.get("tmpdir")
    temporary = dict.fromkeys(("TMPDIR", "TMP", "TEMPDIR", "TEMP"), folder) if folder else {}
    return dict(os.environ) | ONE_THREAD | temporary


def run(path: str, environment: dict[str, str]) -> None:
    """In the fork: do what an interpreter does with a script, to its exit handlers."""
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.path[:] = [path], [os.path.dirname(path), *SEARCHED]
    multiprocessing.set_start_method(None, force=True)  # this system's own, as a new interpreter has it
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit:
        raise
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    finally:
        atexit._run_exitfuncs()
