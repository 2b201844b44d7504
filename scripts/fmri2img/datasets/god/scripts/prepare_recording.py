"""One subject's responses, of either release -> Recording and test images."""

from pathlib import Path

from fmri2img import job
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.datasets import checksums, lockfile
from fmri2img.datasets.god import layout
from fmri2img.datasets.god.recording import write_recording
from fmri2img.datasets.god.responses import Pictures, read_bdpy, read_npz


def main(snakemake) -> None:
    given, params = snakemake.input, snakemake.params
    key = Path(given.responses).name
    lockfile.verify_downloaded({key: given.responses})
    table, split = Stimuli.open(given.stimuli).table, Split.open(given.split)
    if params.files == layout.BDPY:
        found = read_bdpy(given.responses, params.voxels)
    else:
        tested = table["image_id"].isin(Split.open(given.classes).test_ids)
        pictures = Pictures(table.loc[~tested, "name"].tolist(), table.loc[tested, "name"].tolist())
        found = read_npz(given.responses, params.voxels, pictures)
    seen = write_recording(
        snakemake.wildcards.subject,
        found,
        dict(zip(table["name"], table["image_id"], strict=True)),
        split,
        params.sessions,
        params.betas,
        checksums.checksums({key: given.responses}),
        snakemake.output.recording,
    )
    seen.save(snakemake.output.test_images)


if __name__ == "__main__":
    job.run(main)
