"""Import the encoding model of one subject from a published checkpoint."""

from pathlib import Path

from fmri2img import job
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.registry import Backbone, expect_kind
from fmri2img.encoding.gnet import import_gnet
from fmri2img.metrics.brain import MeasuredBrain, save_brain_tables


def main(snakemake) -> None:
    params = snakemake.params
    backbone = Backbone(params.name, params.record)
    expect_kind(backbone, "gnet")
    recording, stimuli = Recording.open(snakemake.input.recording), Stimuli.open(snakemake.input.stimuli)
    (file,) = params.record["files"]
    path: Path = backbone.file(file)
    model = import_gnet(path, snakemake.wildcards.subject, recording.voxels, params.record["image_size"])
    model.metadata.update(size=params.size, antialias=params.antialias, source=params.name, revision=backbone.revision)
    sizes = model.network.sizes
    print(f"{path}: {sizes.voxels} voxels of {snakemake.wildcards.subject}, pictures of {sizes.image} pixels")
    if model.metadata["unread"]:
        print(f"Entries of the checkpoint that were not read: {', '.join(model.metadata['unread'])}")
    model.save(snakemake.output.model)
    resized = params.size, params.antialias
    brain = MeasuredBrain.of(recording, lambda images: model.predict(images, *resized), recording.test_sets[0])
    save_brain_tables(snakemake.output.accuracy, brain, brain.predict(stimuli.images[stimuli.rows(brain.ids)]))


if __name__ == "__main__":
    job.run(main)
