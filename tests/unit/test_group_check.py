"""The check that no group of jobs waits for itself."""

import subprocess
import sys

import pytest

from fmri2img.paths import SCRIPTS

WORKFLOW = """
import sys
sys.path.insert(0, {scripts!r})
from fmri2img.group_check import check_groups_in_one_pass
check_groups_in_one_pass()

rule last:
    input: "b", "other"
    output: "last"
    group: "together"
    shell: "touch {{output}}"

rule first:
    output: "a"
    group: "together"
    shell: "touch {{output}}"

rule between:
    input: "a"
    output: "b"
    {group}
    shell: "touch {{output}}"

rule other:
    input: "a"
    output: "other"
    group: "together"
    shell: "touch {{output}}"
"""


@pytest.mark.parametrize(("group", "refused"), [("", True), ('group: "together"', False)])
def test_a_group_that_waits_for_itself_is_refused_with_the_remedy(group, refused, tmp_path):
    (tmp_path / "Snakefile").write_text(WORKFLOW.format(scripts=str(SCRIPTS), group=group))
    command = [sys.executable, "-m", "snakemake", "-n", "last"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode != 0) == refused, done.stdout + done.stderr
    assert ("Ensure that" in done.stdout + done.stderr) == refused
