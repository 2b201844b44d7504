"""A submission of three jobs on a real Slurm, of which the second fails once: the first is not made again."""

import os
import subprocess
import sys
from pathlib import Path

from cluster import Cluster
from trial import PATIENCE

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SNAKEFILE = f"""
import sys

sys.path.insert(0, "{SCRIPTS}")
from fmri2img import finished_members

finished_members.keep()


rule all:
    input:
        "third",
"""
RULE = """

rule {name}:
    input:
        {input!r},
    output:
        {name!r},
    log:
        "{name}.log",
    group:
        "cell"
    shell:
        "python step.py {{output}} {{log}}"
"""
STEP = """
import sys
from pathlib import Path

from fmri2img.artifacts.atomic import atomic_file
from fmri2img.job_record import began, succeeded

name, log = sys.argv[1:]
Path(log).touch()
began(log)
with open("runs", "a") as file:
    file.write(f"{name}\\n")
if name == "second" and Path("broken").exists():
    Path("broken").unlink()
    sys.exit(1)
with atomic_file(name) as temporary:
    temporary.write_text(name)
succeeded(log)
"""


def second_fails_once(folder: Path, cluster: Cluster) -> None:
    rules = {"first": [], "second": ["first"], "third": ["second"]}
    text = SNAKEFILE + "".join(RULE.format(name=name, input=before) for name, before in rules.items())
    (folder / "Snakefile").write_text(text)
    (folder / "step.py").write_text(STEP)
    (folder / "broken").touch()
    environment = cluster.environment | {"PYTHONPATH": str(SCRIPTS)}
    environment["PATH"] = f"{cluster.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [sys.executable, "-m", "snakemake", "--executor", "slurm", "--jobs", "2", "--retries", "1"]
    command += ["--default-resources", "slurm_partition=batch", "mem_mb=500", "runtime=5"]
    command += ["--slurm-init-seconds-before-status-checks", "3", "--slurm-status-command", "squeue"]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr[-4000:]
    assert (folder / "runs").read_text().split() == ["first", "second", "second", "third"]
    again = subprocess.run([*command, "--dry-run"], cwd=folder, env=environment, capture_output=True, text=True)
    assert "Nothing to be done" in again.stdout + again.stderr
