"""Import a published MinD-Vis checkpoint: its trained weights, in the form that this project's MinD-Vis reads."""

from pathlib import Path

from fmri2img import job
from fmri2img.artifacts.recording import Recording
from fmri2img.backbones.registry import Backbone
from fmri2img.errors import UserError
from fmri2img.methods.mindvis.masked import whole_patches
from fmri2img.methods.mindvis.network import save_weights
from fmri2img.methods.mindvis.released import import_checkpoint


def import_released(
    checkpoint: Backbone, generator: Backbone, autoencoder: Backbone, recording: Recording, sessions: float, output: str
) -> None:
    """Write the decoder of a subject. Raises UserError when the network is of another number of patches.

    Training data are all training trials of the first `sessions` of the recording, as in published runs.
    """
    (file,) = checkpoint.record["files"]
    found = import_checkpoint(checkpoint.file(file), generator, autoencoder)
    subject, voxels = recording.metadata["subject"], recording.betas.shape[1]
    # the released code adds a whole patch where none is needed
    if found.patches not in (whole_patches(voxels, found.config.patch), voxels // found.config.patch + 1):
        raise UserError(
            f"{recording.path}: has {voxels} voxels, but {checkpoint.name} has {found.patches} patches of "
            f"{found.config.patch}; prepare the regions that it was trained on"
        )
    ids = recording.training_ids(sessions)
    metadata = {
        "subjects": [subject],
        "training_subjects": [subject],
        "sessions": {subject: sessions},
        "trials": len(recording.training_rows(sessions)),
        "images": len(ids),
        "held_out_images": 0,
        "split": recording.metadata["split"],
        "split_sha256": recording.metadata["split_sha256"],
        "initial": None,
        "tuned_on_test": True,
        "selected_on_test": False,
        "origin": f"{checkpoint.name} ({checkpoint.revision})",
    }
    record = {
        "model": found.config.to_dict(),
        "patches": found.patches,
        "voxels": {subject: voxels},
        "time_condition": found.time_condition,
        "generator": [generator.name, generator.record],
        "autoencoder": [autoencoder.name, autoencoder.record],
        "metadata": metadata,
    }
    save_weights(Path(output), found.weights, record)
    print(f"{checkpoint.name}: {sum(t.numel() for t in found.weights.values()):,} trained parameters of {subject}")


def main(snakemake) -> None:
    given, params = snakemake.input, snakemake.params
    import_released(
        Backbone(*params.checkpoint),
        Backbone(*params.generator),
        Backbone(*params.autoencoder),
        Recording.open(given.recording),
        float(snakemake.wildcards.sessions),
        snakemake.output[0],
    )


if __name__ == "__main__":
    job.run(main)
