"""Jobs in the image that a site names, through a stand-in for Apptainer that runs commands with this Python."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
# As Apptainer does: the image's variables are set, the PATH is the image's, other variables are the host's.
APPTAINER = """#!/bin/sh
[ "$1" = --version ] && echo "apptainer version 1.4.0" && exit
echo "$@" >> {calls}
while [ "$1" != {image} ]; do shift; done
export APPTAINER_CONTAINER={image} FMRI2IMG_IMAGE={digest} PATH={python}:/usr/bin:/bin
shift
exec "$@"
"""
SPLIT = "results/tiny/splits/shared1000.json"


@pytest.fixture(scope="module")
def digest():
    recipe = (REPOSITORY / "envs/apptainer.def").read_text(encoding="utf-8")
    return re.search(r'FMRI2IMG_IMAGE="(sha256:[0-9a-f]{64})"', recipe)[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digest):
    """A working directory in which the split of the tiny study was made in an image."""
    folder = tmp_path_factory.mktemp("image")
    for name in ("config", "resources"):
        (folder / name).symlink_to(REPOSITORY / name)
    image = folder / "fmri2img.sif"
    image.touch()
    site = yaml.safe_load((REPOSITORY / "slurm/sites/one_partition.yaml").read_text(encoding="utf-8"))
    (folder / "site.yaml").write_text(yaml.safe_dump(site | {"container": str(image)}))
    command = folder / "bin/apptainer"
    command.parent.mkdir()
    python = Path(sys.executable).parent
    command.write_text(APPTAINER.format(calls=folder / "calls", image=image, digest=digest, python=python))
    command.chmod(0o755)
    arguments = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "2"]
    arguments += ["--configfile", "config/tiny.yaml", "--config", f"site={folder / 'site.yaml'}", "--", SPLIT]
    variables = os.environ | {"PATH": f"{command.parent}:{os.environ['PATH']}"}
    run = subprocess.run(arguments, cwd=folder, env=variables, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return folder


def test_jobs_run_in_the_sites_image_and_see_the_gpus(folder):
    assert (folder / SPLIT).is_file()
    calls = (folder / "calls").read_text().splitlines()
    assert calls and all(" --nv " in call for call in calls)
    logs = list((folder / "logs/tiny").rglob("*.log"))
    assert len(calls) == len(logs)


def test_each_job_records_the_image(folder, digest):
    records = list((folder / "logs/tiny").rglob("*.ran.json"))
    assert records
    for record in records:
        assert json.loads(record.read_text())["image"] == f"{digest} ({folder}/fmri2img.sif)"
