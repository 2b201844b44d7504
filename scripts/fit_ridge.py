"""Fit ridge to a subject's first sessions, and decode the image tokens of its test images."""

import numpy as np

from fmri2img import job
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.decoded import save_decoded
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.linear.decoder import RidgeDecoder, fit


def main(snakemake) -> None:
    job.start(snakemake)
    wildcards, params = snakemake.wildcards, snakemake.params
    recording, embeddings = Recording.open(snakemake.input.recording), Embeddings.open(snakemake.input.embeddings)
    sessions, seed = parse_sessions(wildcards.sessions), int(wildcards.seed)
    rows = recording.training_rows(sessions)
    image_ids = recording.trials["image_id"].to_numpy()[rows]

    test_rows = recording.test_rows(recording.test_sets[0])
    presentations = np.unique(recording.trials["image_id"].to_numpy()[test_rows], return_counts=True)[1]
    test_repeats = float(1 / np.mean(1 / presentations))

    decoder = fit(recording.betas[rows], image_ids, embeddings, params.alphas, params.folds, seed, test_repeats)
    found = decoder.metadata
    print(f"{len(rows)} trials of {len(decoder.ids)} images, {recording.betas.shape[1]} voxels")
    for alpha, r2 in zip(found["alphas"], found["cv_r2"], strict=True):
        print(f"penalty {alpha:g}: held-out R2 {r2:.4f}{'  <- taken' if alpha == found['alpha'] else ''}")
    if found["alpha_at_edge"]:
        print("The best penalty is at the edge of ridge.alphas; a wider list might hold a better one.")
    print(f"held-out correlation {found['cv_correlation']:.3f}, median gain {found['median_gain']:.2f}")
    decoder.save(snakemake.output.decoder)

    ids, betas = recording.averaged(test_rows)
    tokens = RidgeDecoder.open(snakemake.output.decoder).decode(betas, embeddings)
    metadata = {
        "method": "ridge",
        "subject": wildcards.subject,
        "sessions": sessions,
        "seed": seed,
        "split": recording.metadata["split"],
        "split_sha256": recording.metadata["split_sha256"],
        "disclosure": {
            "training_trials": len(rows),
            "training_images": len(np.unique(image_ids)),
            "training_subjects": [wildcards.subject],
            "trial_averaging": "single",
            "test_averaging": "mean of repeats",
            "transductive": False,
            "samples_per_image": 1,
            "selector": "none",
            "encoder": f"{embeddings.metadata['encoder']} ({embeddings.metadata['revision']})",
            "origin": params.origin,
        },
    }
    save_decoded(snakemake.output.decoded, ids, metadata, tokens)


main(snakemake)
