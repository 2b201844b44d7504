"""A small study of one subject, which several tests look at once it has run."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = {
    "study": "small",
    "subjects": ["subj02"],
    "sessions": [1, "all"],
    "seeds": [0],
    "methods": ["mindeye2_blended", "ridge", "ridge_nearest_neighbour", "ridge_shuffled_brain"],
    "retrieval_only": [],
    "mindeye2": {
        "pretraining": {"subjects": ["subj04"], "training": {"epochs": 2}},
        "finetuning": {
            "adapter_start": "random",
            "training": {"epochs": 2, "epoch_steps": 0, "batch": 48, "learning_rate": 5e-3},
        },
        "decoding": {"prior_steps": 3},
    },
    "refinement": {"steps": 3, "start": 1},
    "generation": {"steps": 3},
    "metrics": ["pixcorr", "identification_demo_clip", "retrieval_image", "brain_correlation_visual_cortex"],
    "statistics": {"resamples": 200},
}


def snakemake(directory: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--directory", str(directory)]
    command += ["--configfile", str(directory / "small.yaml"), "--show-failed-logs", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-6000:]
    return result.stdout + result.stderr
