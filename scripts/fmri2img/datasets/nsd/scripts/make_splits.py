"""The two published splits of NSD by shared images -> shared1000.json, shared982.json."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fmri2img import job
from fmri2img.artifacts.splits import Split
from fmri2img.datasets import lockfile
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.design import Design, read_design
from fmri2img.datasets.nsd.transfer_sets import image_ids


def shared1000(design: Design) -> Split:
    """The split that tests on all shared images. Subjects with fewer sessions are tested on those they saw."""
    shared = {"shared1000": design.shared.tolist()}
    return Split("shared1000", "test: all images shared by all subjects", shared)


def shared982(design: Design, sessions: int) -> Split:
    """The split that tests on the shared images shown within the first `sessions` sessions; later data are not used.

    In an experiment with no more sessions than that, its test set is all shared images.
    """
    shown = design.images[0, design.order[: design.session_trials[:sessions].sum()]]
    tested = np.isin(design.shared, shown)
    return Split(
        "shared982",
        f"test: shared images shown within the first {sessions} sessions; later sessions and shared images unused",
        {"shared982": design.shared[tested].tolist()},
        design.shared[~tested].tolist(),
        sessions,
    )


def make_splits(design: str, sessions: int, transfer: Sequence[str] = (), subjects: Sequence[str] = ()) -> list[Split]:
    """Both splits of an experiment's design file, with the test sets of key `nsd.transfer` that `subjects` saw.

    Raises UserError when the file is damaged, or not what was downloaded.
    """
    lockfile.verify_downloaded({layout.EXPERIMENT_DESIGN: design})
    read = read_design(design)
    further = {test_set: image_ids(test_set, subjects) for test_set in transfer}
    splits = [shared1000(read), shared982(read, sessions)]
    return [replace(split, test_sets=split.test_sets | further) for split in splits]


def main(snakemake) -> None:
    params = snakemake.params
    transfer = params.transfer
    for split in make_splits(
        snakemake.input.design, params.shared982_sessions, transfer["test_sets"], transfer["subjects"]
    ):
        split.save(snakemake.output[split.name])
        print(f"{split.name}: {len(split.test_ids)} test images, {len(split.unused_ids)} unused, {split.sha256}")


if __name__ == "__main__":
    job.run(main)
