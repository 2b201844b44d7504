"""Start trainings in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
from safetensors.numpy import load_file

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {
    "PYTHONPATH": f"{REPOSITORY / 'scripts'}:{REPOSITORY / 'tests/helpers'}",
    "OMP_NUM_THREADS": "1",
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # DeepSpeed looks for ninja
}
MORE = ("noise", "pause", "nan_at", "signal_at", "out_of_memory_at", "killed_at")  # settings of the task
TORCHRUN = (sys.executable, "-m", "fmri2img.training.torchrun", "--standalone", "--nproc_per_node", "2")


def toy(kind="regression", dropout=0.0, **training) -> dict:
    """Configuration of a training of 4 epochs of 5 steps of 8 samples."""
    more = {key: training.pop(key) for key in MORE if key in training}
    common = {"epochs": 4, "batch": 8, "learning_rate": 1e-2, "precision": "fp32", "log_every": 5}
    return {
        "task": "training_tasks:Toy",
        "settings": {"kind": kind, "dropout": dropout, **more},
        "training": {**common, **training},
    }


def start(folder: Path, config: dict, launcher=(sys.executable,), options=()) -> subprocess.Popen:
    """scripts/train.py with output folder/out and work folder/work. options: further arguments of the script."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    command = [*launcher, str(REPOSITORY / "scripts/train.py"), "--config", "config.json", "--output", "out"]
    return subprocess.Popen(
        [*command, "--work", "work", *options],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_pairs(folder: Path, runs: list[tuple[str, dict]]) -> str:
    """Train (name, configuration) in turn in the same two processes: output folder/name, work folder/name_work.

    A name that comes again goes on with what it left when it was interrupted. Returns what was printed.
    """
    listed = [[config, str(folder / name), str(folder / f"{name}_work")] for name, config in runs]
    (folder / "runs.json").write_text(json.dumps(listed))
    command = [*TORCHRUN, str(REPOSITORY / "tests/helpers/training_runs.py"), str(folder / "runs.json")]
    done = subprocess.run(command, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


def weights(output: Path) -> dict[str, bytes]:
    """The trained weights, to the bit."""
    return {name: value.tobytes() for name, value in load_file(output / "model.safetensors").items()}


def table(output: Path) -> pd.DataFrame:
    return pd.read_parquet(output / "log.parquet")
