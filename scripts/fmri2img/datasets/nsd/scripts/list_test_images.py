"""List the test images of one subject: shown to it within the sessions that count, and held out by the split."""

from dataclasses import replace

from fmri2img import job
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.test_images import TestImages
from fmri2img.datasets import lockfile
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.design import read_trials, subject_number
from fmri2img.datasets.nsd.numberings import numberings


def list_test_images(
    subject: str, sessions: int, split: str, responses: str, design: str, stimulus_info: str
) -> TestImages:
    """The same images as `Recording.test_ids`, without betas. sessions: how many of the subject's sessions count.

    Raises UserError when a file is damaged, or is not what was downloaded.
    """
    files = {
        layout.responses(subject): responses,
        layout.EXPERIMENT_DESIGN: design,
        layout.STIMULUS_INFO: stimulus_info,
    }
    lockfile.verify_downloaded(files)
    trials = read_trials(responses, design, stimulus_info, subject)
    trials = trials[trials["session"] <= sessions]
    found = TestImages.of(subject, Split.open(split), trials["image_id"].to_numpy(), trials["session"].to_numpy())
    return replace(found, numberings=numberings(found.ids, subject_number(responses, subject), design, stimulus_info))


def main(snakemake) -> None:
    given = snakemake.input
    found = list_test_images(
        snakemake.wildcards.subject,
        snakemake.params.sessions,
        given.split,
        given.responses,
        given.design,
        given.stimulus_info,
    )
    found.save(snakemake.output[0])
    print(f"{found.subject}: {len(found.ids)} test images")


if __name__ == "__main__":
    job.run(main)
