"""Import MindEye1's published checkpoints of one subject: weights and sizes, in the form that its `decode` reads."""

from fmri2img import job
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.recording import Recording
from fmri2img.backbones.registry import Backbone
from fmri2img.errors import UserError
from fmri2img.methods.mindeye1.network import save_model
from fmri2img.methods.mindeye1.released import import_model


def import_networks(backbone: Backbone, recording: Recording, sessions: int | float, output: str) -> None:
    """Write both networks of a registered entry, whose files are the high-level checkpoint and the low-level one.

    recording: of the subject, all of whose training trials of the first `sessions` count as trained on. Raises
    UserError when the networks are of another number of voxels.
    """
    high_level, low_level = (backbone.file(name) for name in backbone.record["files"])
    model = import_model(high_level, low_level)
    voxels, subject = recording.betas.shape[1], recording.metadata["subject"]
    if model.voxels != voxels:
        raise UserError(
            f"{recording.path}: has {voxels} voxels, but the published network has {model.voxels}; it needs all voxels "
            "of NSD's nsdgeneral at 1.8 mm"
        )
    metadata = {
        "origin": list(backbone.record["files"]),
        "subjects": [subject],
        "training_subjects": [subject],
        "sessions": {subject: sessions},
        "trials": len(recording.training_rows(sessions)),
        "images": len(recording.training_ids(sessions)),
    }
    save_model(output, model, subject, metadata)
    print(f"{output}: {sum(parameter.numel() for parameter in model.parameters()):,} parameters")


def main(snakemake) -> None:
    import_networks(
        Backbone(*snakemake.params.network),
        Recording.open(snakemake.input.recording),
        parse_sessions(snakemake.wildcards.sessions),
        snakemake.output[0],
    )


if __name__ == "__main__":
    job.run(main)
