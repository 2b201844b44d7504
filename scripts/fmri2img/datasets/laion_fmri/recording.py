"""A subject's sessions of masked betas -> Recording."""

from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.splits import Split
from fmri2img.datasets.laion_fmri import layout
from fmri2img.datasets.laion_fmri.betas import open_masked_session, read_session_trials
from fmri2img.datasets.laion_fmri.names import read_name
from fmri2img.datasets.laion_fmri.volumes import Regions, read_ncsnr
from fmri2img.datasets.session_betas import SessionBetas
from fmri2img.errors import UserError


def read_trials(paths: dict[int, str], image_ids: dict[str, int]) -> pd.DataFrame:
    """Trials of a subject's sessions: trial, session, run, image_id, repeat.

    paths: session -> its table. Raises UserError for a damaged table, and an image that is not in the dataset.
    """
    found = []
    for session, path in sorted(paths.items()):
        table = read_session_trials(path, session)
        unknown = sorted(set(table["name"]) - image_ids.keys())
        if unknown:
            raise UserError(
                f"{path}: shows {unknown[0]}, which is not an image of the dataset ({len(unknown)} are not); take it "
                f"and {layout.embeddings('CLIP')} from one release"
            )
        found.append(table.assign(image_id=table["name"].map(image_ids).astype(np.int64)))
    trials = pd.concat(found, ignore_index=True)
    trials.insert(0, "trial", np.arange(len(trials)))
    trials["repeat"] = trials.groupby("image_id").cumcount()
    return trials[["trial", "session", "run", "image_id", "repeat"]]


def inverse_repeats(kind: str, names: list[str]) -> float:
    """Mean of 1/n over the images that a noise ceiling is of; n, their planned repeats. names: the subject's images.

    Of a subject's 6,204 images 8 were shown once less than planned, which the mean of all does not notice.
    """
    repeats = layout.CEILING_REPEATS[kind]
    return 1 / repeats if repeats else float(np.mean([1 / read_name(name).repeats for name in names]))


def write_recording(
    subject: str, masked: dict[int, str], trials: pd.DataFrame, split: Split, regions: Regions, ceiling: str,
    inverse: float, options: dict, sources: dict[str, str], output: str | Path,
) -> None:  # fmt: skip
    """Z-score the sessions and write the Recording.

    masked: session -> its masked betas; trials: of `read_trials`; split: the subject's own; ceiling: path of the noise
    ceiling that `inverse` (mean of 1/n) belongs to; options: configuration `laion_fmri.betas`; sources: key -> SHA-256.
    Voxels with NaN or an infinity in any trial, and those that are constant over the trials that mean and deviation
    come from, are left out. Raises UserError when none is left, or a file does not fit.
    """
    trials = trials.assign(part=split.assign(trials["image_id"].to_numpy(), trials["session"].to_numpy()))
    mask = regions.mask(options["mask"])
    n_voxels = int(mask.values.sum())

    def read(session: int, n_trials: int) -> np.ndarray:
        return open_masked_session(masked[session], (n_trials, n_voxels)).astype(np.float64)

    betas = SessionBetas(list(masked), read, trials, n_voxels, options)
    finite, constant = betas.finite, betas.constant
    keep = finite & ~constant
    left_out = {"not_finite": int((~finite).sum()), "constant": int((finite & constant).sum())}
    print(f"{n_voxels} voxels in the mask of {len(masked)} sessions; left out: {left_out}; {keep.sum()} remain")
    if not keep.any():
        raise UserError(
            f"{mask.path}: no voxel of the mask has values in all trials (left out of {n_voxels}: {left_out}); check "
            "the betas, or choose another laion_fmri.betas.mask"
        )
    x, y, z = np.nonzero(mask.values)
    ncsnr, unknown = read_ncsnr(ceiling, mask, inverse)
    voxels = pd.DataFrame({"x": x, "y": y, "z": z, "ncsnr": ncsnr, **regions.columns(mask)})
    with Recording.writer(output) as recording:
        betas.write(recording.betas(len(trials), int(keep.sum())).filename, keep)
        metadata = {
            "subject": subject,
            **split.identity,
            "betas": options,
            "normalisation": "z-score per voxel of GLMsingle's TYPED betas, standard deviation over n - 1",
            "n_sessions": len(masked),
            "voxels_left_out": left_out,
            "not_finite": {"ncsnr": unknown} if unknown else {},
            "sources_sha256": sources,
        }
        recording.finish(trials, voxels[keep].reset_index(drop=True), metadata)
