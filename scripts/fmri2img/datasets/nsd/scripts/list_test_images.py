"""List the test images of one subject: shown to it within the sessions that count, and held out by the split."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fmri2img import job
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.test_images import TestImages
from fmri2img.datasets import lockfile
from fmri2img.datasets.checksums import by_key
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.design import read_trials, subject_number
from fmri2img.datasets.nsd.numberings import numberings
from fmri2img.datasets.nsd.transfer_trials import read_volumes


def list_test_images(
    subject: str, sessions: int, split: str, responses: str, design: str, stimulus_info: str,
    transfer: Sequence[str] = (), transfer_files: dict[str, str] | None = None,
) -> TestImages:  # fmt: skip
    """The same images as `Recording.test_ids`, without betas. sessions: how many of the subject's sessions count.

    transfer: test sets of key `nsd.transfer`; transfer_files: key of layout.py -> path of what describes them. Raises
    UserError when a file is damaged, or is not what was downloaded.
    """
    files = {
        layout.responses(subject): responses,
        layout.EXPERIMENT_DESIGN: design,
        layout.STIMULUS_INFO: stimulus_info,
    }
    lockfile.verify_downloaded(files | (transfer_files or {}))
    trials = read_trials(responses, design, stimulus_info, subject)
    trials = trials[trials["session"] <= sessions]
    found = TestImages.of(subject, Split.open(split), trials["image_id"].to_numpy(), trials["session"].to_numpy())
    known = numberings(found.ids, subject_number(responses, subject), design, stimulus_info)
    further = {}
    for volumes in read_volumes(subject, transfer, transfer_files or {}).values():
        further |= {name: np.unique(of["image_id"]) for name, of in volumes.groupby("test_set") if name}
    return replace(found, test_sets=found.test_sets | further, numberings=known)


def main(snakemake) -> None:
    given = snakemake.input
    found = list_test_images(
        snakemake.wildcards.subject,
        snakemake.params.sessions,
        given.split,
        given.responses,
        given.design,
        given.stimulus_info,
        snakemake.params.transfer,
        by_key(snakemake.params.root, given.transfer),
    )
    found.save(snakemake.output[0])
    print(f"{found.subject}: {len(found.ids)} test images")


if __name__ == "__main__":
    job.run(main)
