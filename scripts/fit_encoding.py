"""Fit the encoding model of one subject: features of the training images -> betas."""

from fmri2img import job
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.loading import RegisteredNetworks
from fmri2img.backbones.registry import Backbone
from fmri2img.encoding.features import BandFeatures
from fmri2img.encoding.model import fit
from fmri2img.metrics.brain import MeasuredBrain, save_brain_tables

SEED = 0  # of the assignment of images to folds


def main(snakemake) -> None:
    params, settings = snakemake.params, snakemake.params.encoding
    recording, stimuli = Recording.open(snakemake.input.recording), Stimuli.open(snakemake.input.stimuli)
    ids, betas = recording.averaged(recording.training_rows(recording.n_sessions))
    networks = RegisteredNetworks(params.networks, params.antialias)
    features = BandFeatures(networks, settings["bands"], settings["grid"], params.size, params.antialias)
    model = fit(features(stimuli.images[stimuli.rows(ids)]), betas, settings["alphas"], settings["folds"], SEED)
    model.metadata.update(
        model="banded_ridge",
        subject=snakemake.wildcards.subject,
        split=recording.metadata["split"],
        split_sha256=recording.metadata["split_sha256"],
        bands=settings["bands"],
        grid=settings["grid"],
        size=params.size,
        antialias=params.antialias,
        revisions={name: Backbone(name, record).revision for name, record in params.networks.items()},
    )
    model.save(snakemake.output.model)
    brain = MeasuredBrain.of(recording, lambda images: model.predict(features(images)), recording.test_sets[0])
    save_brain_tables(snakemake.output.accuracy, brain, brain.predict(stimuli.images[stimuli.rows(brain.ids)]))
    print(f"{len(ids)} training images, {betas.shape[1]} voxels, features of {model.metadata['widths']}")
    for band, share in zip(settings["bands"], model.metadata["band_share"], strict=True):
        print(f"band {band['network']} {band['layer']}: {100 * share:.0f} % of the kernel weights")
    print(f"median held-out R2 {model.metadata['median_cv_r2']:.4f}, median penalty {model.metadata['median_alpha']:g}")
    if model.metadata["at_edge"] > 0.5:
        print("Most voxels have a penalty at the edge of encoding.alphas; a wider list may contain a better one.")


if __name__ == "__main__":
    job.run(main)
