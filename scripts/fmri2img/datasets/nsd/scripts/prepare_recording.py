"""All masked sessions of a subject, with tables of its trials and voxels -> Recording."""

import numpy as np

from fmri2img import job
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.splits import Split
from fmri2img.datasets import lockfile
from fmri2img.datasets.checksums import by_key, checksums
from fmri2img.datasets.normalise import percent_signal_change
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.betas import open_masked_session
from fmri2img.datasets.nsd.design import read_trials
from fmri2img.datasets.nsd.transfer import TransferTrials
from fmri2img.datasets.nsd.transfer_sets import experiments
from fmri2img.datasets.nsd.volumes import read_mask, read_valid, voxel_columns
from fmri2img.datasets.session_betas import SessionBetas
from fmri2img.errors import UserError


def prepare_recording(
    subject: str, sessions: list[int], masked: list[str], split: str, files: dict[str, str], options: dict, output: str,
    transfer: dict | None = None,
) -> None:  # fmt: skip
    """Z-score the sessions and write the Recording.

    sessions: 1-based numbers; masked: the file of each, (trials, voxels of the mask); files: key of layout.py -> path;
    options: configuration `betas` (version, mask, labels, normalise, statistics). Voxels without data in any of the
    sessions, with NaN or an infinity in any trial, or constant over the trials that the statistics come from, are left
    out. transfer: `test_sets` and `normalise` (keys `nsd.transfer` and `nsd.transfer_normalise`) and `masked`
    (experiment -> file) of trials that are added after those of the sessions, which stay as they are without. Raises
    UserError when a file is damaged, or is not what was downloaded.
    """
    lockfile.verify_downloaded(files)
    images = Split.open(split)
    told_by = (layout.responses(subject), layout.EXPERIMENT_DESIGN, layout.STIMULUS_INFO)
    trials = read_trials(*(files[key] for key in told_by), subject)
    trials = trials[trials["session"].isin(sessions)].reset_index(drop=True)
    trials["part"] = images.assign(trials["image_id"].to_numpy(), trials["session"].to_numpy())
    region_file, labels = layout.mask_of(options["mask"])
    mask_path = files[layout.roi(subject, region_file)]
    mask = read_mask(mask_path, options["labels"] or labels)
    n_voxels = int(mask.sum())

    def percent(session: int, n_trials: int) -> np.ndarray:
        block = open_masked_session(masked[sessions.index(session)], (n_trials, n_voxels))
        return percent_signal_change(block, layout.INT16_PER_PERCENT)

    betas = SessionBetas(sessions, percent, trials, n_voxels, options)
    finite, constant = betas.finite, betas.constant
    valid = read_valid([files[layout.valid(subject, session)] for session in sessions], mask)
    keep = valid & finite & ~constant
    left_out = {
        "without_data": int((~valid).sum()),
        "not_finite": int((valid & ~finite).sum()),
        "constant": int((valid & finite & constant).sum()),
    }
    print(f"{n_voxels} voxels in the mask of {len(sessions)} sessions; left out: {left_out}; {keep.sum()} remain")
    if not keep.any():
        raise UserError(
            f"{mask_path}: no voxel of the mask has data in all sessions (left out of {n_voxels}: {left_out}); check "
            "the valid_session files and the betas, or choose another nsd.betas.mask"
        )

    further, n_further = None, 0
    if transfer and transfer["test_sets"]:
        further = TransferTrials.read(subject, mask, keep, files, betas.pooled, **transfer)
        n_further = len(further.trials)

    with Recording.writer(output) as recording:
        betas_file = recording.betas(len(trials) + n_further, int(keep.sum())).filename
        betas.write(betas_file, keep)
        if further:
            target = np.lib.format.open_memmap(betas_file, "r+")
            target[len(trials) :] = further.betas
            target.flush()
            trials = further.after(trials)
        regions = {name: files[layout.roi(subject, name)] for name in layout.ROI_LABELS}
        ncsnr = files[layout.ncsnr(subject, options["version"])]
        voxels, not_finite = voxel_columns(mask, ncsnr, regions, layout.ROI_LABELS)
        metadata = {
            "subject": subject,
            **images.identity,
            "betas": options,
            "normalisation": "z-score of percent signal change per voxel, standard deviation over n - 1",
            "n_sessions": len(sessions),
            "voxels_left_out": left_out,
            "not_finite": not_finite,
            "sources_sha256": checksums(files),
            "masked_sessions_sha256": checksums(
                {f"session{number:02d}": path for number, path in zip(sessions, masked, strict=True)}
            ),
        }
        if further:
            metadata["transfer"] = further.record
        recording.finish(trials, voxels[keep], metadata)


def main(snakemake) -> None:
    given, params = snakemake.input, snakemake.params
    masked = dict(zip(experiments(params.transfer["test_sets"]), given.transfer_masked, strict=True))
    prepare_recording(
        snakemake.wildcards.subject,
        params.sessions,
        given.masked,
        given.split,
        by_key(params.root, [*given.trials, *given.regions, given.ncsnr, *given.valid, *given.transfer]),
        params.betas,
        snakemake.output[0],
        params.transfer | {"masked": masked},
    )


if __name__ == "__main__":
    job.run(main)
