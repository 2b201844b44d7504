"""NSD's rules of acquire.smk run by Snakemake: downloads are masked and deleted, a user's files never are.

Snakemake deletes a temp() file after its last use even when it did not make it; the first test pins that down, as
it is the reason for `nsd.bucket.copy` and for the check of the tree.
"""

import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from servers import s3_server, serve_tree

from fmri2img.datasets import lockfile
from fmri2img.datasets.nsd import layout

REPOSITORY = Path(__file__).resolve().parents[2]
NSD = REPOSITORY / "scripts/fmri2img/datasets/nsd"
BETAS = [layout.betas("subj01", "b3", session) for session in (1, 2)]
MASK = layout.roi("subj01", "nsdgeneral")

# The least that acquire.smk needs around it, and a rule that uses betas as mask_session does.
SNAKEFILE = f"""
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from snakemake.exceptions import WorkflowError

os.environ["PYTHONPATH"] = "{REPOSITORY / "scripts"}"
sys.path.insert(0, os.environ["PYTHONPATH"])
from fmri2img.datasets.nsd.dataset import Dataset
from fmri2img.datasets.nsd.settings import Settings
from fmri2img.errors import UserError
from fmri2img.resources import ResourceClasses

resources_of = ResourceClasses("laptop")
needs, threads_of = resources_of.needs, resources_of.threads
submitted_with = str
study = SimpleNamespace(dataset=Dataset("nsd", Path("{NSD}"), Settings.read(config["nsd"])))


pathvars:
    logs="logs"


rule all:
    default_target: True
    input:
        "masked.txt",


include: "{NSD / "rules/acquire.smk"}"


rule mask:
    input:
        betas=[study.dataset.tree(key) for key in {BETAS}],
        mask=study.dataset.tree("{MASK}"),
    output:
        "masked.txt",
    shell:
        "cat {{input}} > {{output}}"
"""


@pytest.fixture(scope="module")
def nsd(tmp_path_factory):
    """An S3 server with two sessions and a mask, and the folder they were uploaded from."""
    original = tmp_path_factory.mktemp("original")
    for session, key in enumerate(BETAS):
        content = io.BytesIO()
        with h5py.File(content, "w") as file:
            file["betas"] = np.full((4, 2, 3, 5), session, "<i2")
        (original / key).parent.mkdir(parents=True, exist_ok=True)
        (original / key).write_bytes(content.getvalue())
    (original / MASK).parent.mkdir(parents=True)
    (original / MASK).write_bytes(gzip.compress(b"mask"))
    with s3_server() as (url, owner):
        serve_tree(owner, original)
        yield url, original


def snakemake(folder: Path, url: str, *arguments, snakefile: str = SNAKEFILE, **nsd) -> subprocess.CompletedProcess:
    (folder / "Snakefile").write_text(snakefile)
    settings = {"terms_accepted": True, "endpoint": url} | nsd
    (folder / "config.json").write_text(json.dumps({"nsd": {"source": "bucket", "root": "tree", "bucket": settings}}))
    command = [sys.executable, "-m", "snakemake", "--configfile", "config.json", "--cores", "2", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_snakemake_deletes_temporary_files_that_it_did_not_make(tmp_path):
    (tmp_path / "own.txt").write_text("the user's")
    snakefile = """
rule all:
    input: "made.txt"
rule get:
    output: temp("own.txt")
    shell: "echo downloaded > {output}"
rule make:
    input: "own.txt"
    output: "made.txt"
    shell: "cat {input} > {output}"
"""
    run = snakemake(tmp_path, "", snakefile=snakefile)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "made.txt").read_text() == "the user's" and not (tmp_path / "own.txt").exists()


def test_downloaded_betas_are_used_deleted_and_not_downloaded_again(tmp_path, nsd):
    url, original = nsd
    run = snakemake(tmp_path, url)
    assert run.returncode == 0, run.stderr
    keys = [*BETAS, MASK]
    assert (tmp_path / "masked.txt").read_bytes() == b"".join((original / key).read_bytes() for key in keys)
    kept = [name for name in files(tmp_path / "tree") if not name.startswith(".lock/")]
    assert kept == [MASK]
    assert all(lockfile.read(tmp_path / "tree", key) for key in keys)
    again = snakemake(tmp_path, url, region="us-west-2", copy="elsewhere")
    assert "Nothing to be done" in again.stderr


def test_betas_that_were_not_masked_yet_are_used_by_the_next_run(tmp_path, nsd):
    url, original = nsd
    # Snakemake touches a job's outputs when it ends: more than a second after the download here.
    slow = SNAKEFILE + '\n\nshell.suffix(" && sleep 1.1")\n'
    failing = slow.replace("cat {input} >", "test -e ready && cat {input} >")
    run = snakemake(tmp_path, url, snakefile=failing)
    assert run.returncode != 0 and "not downloaded by this workflow" not in run.stderr
    betas = [tmp_path / "tree" / key for key in BETAS]
    downloaded = [path.stat() for path in betas]
    (tmp_path / "ready").touch()
    run = snakemake(tmp_path, url, "--notemp", snakefile=failing)
    assert run.returncode == 0, run.stderr
    keys = [*BETAS, MASK]
    assert (tmp_path / "masked.txt").read_bytes() == b"".join((original / key).read_bytes() for key in keys)
    kept = [path.stat() for path in betas]
    assert [(s.st_ino, s.st_mtime) for s in kept] == [(s.st_ino, s.st_mtime) for s in downloaded]
    again = snakemake(tmp_path, url, snakefile=failing)
    assert "Nothing to be done" in again.stderr, again.stderr
    # A copy of the user's takes the place of one of them.
    betas[1].unlink()
    betas[1].write_bytes((original / BETAS[1]).read_bytes())
    run = snakemake(tmp_path, url, snakefile=failing)
    assert run.returncode != 0 and "betas_session02.hdf5: not downloaded by this workflow" in run.stderr
    assert betas[1].read_bytes() == (original / BETAS[1]).read_bytes()


def test_a_refused_download_is_asked_for_once(tmp_path, nsd):
    url, _ = nsd
    missing = layout.roi("subj02", "nsdgeneral")
    run = snakemake(tmp_path, url, f"tree/{missing}")
    assert run.returncode != 0
    assert run.stderr.count("404, there is no such object") == 1


def test_a_newer_checkout_does_not_download_again(tmp_path, nsd):
    url, original = nsd
    own = tmp_path / "tree" / MASK
    own.parent.mkdir(parents=True)
    own.write_bytes((original / MASK).read_bytes())
    os.utime(own, (10**9, 10**9))  # older than every file of the repository
    run = snakemake(tmp_path, url)
    assert run.returncode == 0, run.stderr
    assert own.stat().st_mtime == 10**9 and lockfile.read(tmp_path / "tree", MASK) is None


def test_a_users_betas_in_the_tree_stop_the_run_and_stay(tmp_path, nsd):
    url, original = nsd
    own = tmp_path / "tree" / BETAS[0]
    own.parent.mkdir(parents=True)
    own.write_bytes((original / BETAS[0]).read_bytes())
    run = snakemake(tmp_path, url)
    assert run.returncode != 0
    assert "not downloaded by this workflow" in run.stderr and "nsd.bucket.copy" in run.stderr
    assert "Traceback" not in run.stderr
    assert own.read_bytes() == (original / BETAS[0]).read_bytes()


def test_a_users_copy_is_linked_used_and_left_as_it_was(tmp_path, nsd):
    url, original = nsd
    copy = tmp_path / "copy"
    (copy / BETAS[0]).parent.mkdir(parents=True)
    (copy / BETAS[0]).write_bytes((original / BETAS[0]).read_bytes())
    os.utime(copy / BETAS[0], (10**9, 10**9))
    before = files(copy)
    for arguments in ([], ["--forceall"]):
        run = snakemake(tmp_path, url, *arguments, copy="copy")
        assert run.returncode == 0, run.stderr
        assert files(copy) == before and (copy / BETAS[0]).stat().st_mtime == 10**9
    assert lockfile.read(tmp_path / "tree", BETAS[0]) is None  # not downloaded
    assert lockfile.read(tmp_path / "tree", BETAS[1]) is not None


def test_a_failed_download_tells_why_in_one_line(tmp_path, nsd):
    url, _ = nsd
    run = snakemake(tmp_path, url, f"tree/{MASK}", terms_accepted=False)
    assert run.returncode != 0
    assert "nsd.bucket.terms_accepted" in run.stderr
    assert not (tmp_path / "tree" / MASK).exists()
