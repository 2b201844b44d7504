"""All masked sessions of a subject, with the tables of its trials and voxels -> Recording and test images."""

from fmri2img import job
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.test_images import TestImages
from fmri2img.datasets import lockfile
from fmri2img.datasets.checksums import by_key, checksums
from fmri2img.datasets.laion_fmri.embeddings import read_names
from fmri2img.datasets.laion_fmri.names import seen_by
from fmri2img.datasets.laion_fmri.recording import inverse_repeats, read_trials, write_recording
from fmri2img.datasets.laion_fmri.volumes import Regions


def main(snakemake) -> None:
    given, params, subject = snakemake.input, snakemake.params, snakemake.wildcards.subject
    files = by_key(params.root, [*given.trials, given.names, given.ceiling])
    lockfile.verify_downloaded(files)
    names = read_names(given.names)
    image_ids = {name: number for number, name in enumerate(names)}
    split = Split.open(given.split).of(subject)
    trials = read_trials(dict(zip(params.sessions, given.trials, strict=True)), image_ids)
    regions = Regions(given.regions, params.root)
    masks = {key: f"{params.root}/{key}" for key in regions.keys.values()}
    lockfile.verify_downloaded(masks)
    inverse = inverse_repeats(params.betas["noise_ceiling"], seen_by(names, subject))
    masked = dict(zip(params.sessions, given.masked, strict=True))
    write_recording(
        subject, masked, trials, split, regions, given.ceiling, inverse, params.betas, checksums(files | masks),
        snakemake.output.recording,
    )  # fmt: skip
    seen = TestImages.of(subject, split, trials["image_id"].to_numpy(), trials["session"].to_numpy())
    seen.save(snakemake.output.test_images)


if __name__ == "__main__":
    job.run(main)
