"""Jobs as forks of the fork server, in runs of Snakemake: the same as jobs that it starts itself."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from snakemake.benchmark import BenchmarkRecord

from fmri2img import fork_server

REPOSITORY = Path(__file__).resolve().parents[2]
SNAKEFILE = """
from fmri2img import fork_server

fork_server.FEWEST, fork_server.PRELOADED = config["fewest"], "fmri2img.fork_server"

onstart:
    fork_server.begin(workflow, "")

rule all:
    input: config["wanted"]
"""
RULE = """
rule {name}:
    output: "{name}.json"
    benchmark: "{name}.tsv"
    priority: {priority}
    threads: {threads}
    resources: **{resources}
    script: "{script}.py"
"""
ASK = """
import json, multiprocessing, os, sys
facts = {
    "environment": {key: value for key, value in os.environ.items() if key != "_"},
    "arguments": [os.path.dirname(path) for path in sys.argv], "folder": os.getcwd(), "name": __name__,
    "path": sys.path, "threads": snakemake.threads, "session": os.getsid(0), "mask": os.umask(0o22),
}
forked = multiprocessing.parent_process() is not None
print("asked")
with open(snakemake.output[0], "w") as file:
    json.dump({"facts": facts, "forked": forked, "server": os.getppid()}, file)
"""
SCRIPTS = {
    "ask": ASK,
    "stop": "import atexit\natexit.register(lambda: open('cleared', 'w'))\nraise SystemExit(3)",
    "fail": "raise ValueError('no such brain')",
    "die": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "lose": "import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(20)\nopen('late', 'w')",
    "wait": (
        "import os, time\nopen('began', 'w').write(str(os.getppid()))\ntry:\n    time.sleep(600)\n"
        "except KeyboardInterrupt:\n    open('interrupted', 'w')\n    raise"
    ),
}
RULES = {
    "ask": ("ask", 1, {}), "other": ("ask", 1, {}), "threads": ("ask", 2, {}), "download": ("ask", 1, {"downloads": 1}),
    "gpu": ("ask", 1, {"gpu": 1}), "stop": ("stop", 1, {}), "fail": ("fail", 1, {}), "die": ("die", 1, {}),
    "lose": ("lose", 1, {}), "wait": ("wait", 1, {}),
}  # fmt: skip


def start(folder, wanted, fewest=1, cores=1):
    """Snakemake in a session of its own. wanted: names of RULES, begun in this order."""
    folder.mkdir()
    rules = [
        RULE.format(name=name, script=script, threads=threads, resources=resources, priority=-wanted.index(name))
        for name, (script, threads, resources) in RULES.items()
        if name in wanted
    ]
    (folder / "Snakefile").write_text(SNAKEFILE + "".join(rules))
    for name, text in SCRIPTS.items():
        (folder / f"{name}.py").write_text(text)
    config = [f"fewest={fewest}", f"wanted={json.dumps([f'{name}.json' for name in wanted])}"]
    # A shell has what it starts in the background ignore Ctrl-C, also if that is the tests.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "snakemake"]
    command += ["--cores", str(cores), "--keep-going", "--config", *config]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "scripts")}
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **output)


def answer(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run with forks and without: folder -> output of Snakemake."""
    wanted = ["ask", "other", "threads", "download", "gpu", "stop", "fail", "die"]
    folders = [tmp_path_factory.mktemp("run") / kind for kind in ("forked", "cold")]
    started = [start(folder, wanted, fewest, cores=2) for folder, fewest in zip(folders, (9, 10), strict=True)]
    return {folder: process.communicate()[0] for folder, process in zip(folders, started, strict=True)}


def test_a_fork_has_what_a_job_started_by_snakemake_has(runs):
    forked, cold = runs
    assert answer(forked, "ask")["forked"] and not answer(cold, "ask")["forked"]
    found, expected = answer(forked, "ask")["facts"], answer(cold, "ask")["facts"]
    for facts, folder in ((found, forked), (expected, cold)):
        assert facts["folder"] == str(folder) and facts.pop("session") != os.getsid(0)
        facts["path"] = [path for path in facts["path"] if "snakemake" not in path]
    as_cold = json.loads(json.dumps(found).replace(str(forked), str(cold)))
    for name in ("PWD", "OLDPWD", "SHLVL"):  # of the shell
        as_cold["environment"].pop(name, None), expected["environment"].pop(name, None)
    assert as_cold == expected


def test_all_forks_come_from_one_process(runs):
    forked, _ = runs
    assert answer(forked, "ask")["server"] == answer(forked, "other")["server"]


@pytest.mark.parametrize("name", ["threads", "download", "gpu"])
def test_a_job_with_more_than_one_thread_a_gpu_or_downloads_is_started_by_snakemake(runs, name):
    forked, _ = runs
    assert not answer(forked, name)["forked"]


def test_a_job_that_fails_is_told_with_its_error_and_clears_up(runs):
    for folder, output in runs.items():
        assert output.count("ValueError: no such brain") == 1 and output.count("asked") == 5
        assert "exit status 3" in output and "SIGKILL" in output
        assert not [path for path in ("stop", "fail", "die") if (folder / f"{path}.json").exists()]
        assert (folder / "cleared").exists()


def test_a_fork_is_measured(runs):
    header, values = ((folder / "ask.tsv").read_text().splitlines() for folder in runs)
    assert header[0] == values[0] and all(float(table[1].split("\t")[0]) >= 0 for table in (header, values))


def test_a_fork_whose_server_is_killed_ends_and_fails_and_the_next_job_has_a_server(tmp_path):
    output, _ = start(tmp_path / "run", ["ask", "lose", "other"]).communicate()
    assert output.count("Error in rule lose") == 1
    before, after = (answer(tmp_path / "run", name) for name in ("ask", "other"))
    assert before["forked"] and after["forked"] and before["server"] != after["server"]
    assert not (tmp_path / "run/late").exists() and not (tmp_path / "run/lose.json").exists()


def until(condition):
    """Wait until a condition holds, which it does soon."""
    while not condition():
        time.sleep(0.05)


@pytest.mark.parametrize("stopped", [signal.SIGINT, signal.SIGKILL])
def test_nothing_runs_on_after_ctrl_c_or_a_killed_group(tmp_path, stopped):
    process = start(tmp_path / "run", ["wait"])
    began = tmp_path / "run/began"
    until(lambda: began.exists() and began.read_text())
    server = psutil.Process(int(began.read_text()))
    forks = server.children()
    os.killpg(process.pid, stopped)
    assert process.wait() != 0
    until(lambda: not any(member.is_running() for member in [server, *forks]))
    assert (tmp_path / "run/interrupted").exists() == (stopped == signal.SIGINT)


def test_a_fork_that_ends_before_it_is_measured_has_succeeded(tmp_path, monkeypatch):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = SimpleNamespace(pid=ended.pid)
    script = SimpleNamespace(bench_record=BenchmarkRecord())
    monkeypatch.setattr(fork_server, "can_fork", lambda script: True)
    monkeypatch.setattr(fork_server, "start", lambda script, path: gone)
    monkeypatch.setattr(fork_server, "ended", lambda fork: 0)
    fork_server.execute_script(script, "job.py")
    assert 0 <= script.bench_record.running_time < 60
    script.bench_record.to_tsv(extended_fmt=False)
