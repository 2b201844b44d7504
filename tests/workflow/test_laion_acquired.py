"""A simulated LAION-fMRI, served as its bucket is and fetched one session at a time, ends in the same artifacts."""

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from servers import REGION, s3_server

from fmri2img.artifacts.anatomy import Anatomy
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.datasets import lockfile
from fmri2img.datasets.laion_fmri import layout, simulator
from fmri2img.datasets.laion_fmri.embeddings import read_embeddings, read_names
from fmri2img.datasets.laion_fmri.regions import list_regions
from fmri2img.datasets.laion_fmri.settings import Simulation
from fmri2img.datasets.laion_fmri.volumes import Regions

REPOSITORY = Path(__file__).resolve().parents[2]
BUCKET, SUBJECT = "laion-fmri", "sub-01"
TARGETS = [
    f"masked/{SUBJECT}/session01.npy",
    "stimuli",
    f"anatomy/{SUBJECT}",
    "embeddings/laion_clip",
    "splits/tau.json",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Path, str]:
    """The tree that was served, the folder of the run, and what the run printed."""
    served, folder = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("run")
    simulator.simulate(served, Simulation(seed=4, unique=30, image_size=32, sessions=2))
    # The pictures are not public: the user has them.
    (folder / "copy/stimuli").mkdir(parents=True)
    shutil.move(served / layout.PICTURES, folder / "copy" / layout.PICTURES)
    with s3_server() as (url, owner):
        owner.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        owner.put_bucket_acl(Bucket=BUCKET, ACL="public-read")
        for path in sorted(path for path in served.rglob("*") if path.is_file()):
            key = path.relative_to(served).as_posix()
            owner.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes(), ACL="public-read")
        bucket = {"endpoint": url, "splits_url": f"{url}/{BUCKET}", "copy": str(folder / "copy")}
        study = {
            "study": "fetched",
            "dataset": "laion_fmri",
            "laion_fmri": {
                "source": "bucket",
                "root": "tree",
                "image_size": 32,
                "bucket": bucket,
                "sessions": {SUBJECT: 1},
            },
            "subjects": [SUBJECT],
            "sessions": ["all"],
            "split": "tau",
            "methods": ["ridge"],
            "retrieval_only": [],
            "metrics": ["pixcorr"],
        }
        # The machine that runs the tests may have less disk space than eight sessions of the real data need.
        (folder / "Snakefile").write_text(
            f'import sys\n\nsys.path.insert(0, "{REPOSITORY / "scripts"}")\n'
            "from fmri2img.datasets.laion_fmri.dataset import Dataset\n\n"
            "Dataset.bytes_of = lambda self, study: {}\n\n\n"
            f'include: "{REPOSITORY / "workflow/Snakefile"}"\n'
        )
        (folder / "study.yaml").write_text(yaml.safe_dump(study))
        targets = [f"results/fetched/{target}" for target in TARGETS]
        command = [sys.executable, "-m", "snakemake", "--configfile", "study.yaml", "--cores", "2", "--keep-going"]
        run = subprocess.run([*command, "--", *targets], cwd=folder, capture_output=True, text=True)
    return served, folder, run.stdout + run.stderr


def test_a_session_is_masked_and_then_deleted(finished):
    served, folder, printed = finished
    masked = np.load(folder / f"results/fetched/masked/{SUBJECT}/session01.npy")
    mask = Regions(list_regions(SUBJECT, served), served).mask(layout.GENERAL).values
    whole = np.asanyarray(nibabel.load(served / layout.betas(SUBJECT, 1)).dataobj)
    np.testing.assert_array_equal(masked, whole[mask].T)
    assert not (folder / "tree" / layout.betas(SUBJECT, 1)).exists()
    assert lockfile.read(folder / "tree", layout.betas(SUBJECT, 1)).sha256
    assert not list((folder / "tree").rglob("*ses-02*")), printed  # beyond laion_fmri.sessions


def test_the_run_says_what_it_gets_from_where(finished):
    _, folder, printed = finished
    assert f"LAION-fMRI: 1 file is linked from {folder / 'copy'}: pictures." in printed
    assert "betas of sub-01, session 1;" in printed and "downloaded from s3://laion-fmri, about 1.4 GB" in printed


def test_stimuli_and_embeddings_are_joined_by_name(finished):
    served, folder, _ = finished
    stimuli = Stimuli.open(folder / "results/fetched/stimuli")
    names = read_names(served / layout.embeddings("CLIP"))
    assert [names[image_id] for image_id in stimuli.ids] == stimuli.table["name"].tolist()
    assert stimuli.images.shape[1:] == (32, 32, 3) and set(stimuli.table["source"]) > {"LAION", "THINGS", "NSD"}
    brought = Embeddings.open(folder / "results/fetched/embeddings/laion_clip")
    expected = read_embeddings(served / layout.embeddings("CLIP"), stimuli.table["name"].tolist())
    np.testing.assert_array_equal(brought.tokens[:, 0], expected)
    assert Anatomy.open(folder / f"results/fetched/anatomy/{SUBJECT}").brain.sum() > 100


def test_a_split_that_is_not_the_published_one_is_refused(finished):
    _, folder, printed = finished
    assert not (folder / "results/fetched/splits/tau.json").exists()
    assert "sub-01/tau.json: is not a split that the authors published" in printed
