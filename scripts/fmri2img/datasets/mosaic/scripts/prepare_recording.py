"""One subject's betas -> Recording and test images."""

from pathlib import Path

from fmri2img import job
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.datasets import lockfile
from fmri2img.datasets.mosaic import layout
from fmri2img.datasets.mosaic.parcels import read_parcels
from fmri2img.datasets.mosaic.recording import write_recording
from fmri2img.integrity import sha256


def checked(path: str, key: str, root: Path) -> str:
    """SHA-256 of a file, which is compared with its lock if it has one (others are the user's own or simulated)."""
    if Path(path) == root / key and lockfile.read(root, key) is not None:
        return lockfile.verify(root, key).sha256
    return sha256(path)


def main(snakemake) -> None:
    given, params, subject = snakemake.input, snakemake.params, snakemake.wildcards.subject
    root = Path(params.root)
    files = {layout.betas(subject): given.betas, layout.PARCELS: given.parcels}
    sources = {key: checked(path, key, root) for key, path in files.items()}
    seen = write_recording(
        subject,
        given.betas,
        read_parcels(given.parcels),
        params.options,
        Stimuli.open(given.stimuli).table,
        Split.open(given.split),
        sources,
        snakemake.output.recording,
    )
    seen.save(snakemake.output.test_images)


if __name__ == "__main__":
    job.run(main)
