import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SCRIPT = """
import atexit, sys
from types import SimpleNamespace
from fmri2img.errors import UserError
from fmri2img.job import start

start(SimpleNamespace(log=[sys.argv[1]], rule="some_rule"))
atexit.register(lambda: print("cleared up"))
print("begun", end=" ")
{last}
"""


@pytest.mark.parametrize(
    ("last", "status", "logged", "told"),
    [
        ("print('done')", 0, "begun done\ncleared up\n", ""),
        ("raise UserError('no such file')", 1, "begun Error: no such file\ncleared up\n", "Error: no such file\n"),
    ],
)
def test_a_script_ends_with_its_status_and_all_it_said_in_the_log(tmp_path, last, status, logged, told):
    log = tmp_path / "log"
    command = [sys.executable, "-c", SCRIPT.format(last=last), log]
    run = subprocess.run(command, env={"PYTHONPATH": str(SCRIPTS)}, capture_output=True, text=True)
    assert (run.returncode, log.read_text(), run.stderr) == (status, logged, told)


def test_an_unexpected_error_leaves_its_traceback_in_the_log(tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", SCRIPT.format(last="1 / 0"), log]
    run = subprocess.run(command, env={"PYTHONPATH": str(SCRIPTS)}, capture_output=True, text=True)
    assert run.returncode == 1 and "Traceback" in log.read_text()
    assert run.stderr == f"Error in rule some_rule: ZeroDivisionError: division by zero (see {log})\n"
