import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cells import CELL, small_cell
from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params, ResourceList, Wildcards
from snakemakes import job_of

from fmri2img.artifacts.prediction import Prediction
from fmri2img.errors import UserError
from fmri2img.job import read_job, write_job

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SCRIPT = """
import atexit, sys
from snakemakes import job_of
from fmri2img.errors import UserError
from fmri2img.job import start

start(job_of({{}}, "output", {{}}, {{}}, log=sys.argv[1]))
atexit.register(lambda: print("cleared up"))
print("begun", end=" ")
{last}
"""


def run(*command, environment=None, **options):
    paths = os.pathsep.join([str(SCRIPTS), str(Path(__file__).parents[1] / "helpers")])
    environment = {"PYTHONPATH": paths, "PATH": os.environ["PATH"]} | (environment or {})
    command = [sys.executable, *map(str, command)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    ("last", "status", "logged", "told"),
    [
        ("print('done')", 0, "begun done\ncleared up\n", ""),
        ("raise UserError('no such file')", 1, "begun Error: no such file\ncleared up\n", "Error: no such file\n"),
    ],
)
def test_a_script_ends_with_its_status_and_all_it_said_in_the_log(tmp_path, last, status, logged, told):
    log = tmp_path / "log"
    ended = run("-c", SCRIPT.format(last=last), log)
    assert (ended.returncode, log.read_text(), ended.stderr) == (status, logged, told)


def test_an_unexpected_error_leaves_its_traceback_in_the_log(tmp_path):
    log = tmp_path / "log"
    ended = run("-c", SCRIPT.format(last="1 / 0"), log)
    assert ended.returncode == 1 and "Traceback" in log.read_text()
    assert ended.stderr == f"Error in rule some_rule: ZeroDivisionError: division by zero (see {log})\n"


def test_a_script_that_exits_with_a_status_has_failed(tmp_path):
    log = tmp_path / "log"
    script = """
import sys
from snakemakes import job_of
from fmri2img import job
snakemake = job_of({}, "output", {}, {}, log=sys.argv[1])
job.run(lambda snakemake: sys.exit(3))
"""
    ended = run("-c", script, log)
    assert ended.returncode == 1 and "the script ended with status 3" in ended.stderr


# Records


def named(kind, **values):
    """Snakemake's own list of files or values by name; a list of files has one name for all of them."""
    found = kind()
    for name, value in values.items():
        first = len(found)
        if isinstance(value, tuple):
            found.extend(value)
            found._set_name(name, first, end=len(found))
        else:
            found.append(value)
            found._add_name(name)
    return found


@pytest.fixture
def recorded(tmp_path):
    """A job of Snakemake's own classes, and what is read back of its record."""

    class Job:
        input = named(InputFiles, recording="r/subj01", targets=("e/a", "e/b"), none=())
        output = named(OutputFiles, shared1000="out/1", shared982="out/2")
        log = Log(["logs/x.log"])
        params = Params(fromdict={
            "settings": {"alphas": [1.0, 10.0], "deep": {"on": True}}, "nothing": None, "pair": ("clip", {"kind": "e"}),
        })  # fmt: skip
        wildcards = named(Wildcards, subject="subj01", seed="0")
        resources = named(ResourceList, mem_mb=2000, tmpdir="scratch")
        threads, rule, config = 2, "some_rule", {"plugins": [], "study": "demo", "seeds": [0, 1]}

    write_job(Job, tmp_path / "x.log.json")
    return Job, read_job(tmp_path / "x.log.json")


def test_a_record_gives_back_what_snakemake_gave(recorded):
    job, found = recorded
    for name in ("input", "output", "log", "wildcards", "resources"):
        assert list(getattr(found, name)) == list(getattr(job, name)), name
        assert {k: v for k, v in getattr(found, name).items()} == dict(getattr(job, name).items()), name
    assert (found.threads, found.rule, found.config) == (job.threads, job.rule, job.config)
    assert found.params.settings == job.params.settings and found.params.nothing is None
    assert found.params.pair == ["clip", {"kind": "e"}]  # JSON has lists alone; scripts take the pair apart


def test_a_record_is_read_by_place_name_and_attribute(recorded):
    _, found = recorded
    assert found.input.targets == ["e/a", "e/b"] and found.input.none == [] and found.input[0] == "r/subj01"
    assert found.output["shared982"] == found.output[1] == "out/2"
    assert found.input.get("recording") == "r/subj01" and found.input.get("pretrained") is None
    assert list(found.wildcards.keys()) == ["subject", "seed"]
    with pytest.raises(AttributeError):
        _ = found.params.no_such_parameter


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"input": 3}', None])
def test_what_is_not_a_record_is_named_with_the_remedy(tmp_path, content):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"x\.json: not the record of a job .*give the \.log\.json next to a job's log"):
        read_job(path)
    ended = run(SCRIPTS / "make.py", path)
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1 and ended.stderr.startswith("Error: ")


def test_a_job_is_repeated_by_hand_from_its_record(tmp_path):
    """The script of a control, from the record that a job leaves next to its log, without Snakemake: same output."""
    paths = {name: path for name, path in small_cell(tmp_path).items() if name != "captioned"}
    params = {
        "method": "random_training_image", "makes": "predictions", "of": None, "origin": "control", "settings": {},
        "function": "fmri2img.methods.random_training_image.control:random_training_image", "captioner": "git",
    }  # fmt: skip
    wildcards = {name: str(value) for name, value in CELL._asdict().items()}
    log, output = tmp_path / "make.log", tmp_path / "made"
    first = job_of(paths, str(output), params, wildcards, str(log))
    write_job(first, Path(f"{log}.json"))
    images = []
    for _ in range(2):
        ended = run(SCRIPTS / "make.py", f"{log}.json", cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert "training images serve 11 test images" in ended.stdout and not log.exists()
        images.append(np.array(Prediction.open(output).images))
    np.testing.assert_array_equal(*images)

    record = json.loads(Path(f"{log}.json").read_text())
    record["input"]["names"]["recording"] = str(tmp_path / "nowhere")
    Path(f"{log}.json").write_text(json.dumps(record))
    ended = run(SCRIPTS / "make.py", f"{log}.json", cwd=tmp_path)
    assert ended.returncode == 1 and ended.stderr.startswith("Error: ") and len(ended.stderr.splitlines()) == 1


def test_a_script_says_by_hand_what_it_is():
    ended = run(SCRIPTS / "make.py", "--help")
    assert ended.returncode == 0 and "Make a method's Prediction" in ended.stdout
