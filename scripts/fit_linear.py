"""Fit a linear decoder to a subject's first sessions: one regression for each array that it decodes."""

from pathlib import Path

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.cells import noise_seed
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.linear.decode import voxels_of
from fmri2img.linear.decoder import LinearDecoder, fit


def report(array: str, decoder: LinearDecoder) -> None:
    """Print how the penalty was found and how well held-out images are predicted."""
    found = decoder.metadata
    print(f"{array}: {found['training_trials']} trials of {len(decoder.ids)} images, {len(decoder.voxel_mean)} voxels")
    for alpha, r2 in zip(found["alphas"], found["cv_r2"], strict=True):
        print(f"penalty {alpha:g}: held-out R2 {r2:.4f}{'  <- taken' if alpha == found['alpha'] else ''}")
    if found["alpha_at_edge"]:
        print(f"The best penalty is at the edge of {found['penalties_key']}; a wider list may contain a better one.")
    print(f"held-out correlation {found['cv_correlation']:.3f}")


def main(snakemake) -> None:
    wildcards = snakemake.wildcards
    recording = Recording.open(snakemake.input.recording)
    embeddings = {Path(path).name: Embeddings.open(path) for path in snakemake.input.targets}
    rows = recording.training_rows(parse_sessions(wildcards.sessions))
    image_ids = recording.trials["image_id"].to_numpy()[rows]
    with atomic_directory(snakemake.output[0]) as directory:
        for regression in snakemake.params.regressions:
            columns = voxels_of(recording, regression["regions"])
            decoder = fit(
                recording.betas[rows][:, columns], image_ids, embeddings[regression["target"]], regression["alphas"],
                regression["folds"], noise_seed(wildcards.seed), regression["calibrated"], regression["folds_key"],
            )  # fmt: skip
            decoder.metadata.update({key: regression[key] for key in ("target", "regions", "penalties_key")})
            report(regression["array"], decoder)
            decoder.save(directory / regression["array"])


if __name__ == "__main__":
    job.run(main)
