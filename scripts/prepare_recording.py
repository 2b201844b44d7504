"""All masked sessions of a subject, and what is known of its trials and voxels -> Recording."""

import numpy as np
import pandas as pd

from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.splits import Split
from fmri2img.datasets import layout
from fmri2img.datasets.checksums import by_key, checksums
from fmri2img.datasets.normalise import Moments, percent_signal_change, zscore
from fmri2img.datasets.nsd_design import read_trials
from fmri2img.datasets.nsd_volumes import read_mask, read_regions, read_valid, read_volume
from fmri2img.errors import UserError
from fmri2img.job import start


def prepare_recording(
    subject: str, sessions: list[int], masked: list[str], split: str, files: dict[str, str], options: dict, output: str
) -> None:
    """Z-score the sessions and write the Recording.

    sessions: 1-based numbers; masked: the file of each, int16 (trials, voxels of the mask); files: key of layout.py ->
    path; options: configuration `betas` (version, mask, normalise, statistics). Voxels without data in any of the
    sessions, or constant over the trials that the statistics come from, are left out.
    """
    images = Split.open(split)
    trials = read_trials(*(files[key] for key in trial_keys(subject)), subject)
    trials = trials[trials["session"].isin(sessions)].reset_index(drop=True)
    trials["split"] = images.assign(trials["nsd_id"].to_numpy(), trials["session"].to_numpy())
    rows = {session: np.flatnonzero(trials["session"] == session) for session in sessions}
    mask = read_mask(files[layout.roi(subject, options["mask"])])
    blocks = Sessions(masked, sessions, [(len(rows[session]), int(mask.sum())) for session in sessions])

    fitted = (trials["split"] == "train").to_numpy() | (options["statistics"] == "all")
    moments = fit_moments(blocks, {session: fitted[rows[session]] for session in sessions}, options["normalise"])
    valid = read_valid([files[layout.valid(subject, session)] for session in sessions], mask)
    constant = np.any([moments[session].constant for session in sessions], axis=0)
    keep = valid & ~constant
    print(f"{len(keep)} voxels in the mask; left out: {(~valid).sum()} without data in one of the {len(sessions)} "
          f"sessions, {(valid & constant).sum()} constant; {keep.sum()} remain")  # fmt: skip
    if not keep.any():
        raise UserError(f"{files[layout.roi(subject, options['mask'])]}: no voxel of the mask has data in all sessions")

    with Recording.writer(output) as recording:
        betas_file = recording.betas(len(trials), int(keep.sum())).filename
        for session in sessions:
            block = percent_signal_change(blocks[session][:, keep], layout.INT16_PER_PERCENT)
            # Reopened for each session, so that the pages written before need not stay in memory.
            target = np.load(betas_file, mmap_mode="r+")
            target[rows[session]] = zscore(block, moments[session].mean[keep], moments[session].sd[keep])
            target.flush()
        voxels = voxel_table(subject, files, options["version"], mask)[keep]
        metadata = {
            "subject": subject,
            "betas": options,
            "normalisation": "z-score of percent signal change per voxel, standard deviation over n - 1",
            "split": images.name,
            "split_sha256": images.sha256,
            "n_sessions": len(sessions),
            "voxels_left_out": {"without_data": int((~valid).sum()), "constant": int((valid & constant).sum())},
            "sources_sha256": checksums(files),
            "masked_sessions_sha256": checksums(
                {f"session{number:02d}": path for number, path in zip(sessions, masked, strict=True)}
            ),
        }
        recording.finish(trials, voxels, metadata)


def trial_keys(subject: str) -> tuple[str, str, str]:
    return layout.responses(subject), layout.EXPERIMENT_DESIGN, layout.STIMULUS_INFO


class Sessions:
    """Masked sessions by number, checked as they are opened: read-only maps int16 (trials, voxels)."""

    def __init__(self, paths: list[str], sessions: list[int], shapes: list[tuple[int, int]]) -> None:
        self._files = dict(zip(sessions, zip(paths, shapes, strict=True), strict=True))

    def __getitem__(self, session: int) -> np.ndarray:
        path, shape = self._files[session]
        block = np.load(path, mmap_mode="r")
        if block.shape != shape or block.dtype != np.int16:
            raise UserError(f"{path}: {block.shape} {block.dtype}, expected {shape} int16; delete it and rerun")
        return block


def fit_moments(blocks: Sessions, fitted: dict[int, np.ndarray], normalise: str) -> dict[int, Moments]:
    """Moments that each session is normalised with: its own (normalise "session") or those of all ("pooled").

    fitted: session -> bool (trials,), the trials that count.
    """
    moments: dict[int, Moments] = {}
    for session, counts in fitted.items():
        block = blocks[session]
        shared = next(iter(moments.values()), None) if normalise == "pooled" else None
        moments[session] = shared or Moments(block.shape[1])
        moments[session].add(percent_signal_change(block[counts], layout.INT16_PER_PERCENT))
    for session, found in moments.items():
        if found.n < 2:
            raise UserError(
                f"betas.normalise: session {session} has {found.n} training trials, too few for a standard deviation; "
                "use 'pooled', or another split"
            )
    return moments


def voxel_table(subject: str, files: dict[str, str], version: str, mask: np.ndarray) -> pd.DataFrame:
    """x, y, z (0-based), ncsnr, and a boolean column per region, of the voxels of `mask`."""
    x, y, z = np.nonzero(mask)
    ncsnr = read_volume(files[layout.ncsnr(subject, version)], mask.shape)[mask].astype(np.float32)
    paths = {name: files[layout.roi(subject, name)] for name in layout.ROI_LABELS}
    return pd.DataFrame({"x": x, "y": y, "z": z, "ncsnr": ncsnr} | read_regions(paths, layout.ROI_LABELS, mask))


if __name__ == "__main__":
    start(snakemake)
    given = snakemake.input
    prepare_recording(
        snakemake.wildcards.subject,
        snakemake.params.sessions,
        given.masked,
        given.split,
        by_key(snakemake.config["dataset"]["root"], [*given.trials, *given.regions, given.ncsnr, *given.valid]),
        snakemake.params.betas,
        snakemake.output[0],
    )
