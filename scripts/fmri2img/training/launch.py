"""How the rules start a training: the command, and the settings that scripts/train.py reads."""

import json

from fmri2img import plugins
from fmri2img.artifacts.budgets import parse_sessions


def inputs_of(study, decoder: str) -> dict[str, str | list[str] | None]:
    """Artifacts that a decoder is trained with: setting of its task -> path or paths below the results.

    They come from `training_inputs(study)` in the workflow.py of its folder.
    """
    return plugins.load("methods", study.decoders[decoder]["folder"], "workflow:training_inputs")(study)


def launcher(study, decoder: str, stage: str) -> str:
    """The command that starts a stage: torchrun for several processes or for DeepSpeed, else python."""
    section = study.section(decoder)[stage]
    alone = section["processes"] == 1 and not section["training"].get("deepspeed")
    return "python" if alone else f"torchrun --standalone --nproc-per-node {section['processes']}"


def pretraining_settings(study, pretraining) -> str:
    """Settings of a pretraining (methods.plan.Pretraining), as JSON: all sessions of its pool, the configured seed."""
    decoder = pretraining.decoder
    recordings = {subject: f"results/{study.name}/recordings/{subject}" for subject in pretraining.subjects}
    sessions = {subject: study.recorded_sessions(subject) for subject in pretraining.subjects}
    seed = study.section(decoder)["pretraining"]["seed"]
    return _settings(study, decoder, "pretraining", recordings, sessions, None, seed)


def finetuning_settings(
    study, decoder: str, subject: str, sessions: str, seed: str, recording: str | None = None
) -> str:
    """Settings of a training on the first `sessions` of a subject, as JSON. recording: other than the subject's own."""
    results = f"results/{study.name}"
    pretraining = study.pretraining(decoder, subject)
    initial = f"{results}/pretrained/{pretraining.path}" if pretraining else None
    recordings = {subject: recording or f"{results}/recordings/{subject}"}
    return _settings(study, decoder, "finetuning", recordings, {subject: parse_sessions(sessions)}, initial, int(seed))


def _settings(
    study,
    decoder: str,
    stage: str,
    recordings: dict[str, str],
    sessions: dict[str, int | float],
    initial: str | None,
    seed: int,
) -> str:
    """Settings of a run of a stage: the task's own (`training_settings` in the workflow.py of its folder) and these."""
    entry = study.decoders[decoder]
    own = plugins.load("methods", entry["folder"], "workflow:training_settings")(study, entry, stage, initial)
    settings = own | {"recordings": recordings, "sessions": sessions, "initial": initial}
    for name, found in inputs_of(study, decoder).items():
        settings[name] = _resolved(found, f"results/{study.name}")
    training = study.section(decoder)[stage]["training"] | {"seed": seed}
    config = {"task": entry["task"][stage], "settings": settings, "training": training}
    if study.config.get("plugins"):
        config["plugins"] = study.config["plugins"]
    return json.dumps(config, indent=1, sort_keys=True)


def _resolved(found, results: str):
    if isinstance(found, list):
        return [_resolved(path, results) for path in found]
    return found and found.replace("<results>", results)
