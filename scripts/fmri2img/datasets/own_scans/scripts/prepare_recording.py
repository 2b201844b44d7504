"""One subject's betas, tables of events, mask and regions -> Recording and test images."""

from pathlib import Path

from fmri2img import job
from fmri2img.artifacts.splits import Split
from fmri2img.datasets.own_scans.pictures import Folder
from fmri2img.datasets.own_scans.recording import write_recording
from fmri2img.datasets.own_scans.settings import Settings


def main(snakemake) -> None:
    settings = Settings.read(snakemake.params.settings, key="own_scans")
    folder = Folder(Path(settings.root) / settings.pictures.folder)
    split = Split.open(snakemake.input.split)
    seen = write_recording(snakemake.wildcards.subject, settings, folder, split, snakemake.output.recording)
    seen.save(snakemake.output.test_images)


if __name__ == "__main__":
    job.run(main)
