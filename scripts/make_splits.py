"""The two published splits of NSD by shared images -> shared1000.json, shared982.json."""

import numpy as np

from fmri2img.artifacts.splits import Split
from fmri2img.datasets.nsd_design import Design, read_design
from fmri2img.job import start


def shared1000(design: Design) -> Split:
    """Every shared image is tested on. Subjects with fewer sessions saw fewer of them, and are tested on those."""
    return Split("shared1000", "test: all images shared by all subjects", design.shared.tolist())


def shared982(design: Design, sessions: int) -> Split:
    """Shared images shown within the first `sessions` sessions are tested on; what was recorded later is not used.

    All of them are tested on in an experiment of no more sessions than that.
    """
    shown = design.images[0, design.order[: design.session_trials[:sessions].sum()]]
    tested = np.isin(design.shared, shown)
    return Split(
        "shared982",
        f"test: shared images shown within the first {sessions} sessions; later sessions and shared images unused",
        design.shared[tested].tolist(),
        design.shared[~tested].tolist(),
        sessions,
    )


if __name__ == "__main__":
    start(snakemake)
    design = read_design(snakemake.input.design)
    splits = {
        snakemake.output.shared1000: shared1000(design),
        snakemake.output.shared982: shared982(design, snakemake.params.shared982_sessions),
    }
    for path, split in splits.items():
        split.save(path)
        print(f"{split.name}: {len(split.test_ids)} test images, {len(split.unused_ids)} unused, {split.sha256}")
