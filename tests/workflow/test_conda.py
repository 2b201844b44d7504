"""`--sdm conda`, with a stand-in for Conda and a local channel: each rule runs in the environment that it names, which
holds what its file resolves to and nothing else (tests/helpers/conda_standin.py)."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conda_channel import CPU, CUDA, write_channel
from conda_standin import create, install, solve
from environments import REPOSITORY, SCRIPTS, jobs, modules_named_by, third_party

from fmri2img.job_environment import CUDA as LOCKED_CUDA
from write_environments import environment_files, locked

STAGES = sorted({job.environment for job in jobs()})
STUDY = {
    "methods": ["ridge", "mindeye2_scratch_unrefined", "ridge_shuffled_brain"],
    "metrics": ["pixcorr", "identification_demo_clip", "retrieval_image"],
    "mindeye2": {"low_level": None, "finetuning": {"training": {"epochs": 1}}, "decoding": {"prior_steps": 2}},
    "generation": {"steps": 2},
    "statistics": {"resamples": 100},
}


@pytest.fixture(scope="module")
def channel(tmp_path_factory):
    return write_channel(tmp_path_factory.mktemp("conda") / "channel")


@pytest.fixture(scope="module")
def study(channel, tmp_path_factory):
    """A tiny study that has run with `--sdm conda`, started with a Conda that finds no driver; and what was printed."""
    folder = tmp_path_factory.mktemp("study")
    for name in ("config", "resources"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    variables = {name: value for name, value in os.environ.items() if name != "CONDA_OVERRIDE_CUDA"}
    variables["PATH"] = f"{install(folder / 'conda', channel)}:{os.environ['PATH']}"
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "2"]
    command += ["--sdm", "conda", "--show-failed-logs", "--configfile", "config/tiny.yaml", "study.yaml"]
    run = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    return folder, run.stdout + run.stderr


def environments_of(folder: Path) -> dict[str, Path]:
    """Stage -> the environment that Snakemake made of its file."""
    files = {path.read_text(encoding="utf-8"): path for path in (folder / ".snakemake/conda").glob("*.yaml")}
    return {name: files[(REPOSITORY / f"envs/{name}.yaml").read_text("utf-8")].with_suffix("") for name in STAGES}


def test_a_study_runs_with_an_environment_for_each_stage(study):
    folder, printed = study
    assert (folder / "results/tiny/page.html").stat().st_size > 100_000
    used = re.findall(r"Activating conda environment: \S*/(\w+)", printed)
    assert set(used) == {path.name for path in environments_of(folder).values()}
    assert len(used) > 20


def test_environments_made_without_a_driver_have_torch_for_cuda(study):
    for name in ("models", "train"):
        record = json.loads((environments_of(study[0])[name] / "conda-meta/pytorch.json").read_text())
        assert record["build"] == CUDA


def test_jobs_record_the_packages_of_their_environment_and_no_others(study):
    (record,) = (study[0] / "logs/tiny/fit_linear").rglob("*.ran.json")
    versions = json.loads(record.read_text())["versions"]
    assert versions["numpy"] == locked("3.11")["numpy"] and "torch" not in versions
    (record,) = (study[0] / "logs/tiny/finetune").rglob("*.ran.json")
    assert json.loads(record.read_text())["versions"]["torch"] == locked("3.11")["torch"]


IMPORT_ALL = """
import importlib, importlib.util, json, sys
sys.path.extend(json.loads(sys.argv[1]))  # as Snakemake does, after the packages of the environment
for name in sys.argv[3].split():
    importlib.import_module(name)
for path in sys.argv[2].split():
    spec = importlib.util.spec_from_file_location("script", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
"""


def imported_in(prefix: Path, scripts: list[Path], modules: list[str]) -> subprocess.CompletedProcess:
    """Import scripts and modules with the Python of an environment, while the packages of this one are on its path."""
    arguments = [json.dumps(sys.path), " ".join(map(str, scripts)), " ".join(modules)]
    command = [str(prefix / "bin/python"), "-c", IMPORT_ALL, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(SCRIPTS)})


@pytest.mark.parametrize("stage", STAGES)
def test_all_that_scripts_import_can_be_imported_in_their_environment(study, stage):
    scripts = [job.script for job in jobs() if job.environment == stage]
    modules = {name for script in scripts for name in (*third_party(script), *modules_named_by(script))}
    run = imported_in(environments_of(study[0])[stage], scripts, sorted(modules))
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.fixture
def planted(tmp_path, channel):
    """A function that makes the environment of a file of ours, with one text replaced by another."""

    def make(stage: str, old: str, new: str) -> Path:
        text = (REPOSITORY / f"envs/{stage}.yaml").read_text(encoding="utf-8")
        assert old in text
        (tmp_path / "planted.yaml").write_text(text.replace(old, new))
        create(tmp_path / "planted.yaml", tmp_path / "environment", channel)
        return tmp_path / "environment"

    return make


def test_a_package_that_is_missing_is_not_found_elsewhere(planted):
    prefix = planted("decode", "  - scipy =1.17.1\n", "")
    run = imported_in(prefix, [SCRIPTS / "fit_linear.py"], ["numpy"])
    assert run.returncode and "No module named 'scipy'" in run.stderr


@pytest.mark.parametrize(
    ("stage", "old", "new", "told"),
    [
        ("models", "huggingface_hub =", "huggingface-hub =", "huggingface-hub"),
        ("decode", "scipy =1.17.1", "scipy =1.18.1", "scipy"),
        ("models", "  - pip\n", "  - himalaya =0.4.11\n  - pip\n", "himalaya"),
    ],
)
def test_a_name_or_a_version_that_the_channel_lacks_is_told(planted, stage, old, new, told):
    with pytest.raises(Exception, match=f"(?s){told}.*"):
        planted(stage, old, new)


@pytest.mark.parametrize(("override", "build"), [("", CPU), (LOCKED_CUDA, CUDA)])
@pytest.mark.parametrize("path", environment_files(), ids=lambda path: path.stem)
def test_every_environment_file_resolves(path, override, build, channel, monkeypatch):
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", override)
    text = path.read_text(encoding="utf-8")
    solved = asyncio.run(solve(text, channel))
    assert solved["python"] and solved.get("pytorch", build) == build
    assert ("pytorch" in solved) == ("  - pytorch =" in text)
