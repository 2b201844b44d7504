"""One subject's responses -> Recording."""

from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.splits import TRAIN, Split
from fmri2img.artifacts.test_images import TestImages
from fmri2img.datasets.god.responses import Responses
from fmri2img.datasets.normalise import noise_ceiling, normalised
from fmri2img.errors import UserError


def write_recording(
    subject: str, found: Responses, image_ids: dict[str, int], split: Split, sessions: int, options: dict,
    sources: dict[str, str], output: str | Path,
) -> TestImages:  # fmt: skip
    """Z-score the responses, write the Recording and return the subject's test images.

    image_ids: name of a picture -> image_id; sessions: that the training trials are divided into; options:
    configuration `god.betas`; sources: name of a source file -> SHA-256. Raises UserError when a picture is not among
    the stimuli, or the split does not hold out what the recording says was a test.
    """
    unknown = sorted(set(found.names) - image_ids.keys())
    if unknown:
        what = f"saw {unknown[0]}, which is not among the pictures"
        raise UserError(f"{subject}: {what}; delete the study's stimuli and run `snakemake` again")
    trials = pd.DataFrame(
        {
            "trial": found.positions,
            "session": session_numbers(found.test, found.runs, sessions),
            "run": found.runs if found.runs is not None else np.ones(len(found.test), np.int64),
            "image_id": [image_ids[name] for name in found.names],
        }
    )
    trials["repeat"] = trials.groupby("image_id").cumcount()
    trials["part"] = split.assign(trials["image_id"].to_numpy(), trials["session"].to_numpy())
    fitted = (trials["part"] == TRAIN).to_numpy() | (options["statistics"] == "all")
    of_session = trials["session"].to_numpy()
    z, keep, voxels_left_out = normalised(
        found.betas, of_session, fitted, options["normalise"], f"responses of {subject}"
    )
    repeated = (trials["part"] != TRAIN).to_numpy()
    voxels = found.voxels[keep].reset_index(drop=True)
    voxels.insert(3, "ncsnr", noise_ceiling(z[repeated], trials["image_id"].to_numpy()[repeated]))
    with Recording.writer(output) as recording:
        recording.betas(*z.shape)[:] = z
        metadata = {
            "subject": subject,
            **split.identity,
            "betas": options,
            "n_sessions": int(trials["session"].max()),
            "trials_left_out": found.left_out,
            "voxels_left_out": voxels_left_out,
            "ncsnr": "from the repeats of the test pictures",
            "sources_sha256": sources,
        }
        recording.finish(trials, voxels, metadata)
    print(f"{subject}: {len(trials)} trials, {len(voxels)} voxels; left out: {found.left_out | voxels_left_out}")
    return TestImages.of(subject, split, trials["image_id"].to_numpy(), trials["session"].to_numpy())


def session_numbers(test: np.ndarray, runs: np.ndarray | None, sessions: int) -> np.ndarray:
    """The session of each trial, int64 (trials,), from 1.

    Training runs, in their order, are divided into sessions of equal length; without runs, or with fewer runs than
    sessions, training trials are. Test trials come in further sessions of that length, because they were recorded in
    runs of their own; every budget is tested on all of them.
    """
    numbers = np.empty(len(test), np.int64)
    known = runs is not None and len(np.unique(runs[~test])) >= sessions
    units = runs[~test] if known else np.arange(int((~test).sum()))
    place = np.unique(units, return_inverse=True)[1]
    numbers[~test] = place * sessions // (place.max() + 1) + 1
    length = max(1, int((~test).sum()) // sessions)
    numbers[test] = sessions + 1 + np.arange(int(test.sum())) // length
    return numbers
