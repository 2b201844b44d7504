"""Decoding with linear decoders: one array for each regression."""

from pathlib import Path

import numpy as np

from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.embeddings import disclosed
from fmri2img.artifacts.interfaces import Decoding, Made
from fmri2img.artifacts.recording import Recording
from fmri2img.errors import UserError
from fmri2img.integrity import again
from fmri2img.linear.decoder import AVERAGED, TEST_BATCH, LinearDecoder


def voxels_of(recording: Recording, regions: str | list[str]) -> np.ndarray | slice:
    """Columns of the betas that are used: all, or those of the voxels in any of these regions.

    Raises UserError for a region that the recording does not have, or regions without a voxel.
    """
    if regions == "all":
        return slice(None)
    for name in regions:
        if name not in recording.voxels or recording.voxels[name].dtype != bool:
            there = [column for column in recording.voxels if recording.voxels[column].dtype == bool]
            raise UserError(f"{recording.path}: has no region '{name}'; available: {', '.join(there)}")
    inside = np.flatnonzero(recording.voxels[list(regions)].any(axis=1))
    if not len(inside):
        raise UserError(f"{recording.path}: no voxel of the mask is in {', '.join(regions)}; choose other regions")
    return inside


def decode(decoding: Decoding) -> Made:
    """Decode betas averaged over the repeats of an image into one array for each regression."""
    recording = decoding.recording
    ids, betas = recording.averaged(decoding.test_rows)
    if not np.isfinite(betas).all():
        raise UserError(f"{recording.path}: betas of test trials are not finite; {again(recording.path)}")
    arrays, fitted = {}, []
    for path in sorted(path for path in Path(decoding.decoder).iterdir() if path.is_dir()):
        decoder = LinearDecoder.open(path)
        embeddings = decoding.targets[decoder.metadata["target"]]
        columns = voxels_of(recording, decoder.metadata["regions"])
        arrays[path.name] = decoder.decode(betas[:, columns], embeddings, decoding.test_repeats)
        fitted.append(decoder.metadata)
    averaging = {"single": "single", AVERAGED: "mean"}
    disclosure = Disclosure(
        training_trials=fitted[0]["training_trials"],
        training_subjects=[decoding.cell.subject],
        trial_averaging=" and ".join(dict.fromkeys(averaging[metadata["trials"]] for metadata in fitted)),
        test_averaging="mean of repeats",
        transductive=any(metadata["calibration"] == TEST_BATCH for metadata in fitted),
        **disclosed(decoding.targets.values()),
    )
    return Made(ids, arrays, disclosure)
