"""Datasets other than NSD, from their simulated files to the leaderboard: ridge, its floor and its ceiling."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.splits import UNUSED
from fmri2img.artifacts.stimuli import Stimuli

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


@pytest.mark.parametrize(
    "dataset, folder, subject",
    [("god", "images", "Subject1"), ("mosaic", "pictures/BOLD5000", "sub-01_BOLD5000")],
)
def test_what_is_downloaded_is_planned(tmp_path, dataset, folder, subject):
    root = tmp_path / "data"
    (root / folder).mkdir(parents=True)
    section = {"source": "download", "root": str(root), **({"images": folder} if dataset == "god" else {})}
    study = {"study": dataset, "dataset": dataset, "subjects": [subject], "split": STUDIES[dataset]["split"]}
    study |= {dataset: section, "sessions": ["all"], "methods": ["ridge"], "metrics": ["pixcorr"]}
    study["split"] = study["split"].removesuffix("_artificial")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    planned = run(tmp_path, f"results/{dataset}/recordings/{subject}", "--dry-run", "--quiet", "rules")
    assert planned.returncode == 0, planned.stdout[-3000:] + planned.stderr[-6000:]
    downloads = {"god": 1, "mosaic": 6}[dataset]  # betas; and a table, three lists of the split, the parcellation
    assert f"{dataset}_acquire{downloads}" in "".join(planned.stdout.split())


def test_a_pool_has_recordings_without_pictures(results):
    if results.name == "god":
        recording = Recording.open(results / "recordings/hcp/100002")
        assert recording.betas.shape == (40, 66) and (recording.trials["image_id"] == -1).all()
