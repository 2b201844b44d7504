"""Compute a network's features of the true test images, at the layers that the study's metrics compare."""

import numpy as np

from fmri2img import job
from fmri2img.artifacts.features import save_features
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.features import features_of, load_features
from fmri2img.backbones.registry import Backbone


def main(snakemake) -> None:
    backbone = Backbone(snakemake.wildcards.entry, snakemake.params.record)
    stimuli, params = Stimuli.open(snakemake.input.stimuli), snakemake.params
    ids = np.intersect1d(Split.open(snakemake.input.split).test_ids, stimuli.ids)
    network = load_features(backbone, params.layers, antialias=params.antialias)
    layers = features_of(stimuli.images[stimuli.rows(ids)], network, params.size, params.antialias)
    metadata = {"network": backbone.name, "revision": backbone.revision}
    metadata |= {"size": params.size, "antialias": params.antialias}
    save_features(snakemake.output[0], ids, layers, metadata)
    print(f"{len(ids)} images: {', '.join(f'{name} {values.shape[1]} wide' for name, values in layers.items())}")


if __name__ == "__main__":
    job.run(main)
