"""Tables of stimuli and pictures -> Stimuli."""

from pathlib import Path

from fmri2img import job
from fmri2img.artifacts.stimuli import save_stimuli
from fmri2img.datasets import checksums
from fmri2img.datasets.mosaic import layout
from fmri2img.datasets.mosaic.stimuli import read_images
from fmri2img.datasets.mosaic.tables import read_stimuli, seen_stimuli

MIDDLE_FRAME = "middle frame of a video"


def prepare_stimuli(tables: dict[str, str], pictures: str | Path, subjects: list[str], size: int, output: str) -> None:
    """Write the Stimuli that these subjects saw. tables: constituent -> path. Raises UserError."""
    seen = seen_stimuli({name: read_stimuli(path, name) for name, path in tables.items()}, subjects)
    empty = [[] for _ in range(len(seen))]
    videos = seen["constituent"].map({name: one.videos for name, one in layout.CONSTITUENTS.items()})
    table = seen.assign(captions=empty, categories=empty, cluster=None)
    table["source"] = table["source"].mask(videos, table["source"] + f" ({MIDDLE_FRAME})")
    metadata = {
        "seen_by": subjects,
        "sources_sha256": checksums.checksums({layout.table(name): path for name, path in tables.items()}),
    }
    save_stimuli(output, read_images(pictures, seen, size), table, metadata)
    counts = seen["constituent"].value_counts(sort=False)
    print(f"{len(seen)} pictures: {', '.join(f'{name} {number}' for name, number in counts.items())}")


def main(snakemake) -> None:
    given, params = snakemake.input, snakemake.params
    tables = dict(zip(layout.constituents_of(params.subjects), given.tables, strict=True))
    prepare_stimuli(tables, given.pictures, params.subjects, params.image_size, snakemake.output.stimuli)


if __name__ == "__main__":
    job.run(main)
