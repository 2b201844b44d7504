"""Fetch one registered network into models/<entry>."""

from pathlib import Path

from fmri2img import job
from fmri2img.backbones.acquisition import acquire
from fmri2img.backbones.registry import Backbone


def main(snakemake) -> None:
    acquire(Backbone(snakemake.wildcards.entry, snakemake.params.record), Path(snakemake.output[0]))


if __name__ == "__main__":
    job.run(main)
