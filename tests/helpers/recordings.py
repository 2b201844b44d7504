"""A recording of a few trials, for tests that need its tables and not its signal."""

from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.artifacts.recording import Recording


def small_recording(path: Path, subject: str, voxels: int) -> Path:
    """Three sessions of three trials; the second of each is a test image's, image 0 is seen in two sessions."""
    trials = pd.DataFrame(
        {
            "trial": np.arange(9),
            "session": np.repeat([1, 2, 3], 3),
            "run": 1,
            "image_id": [0, 90, 1, 0, 91, 2, 3, 92, 4],
            "repeat": [0, 0, 0, 1, 0, 0, 0, 0, 0],
            "part": ["train", "test", "train"] * 3,
        }
    )
    places = pd.DataFrame({"x": np.arange(voxels), "y": 0, "z": 0, "ncsnr": np.ones(voxels)})
    metadata = {"subject": subject, "split": "shared1000", "split_sha256": "0" * 64, "test_sets": ["test"]}
    with Recording.writer(path) as writer:
        writer.betas(len(trials), voxels)[:] = 0
        writer.finish(trials, places, metadata)
    return path
