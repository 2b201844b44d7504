"""Datasets other than NSD, from their simulated files to the leaderboard: ridge, its floor and its ceiling."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from servers import BUCKET, REGION, s3_server, serve_tree

from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.splits import UNUSED
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.datasets.mosaic import layout, simulator
from fmri2img.datasets.mosaic.settings import Simulation

REPOSITORY = Path(__file__).resolve().parents[2]
STUDIES = {
    "god": {
        "split": "classes",
        "subjects": ["Subject1"],
        "god": {
            "source": "simulated",
            "root": "data/god",
            "sessions": 2,
            "simulation": {"seed": 3, "subjects": 1, "classes": 16, "voxels": 120, "ncsnr": 0.9},
        },
        "pools": ["hcp"],
        "hcp": {"source": "simulated", "root": "data/hcp", "simulation": {"seed": 3, "subjects": 2}},
    },
    "bold5000": {
        "split": "repeated",
        "subjects": ["CSI1"],
        "bold5000": {
            "source": "simulated",
            "root": "data/bold5000",
            "image_size": 64,
            "simulation": {"seed": 3, "subjects": 1, "sessions": 2, "voxels": 120, "ncsnr": 0.9},
        },
    },
    "laion_fmri": {
        "split": "random_0",
        "subjects": ["sub-01"],
        "laion_fmri": {
            "source": "simulated",
            "root": "data/laion",
            "image_size": 64,
            "simulation": {"seed": 3, "ncsnr": 0.9},
        },
    },
    "mosaic": {
        "split": "filtered_artificial",
        "subjects": ["sub-01_NSD"],
        "mosaic": {
            "source": "simulated",
            "root": "data/mosaic",
            "image_size": 64,
            "simulation": {"seed": 3, "subjects": ["sub-01_NSD", "sub-01_BOLD5000"], "ncsnr": 0.9},
        },
    },
}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "2"]
    command += ["--configfile", "study.yaml", "--show-failed-logs", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module", params=STUDIES)
def results(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    study = {
        "study": request.param,
        "dataset": request.param,
        "sessions": ["all"],
        "methods": ["ridge", "ridge_shuffled_brain", "repeat_ceiling"],
        "retrieval_only": [],
        "metrics": ["pixcorr", "retrieval_image"],
        "generation": {"steps": 2},
        "statistics": {"resamples": 100},
        **STUDIES[request.param],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    pools = [f"results/{request.param}/recordings/hcp/100002"] if "pools" in study else []
    made = run(folder, "make_tables", *pools)
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-6000:]
    return folder / "results" / request.param


def test_ridge_lies_between_its_floor_and_its_ceiling(results):
    board = pd.read_csv(results / "tables/leaderboard.csv").pivot(index="method", columns="metric", values="mean")
    retrieval = board["retrieval_image"]
    assert retrieval["ridge_shuffled_brain"] + 0.2 < retrieval["ridge"] <= retrieval["repeat_ceiling"]
    assert board.loc["ridge", "pixcorr"] > board.loc["ridge_shuffled_brain", "pixcorr"] + 0.1


def test_no_test_picture_is_trained_on(results):
    recording = Recording.open(results / "recordings" / STUDIES[results.name]["subjects"][0])
    trained = set(recording.training_ids(recording.n_sessions))
    tested = set().union(*(recording.test_ids(name) for name in recording.test_sets))
    trials = recording.trials
    unused = set(trials.loc[trials["part"] == UNUSED, "image_id"])  # those outside of the split
    assert trained and tested and not trained & (unused | tested)
    assert set(Stimuli.open(results / "stimuli").ids) == trained | unused | tested
    assert bool(unused) == (results.name in ("laion_fmri", "mosaic"))


def test_gods_downloads_are_planned(tmp_path):
    (tmp_path / "data/images").mkdir(parents=True)
    section = {"source": "download", "root": "data", "images": "images"}
    study = {"study": "god", "dataset": "god", "subjects": ["Subject1"], "split": "classes", "god": section}
    (tmp_path / "study.yaml").write_text(
        yaml.safe_dump(study | {"sessions": ["all"], "methods": ["ridge"], "metrics": ["pixcorr"]})
    )
    planned = run(tmp_path, "results/god/recordings/Subject1", "--dry-run", "--quiet", "rules")
    assert planned.returncode == 0, planned.stdout[-3000:] + planned.stderr[-6000:]
    assert "god_acquire1" in "".join(planned.stdout.split())


def test_what_a_bucket_has_becomes_a_recording(tmp_path):
    tree, subject = tmp_path / "bucket", "sub-01_GOD"
    one = Simulation(seed=2, subjects=[subject], training=24, tested=6, image_size=16, grayordinates=120)
    simulator.simulate(tree, tmp_path / "pictures", one)
    parcels = tmp_path / "data" / layout.PARCELS  # comes from another server, which a test does not ask
    parcels.parent.mkdir(parents=True)
    (tree / layout.PARCELS).rename(parcels)
    study = {"study": "mosaic", "dataset": "mosaic", "subjects": [subject], "split": "filtered", "sessions": ["all"]}
    with s3_server() as (url, owner):
        serve_tree(owner, tree)
        where = {"bucket": BUCKET, "region": REGION, "endpoint": url}
        own = {"source": "download", "root": "data", "pictures": "pictures", "image_size": 16, "bucket": where}
        (tmp_path / "study.yaml").write_text(
            yaml.safe_dump(study | {"mosaic": own, "methods": ["ridge"], "metrics": ["pixcorr"]})
        )
        made = run(tmp_path, f"results/mosaic/recordings/{subject}")
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-6000:]
    assert f"5 files are downloaded from bucket {BUCKET}" in made.stdout + made.stderr
    assert len(list((tmp_path / "data/.lock").rglob("*.json"))) == 5  # betas, a table, three lists
    recording = Recording.open(tmp_path / "results/mosaic/recordings" / subject)
    assert len(recording.trials) == 24 + 6 * 4 and (recording.trials["part"] == UNUSED).sum() == simulator.DOUBLES


def test_a_pool_has_recordings_without_pictures(results):
    if results.name == "god":
        recording = Recording.open(results / "recordings/hcp/100002")
        assert recording.betas.shape == (40, 66) and (recording.trials["image_id"] == -1).all()
