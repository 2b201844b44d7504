"""What a job records of where and with what it ran, and what reports make of it."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from fmri2img import job_record
from fmri2img.reporting.jobs import job_facts, job_rows, listed_logs

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
JOB = """
import sys
from snakemakes import job_of
from fmri2img.job import start

start(job_of({}, "output", {}, {}, log=sys.argv[1]))
import numpy, PIL, planted_module
if len(sys.argv) > 2:
    raise ValueError(sys.argv[2])
"""


def distribution(folder: Path, name: str, module: str, version: str) -> Path:
    """A distribution with one module of another name, as pip installs it."""
    record = folder / f"{name}-{version}.dist-info"
    record.mkdir(parents=True)
    (folder / f"{module}.py").write_text("")
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (record / "RECORD").write_text(f"{module}.py,,\n{name}-{version}.dist-info/METADATA,,\n")
    return folder


def run(log: Path, packages: Path, *arguments: str, **variables: str) -> dict:
    """Run a job that imports from `packages`; returns its record."""
    paths = os.pathsep.join([str(packages), str(SCRIPTS), str(Path(__file__).parents[1] / "helpers")])
    environment = {"PYTHONPATH": paths, "PATH": os.environ["PATH"]} | variables
    subprocess.run([sys.executable, "-c", JOB, str(log), *arguments], env=environment, check=not arguments)
    return json.loads(job_record.record_of(log).read_text())


def test_a_job_records_what_it_imported_and_where_it_ran(tmp_path):
    packages = distribution(tmp_path / "packages", "planted-distribution", "planted_module", "1.2.3")
    record = run(tmp_path / "job.log", packages, SLURM_JOB_ID="77", SLURM_JOB_NODELIST="n[01-02]")
    wanted = {name: metadata.version(name) for name in ("numpy", "pillow")} | {"planted-distribution": "1.2.3"}
    assert {name: record["versions"].get(name) for name in wanted} == wanted
    assert "torch" not in record["versions"] and "fmri2img" not in record["versions"]
    assert (record["slurm_job"], record["nodes"], record["attempt"]) == ("77", "n[01-02]", 1)
    assert record["python"] == ".".join(map(str, sys.version_info[:3])) and record["host"] and record["cpu"]
    assert record["gpu"] is None and record["started"] <= record["ended"]


def test_attempts_are_counted_until_one_succeeds(tmp_path):
    packages = distribution(tmp_path / "packages", "planted-distribution", "planted_module", "1.2.3")
    failed = run(tmp_path / "job.log", packages, "planted fault")
    assert failed["attempt"] == 1 and failed["ended"] is None and "versions" not in failed
    assert run(tmp_path / "job.log", packages)["attempt"] == 2
    assert run(tmp_path / "job.log", packages)["attempt"] == 1


def test_gpus_are_named_once_they_were_used(tmp_path, monkeypatch):
    used = SimpleNamespace(
        is_initialized=lambda: True, device_count=lambda: 2, get_device_name=lambda number: f"H100 {number}"
    )
    monkeypatch.setattr(job_record, "DRIVER", tmp_path / "version")
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\nGCC\n")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=used, version=SimpleNamespace(cuda="12.4")))
    assert job_record.gpus() == {"gpu": "H100 0, H100 1", "driver": "550.54.15", "cuda": "12.4"}
    (tmp_path / "version").unlink()
    assert job_record.gpus()["driver"] is None
    used.is_initialized = lambda: False
    assert job_record.gpus() == {"gpu": None, "driver": None, "cuda": None}


def recorded(folder: Path, name: str, **facts) -> str:
    """A log with its record. Returns the log's path."""
    log = folder / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "attempt": 1, "started": "2030-01-01T10:00:00", "ended": "2030-01-01T11:00:00", "python": "3.11.7",
        "host": "n01", "cpu": "X", "gpu": None, "driver": None, "cuda": None, "image": None, "slurm_job": None,
        "nodes": None, "processes": 1, "versions": {"numpy": "2.4.6"},
    }  # fmt: skip
    job_record.record_of(log).write_text(json.dumps(record | facts))
    return str(log)


def facts_of(logs: list[str], folder: Path) -> dict[tuple[str, str], str]:
    return {(section, item): value for section, item, value in job_facts(job_rows(logs, str(folder)))}


def test_versions_and_machines_that_differ_are_named_with_their_jobs(tmp_path):
    logs = [recorded(tmp_path, f"evaluate/m{n}") for n in range(3)]
    gpu = {"gpu": "H100", "driver": "550.1", "cuda": "12.4", "host": "g02", "slurm_job": "8", "attempt": 3}
    logs += [recorded(tmp_path, "finetune/a", versions={"numpy": "2.5.5", "torch": "2.15.0"}, **gpu)]
    found = facts_of(logs, tmp_path)
    assert found["versions", "numpy"] == "2.4.6 (1 job: 2.5.5)" and found["versions", "torch"] == "2.15.0"
    assert found["jobs", "hosts"] == "n01 (1 job: g02)" and found["jobs", "GPUs"] == "H100"
    assert found["jobs", "CUDA"] == "12.4" and found["jobs", "took several attempts"] == "1"
    assert found["jobs", "number"] == "4" and ("jobs", "without a record") not in found
    rows = job_rows(logs, str(tmp_path)).set_index("job")
    assert rows.loc["finetune/a", "slurm_job"] == "8" and rows.loc["evaluate/m0", "versions"] == "numpy 2.4.6"


def test_jobs_without_a_record_are_counted_and_nothing_is_guessed(tmp_path):
    logs = [
        recorded(tmp_path, "evaluate/a"),
        str(tmp_path / "evaluate/b.log"),
        recorded(tmp_path, "draw/c", ended=None),
    ]
    found = facts_of(logs, tmp_path)
    assert found["jobs", "without a record"] == "2 of 3 jobs left no record; what they ran with is not known"
    assert found["jobs", "number"] == "1"
    nothing = facts_of(listed_logs(tmp_path / "none.json"), tmp_path)
    assert list(nothing) == [("jobs", "without a record")] and "not known" in nothing["jobs", "without a record"]
    assert pd.isna(job_rows(logs, str(tmp_path)).set_index("job").loc["evaluate/b", "host"])
