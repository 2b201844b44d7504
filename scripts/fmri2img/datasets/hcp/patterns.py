"""HCP's resting state as patterns: volumes averaged over windows, voxels of V1 to V4 in this order."""

from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.artifacts.recording import NO_IMAGE, Recording
from fmri2img.artifacts.splits import TRAIN
from fmri2img.datasets import checksums
from fmri2img.datasets.normalise import normalised
from fmri2img.datasets.numpy_files import open_archive
from fmri2img.errors import UserError

REGIONS = ("V1", "V2", "V3", "V4")


def read_volumes(path: str | Path) -> tuple[np.ndarray, dict[str, int]]:
    """Volumes float32 (volumes, voxels) of all regions, and the number of voxels of each. Raises UserError."""
    with open_archive(path) as arrays:
        blocks = {name: arrays.numbers(name, (None, None)).astype(np.float32) for name in REGIONS}
    lengths = {len(block) for block in blocks.values()}
    if len(lengths) > 1:
        raise UserError(
            f"{path}: V1 to V4 have {sorted(lengths)} volumes; they must have equally many; replace the file"
        )
    return np.concatenate(list(blocks.values()), axis=1), {name: block.shape[1] for name, block in blocks.items()}


def averaged_windows(volumes: np.ndarray, per_window: int) -> np.ndarray:
    """Means over windows of at least `per_window` volumes, as equal as possible: float32 (windows, voxels).

    As in MinD-Vis: 1,200 volumes make 120 windows of 10; what is left over lengthens the first windows.
    """
    windows = np.array_split(volumes, max(1, len(volumes) // per_window))
    return np.stack([window.mean(axis=0, dtype=np.float64) for window in windows]).astype(np.float32)


def write_recording(subject: str, path: str | Path, per_window: int, output: str | Path) -> None:
    """Write a Recording whose trials are windows without a picture.

    subject: with the name of the pool, as hcp/100307. One mean and one deviation are used for all voxels together, as
    in MinD-Vis. Raises UserError when the file is damaged or constant.
    """
    volumes, voxels = read_volumes(path)
    patterns = averaged_windows(volumes, per_window)
    count = len(patterns)
    z, keep, left_out = normalised(patterns, np.ones(count), np.ones(count, bool), "global", str(path))
    number = np.flatnonzero(keep)
    regions = np.repeat(list(voxels), list(voxels.values()))[keep]
    trials = pd.DataFrame(
        {
            "trial": np.arange(count),
            "session": 1,
            "run": 1,
            "image_id": NO_IMAGE,
            "repeat": np.arange(count),
            "part": TRAIN,
        }
    )
    places = {"x": number, "y": np.zeros_like(number), "z": np.zeros_like(number), "ncsnr": np.zeros(len(number))}
    table = pd.DataFrame(places | {name: regions == name for name in REGIONS})
    metadata = {
        "subject": subject,
        "split": None,
        "split_sha256": None,
        "test_sets": [],
        "volumes_per_window": per_window,
        "voxels_left_out": left_out,
        "sources_sha256": checksums.checksums({f"{subject}/{Path(path).name}": path}),
    }
    with Recording.writer(output) as recording:
        recording.betas(*z.shape)[:] = z
        recording.finish(trials, table, metadata)
    print(f"{subject}: {len(volumes)} volumes, {count} windows, {z.shape[1]} voxels; left out of them: {left_out}")
