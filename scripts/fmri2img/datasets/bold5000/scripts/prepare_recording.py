"""One subject's betas of all regions and its presentation lists -> Recording and test images."""

from pathlib import Path

import numpy as np

from fmri2img import job
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.splits import TRAIN, Split
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.artifacts.test_images import TestImages
from fmri2img.datasets import checksums
from fmri2img.datasets.bold5000.betas import read_betas
from fmri2img.datasets.bold5000.presentations import read_trials
from fmri2img.datasets.normalise import noise_ceiling, normalised


def prepare_recording(
    subject: str, files: list[str], stimuli_folder: str | Path, stimuli: str | Path, split: str | Path, options: dict,
    output: str | Path,
) -> TestImages:  # fmt: skip
    """Z-score the betas, write the Recording and return the subject's test images. Raises UserError.

    files: of the betas; stimuli_folder: BOLD5000_Stimuli; stimuli, split: artifacts; options: configuration
    `bold5000.betas`.
    """
    images = Split.open(split)
    ids = Stimuli.open(stimuli).table.set_index("name")["image_id"]
    trials = read_trials(Path(stimuli_folder), subject)
    trials.insert(0, "trial", np.arange(len(trials)))
    trials["image_id"] = ids[trials.pop("name")].to_numpy()
    trials["repeat"] = trials.groupby("image_id").cumcount()
    trials["part"] = images.assign(trials["image_id"].to_numpy(), trials["session"].to_numpy())
    betas, voxels = read_betas(files, len(trials))
    fitted = (trials["part"] == TRAIN).to_numpy() | (options["statistics"] == "all")
    of_session = trials["session"].to_numpy()
    z, keep, left_out = normalised(betas, of_session, fitted, options["normalise"], f"betas of {subject}")
    voxels = voxels[keep].reset_index(drop=True)
    voxels.insert(3, "ncsnr", noise_ceiling(z, trials["image_id"].to_numpy()))
    with Recording.writer(output) as recording:
        recording.betas(*z.shape)[:] = z
        metadata = {
            "subject": subject,
            **images.identity,
            "betas": options,
            "n_sessions": int(trials["session"].max()),
            "voxels_left_out": left_out,
            "ncsnr": "from the repeats of the test pictures",
            "sources_sha256": checksums.checksums({Path(path).name: path for path in files}),
        }
        recording.finish(trials, voxels, metadata)
    print(f"{subject}: {len(trials)} trials, {len(voxels)} voxels; left out of them: {left_out}")
    return TestImages.of(subject, images, trials["image_id"].to_numpy(), trials["session"].to_numpy())


def main(snakemake) -> None:
    given = snakemake.input
    seen = prepare_recording(
        snakemake.wildcards.subject,
        given.betas,
        given.lists,
        given.stimuli,
        given.split,
        snakemake.params.betas,
        snakemake.output.recording,
    )
    seen.save(snakemake.output.test_images)


if __name__ == "__main__":
    job.run(main)
