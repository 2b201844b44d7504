"""Import a published MindEye2 checkpoint: weights and sizes, in the form that this project's MindEye2 reads.

    python scripts/import_mindeye2.py last.pth --subjects subj01 --output models/mindeye2_subj01

A model that was pretrained without subject 1 has the ridge layers of the seven others, in this order:
--subjects subj02 subj03 subj04 subj05 subj06 subj07 subj08

The rule import_mindeye2 also gives --recording, --sessions and --pretrained-on: the network must fit the recording's
voxels, and its training data are recorded next to it.
"""

import argparse
import sys
from pathlib import Path

from fmri2img import job_record
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.recording import Recording
from fmri2img.errors import UserError
from fmri2img.integrity import sha256
from fmri2img.methods.mindeye2.network import MindEye2, save_model
from fmri2img.methods.mindeye2.released import import_checkpoint


def trained_on(model: MindEye2, recording: Recording, sessions: int | float, others: list[str]) -> dict:
    """Training data of a network fine-tuned on one subject: trials, images, training_subjects.

    recording: of that subject; all its training trials of the first `sessions` sessions count, as in published runs.
    others: subjects of the pretraining. Raises UserError when the network is of another subject or number of voxels.
    """
    subject = recording.metadata["subject"]
    voxels, found = model.voxels.get(subject), recording.betas.shape[1]
    if voxels != found:
        has = f"{voxels} voxels for {subject}" if voxels else f"{', '.join(model.voxels)} and not {subject}"
        raise UserError(
            f"{recording.path}: has {found} voxels, but the published network has {has}; it needs all voxels of NSD's "
            "nsdgeneral at 1.8 mm"
        )
    return {
        "subjects": [subject],
        "training_subjects": sorted({subject, *others}),
        "sessions": {subject: sessions},
        "trials": len(recording.training_rows(sessions)),
        "images": len(recording.training_ids(sessions)),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="last.pth of the published training")
    parser.add_argument("--subjects", nargs="+", required=True, help="subject of each ridge layer, in order")
    parser.add_argument("--output", type=Path, required=True, help="directory to write")
    parser.add_argument("--recording", type=Path, help="prepared recording of the subject it was fine-tuned on")
    parser.add_argument("--sessions", type=parse_sessions, help="first sessions of it that were trained on")
    parser.add_argument("--pretrained-on", nargs="*", default=[], help="subjects of the pretraining")
    parser.add_argument("--log", type=Path, help="the job's log, next to which it records where and with what it ran")
    options = parser.parse_args(arguments)
    if (options.recording is None) != (options.sessions is None):
        parser.error("--recording and --sessions go together")
    if options.log:
        job_record.began(options.log)
    try:
        model = import_checkpoint(options.checkpoint, options.subjects)
        metadata = {"origin": options.checkpoint.name}
        if options.recording:
            recording = Recording.open(options.recording)
            metadata |= trained_on(model, recording, options.sessions, options.pretrained_on)
        metadata["origin_sha256"] = sha256(options.checkpoint)
        save_model(options.output, model, metadata)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.log:
        job_record.succeeded(options.log)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{options.output}: {parameters:,} parameters, {len(options.subjects)} subject(s), {model.config}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
