"""Fetch one registered network into models/<entry>."""

from pathlib import Path

from fmri2img.backbones.acquisition import acquire
from fmri2img.backbones.registry import Backbone
from fmri2img.job import start

if __name__ == "__main__":
    start(snakemake)
    acquire(Backbone(snakemake.wildcards.entry, snakemake.params.record), Path(snakemake.output[0]))
