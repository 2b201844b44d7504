"""A simulated tree, served over S3 and fetched first, gives the same artifacts byte for byte without a network."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from offline import offline
from servers import BUCKET, s3_server, serve_tree

from fmri2img.datasets import lockfile
from fmri2img.datasets.nsd import layout

REPOSITORY = Path(__file__).resolve().parents[2]

SUBJECTS = {"subj01": 3, "subj02": 2}
TARGETS = ["results/{study}/recordings/subj01", "results/{study}/recordings/subj02", "results/{study}/stimuli"]

# The whole workflow, for an NSD of two short participations in small volumes, which asks for little room on the disk.
SNAKEFILE = f"""
import sys

sys.path.insert(0, "{REPOSITORY / "scripts"}")
from fmri2img.datasets.nsd.dataset import Dataset
from fmri2img.datasets.nsd import layout

layout.SESSIONS.clear()
layout.SESSIONS.update({SUBJECTS | {"subj03": 2, "subj04": 2}})
Dataset.bytes_of = lambda self, study: {{}}


include: "{REPOSITORY / "workflow/Snakefile"}"
"""
SIMULATION = {
    "seed": 7,
    "stimuli": 460,
    "image_size": 32,
    "trials_per_run": [11, 9],
    "subjects": {
        "subj01": {"sessions": 3, "dims": [12, 14, 10], "ncsnr": 0.6},
        "subj02": {"sessions": 2, "dims": [11, 15, 10], "ncsnr": 0.5},
        "subj03": {"sessions": 2},  # of the default configuration, and not of the study
        "subj04": {"sessions": 2},
    },
}


def prepare(folder: Path, study: str, dataset: dict) -> None:
    """Write a study into the new working directory `folder`."""
    folder.mkdir()
    (folder / "Snakefile").write_text(SNAKEFILE)
    settings = {
        "study": study,
        "nsd": dataset | {"transfer": ["synthetic"]},
        "subjects": list(SUBJECTS),
        "sessions": [1, "all"],
        "methods": ["ridge"],
        "metrics": ["pixcorr"],
        "retrieval_only": [],
    }
    (folder / "study.json").write_text(json.dumps(settings))


def make(folder: Path, targets: list[str], where=list) -> str:
    """Make targets of the study in `folder`; where: what turns the command into one that runs elsewhere."""
    command = [sys.executable, "-m", "snakemake", "--configfile", "study.json", "--cores", "2", "--show-failed-logs"]
    run = subprocess.run(where([*command, "--", *targets]), cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


def targets_of(study: str) -> list[str]:
    return [target.format(study=study) for target in TARGETS]


def artifacts(folder: Path, study: str) -> dict[str, bytes]:
    """Content of every file of TARGETS, by its path below them."""
    found = {}
    for target in TARGETS:
        base = folder / target.format(study=study)
        for path in base.rglob("*"):
            if path.is_file() and path.name != ".snakemake_timestamp":
                found[f"{base.name}/{path.relative_to(base)}"] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "run"
    prepare(folder, "here", {"source": "simulated", "root": "tree", "simulation": SIMULATION})
    make(folder, targets_of("here"))
    return folder


def test_recordings_and_stimuli_of_an_acquired_tree_are_those_of_the_tree_on_disk(simulated, tmp_path):
    annotations = tmp_path / "annotations.zip"
    with zipfile.ZipFile(annotations, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((simulated / "tree" / "annotations").iterdir()):
            archive.write(path, f"annotations/{path.name}")
    # NSD's bucket has no annotations; COCO's archive does.
    served = tmp_path / "served"
    shutil.copytree(simulated / "tree", served, ignore=lambda _, names: [n for n in names if n == "annotations"])
    shutil.copy(annotations, served / "coco.zip")
    # The user's own copy has the second subject's betas, in NSD's other form.
    for path in sorted((simulated / "tree").rglob("nsddata_betas/ppdata/subj02/*/*_RR/betas_session*.nii.gz")):
        own = tmp_path / "copy" / path.relative_to(simulated / "tree")
        own.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, own)
    with s3_server() as (url, owner):
        serve_tree(owner, served)
        nsd = {"terms_accepted": True, "endpoint": url, "coco_url": f"{url}/{BUCKET}/coco.zip"}
        nsd["copy"] = str(tmp_path / "copy")
        prepare(tmp_path / "run", "there", {"source": "bucket", "root": "tree", "bucket": nsd})
        fetched = make(tmp_path / "run", ["fetch"])
    assert f"NSD: 2 files are linked from {tmp_path / 'copy'} (key nsd.bucket.copy): betas of subj02" in fetched
    listed = "betas of subj01, sessions 1-3; betas of subj01, subj02 in NSD-Synthetic; the stimuli; "
    assert listed in fetched and "GB: COCO's annotations." in fetched
    assert "rule acquire_betas" in fetched and "rule mask_session" not in fetched
    printed = make(tmp_path / "run", targets_of("there"), offline)
    assert "rule mask_session" in printed and "rule acquire" not in printed
    here, there = artifacts(simulated, "here"), artifacts(tmp_path / "run", "there")
    assert {name.split("/")[0] for name in here} == {"subj01", "subj02", "stimuli"}
    assert [name for name in here if here[name] != there.get(name)] == [] and set(there) == set(here)

    tree = tmp_path / "run" / "tree"
    assert not list((tree / "nsddata_betas").rglob("betas_*.*"))  # masked, then deleted
    assert lockfile.read(tree, layout.experiment_betas("subj02", "b3", layout.SYNTHETIC)) is not None
    lockfile.verify(tree, layout.experiment_valid("subj02", layout.SYNTHETIC))
    assert len(list((tmp_path / "copy").rglob("betas_session*.nii.gz"))) == 2  # links to them were
    for subject, sessions in SUBJECTS.items():
        for session in range(1, sessions + 1):
            downloaded = lockfile.read(tree, layout.betas(subject, "b3", session)) is not None
            assert downloaded == (subject == "subj01")
    lockfile.verify(tree, layout.STIMULI)
