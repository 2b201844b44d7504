"""Fit a linear decoder to a subject's first sessions: one regression for each array that it decodes."""

from fmri2img import job
from fmri2img.artifacts.arrays import read_rows
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.cells import noise_seed
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.linear.decode import voxels_of
from fmri2img.linear.decoder import AVERAGED, TRAINING_IMAGES, LinearDecoder, fit

FITTED = (
    "alphas",
    "folds",
    "calibration",
    "trials",
    "per",
    "standardised",
    "folds_key",
)  # of a regression, as `fit` takes them


def report(array: str, decoder: LinearDecoder) -> None:
    """Print how the penalty was found and how well held-out images are predicted."""
    found = decoder.metadata
    print(f"{array}: {found['training_trials']} trials of {len(decoder.ids)} images, {len(decoder.voxel_mean)} voxels")
    for alpha, r2, groups in zip(found["alphas"], found["cv_r2"] or found["alphas"], found["groups_at"], strict=True):
        held_out = f": held-out R2 {r2:.4f}" if found["cv_r2"] else ""
        taken = "" if not groups else "  <- taken" if found["alpha"] else f"  <- taken by {groups} of {found['per']}"
        print(f"penalty {alpha:g}{held_out}{taken}")
    if found["alpha_at_edge"]:
        print(f"The best penalty is at the edge of {found['penalties_key']}; a wider list may contain a better one.")
    if found["cv_correlation"] is not None:
        print(f"held-out correlation {found['cv_correlation']:.3f}")


def main(snakemake) -> None:
    wildcards, params = snakemake.wildcards, snakemake.params
    recording = Recording.open(snakemake.input.recording)
    embeddings = dict(zip(params.targets, map(Embeddings.open, snakemake.input.targets), strict=True))
    rows = recording.training_rows(parse_sessions(wildcards.sessions))
    image_ids = recording.trials["image_id"].to_numpy()[rows]
    with atomic_directory(snakemake.output[0]) as directory:
        for regression in params.regressions:
            columns = voxels_of(recording, regression["regions"])
            if regression["trials"] == AVERAGED and regression["calibration"] != TRAINING_IMAGES:
                shown, betas = recording.averaged(rows)
            else:  # the calibration also needs the noise of single trials
                shown, betas = image_ids, read_rows(recording.betas, rows)
            decoder = fit(
                betas if isinstance(columns, slice) else betas[:, columns],
                shown,
                embeddings[regression["target"]],
                seed=noise_seed(wildcards.seed),
                source=f"{recording.path}, first {wildcards.sessions} sessions",
                **{key: regression[key] for key in FITTED},
            )
            del betas
            decoder.metadata["training_trials"] = len(rows)
            decoder.metadata.update({key: regression[key] for key in ("target", "regions", "penalties_key")})
            report(regression["array"], decoder)
            decoder.save(directory / regression["array"])


if __name__ == "__main__":
    job.run(main)
