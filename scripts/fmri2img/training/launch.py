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


def settings_json(
    study, decoder: str, stage: str, subject: str, sessions: str = "", seed: str = "", recording: str | None = None
) -> str:
    """Settings of one run of a stage, as JSON.

    stage: pretraining (on the subjects other than `subject`, all their sessions, with the configuration's seed) or
    finetuning (on the first `sessions` of `subject`). recording: in place of the subject's own.
    """
    section, entry = study.section(decoder), study.decoders[decoder]
    results, initial = f"results/{study.name}", None
    if stage == "pretraining":
        shown = {other: study.available_sessions[other] for other in study.pretraining_subjects(decoder, subject)}
        seed = section[stage]["seed"]
    else:
        shown = {subject: parse_sessions(sessions)}
        if entry["training"]["pretrained"]:
            initial = f"{results}/pretrained/{decoder}/without_{subject}"
    own = plugins.load("methods", entry["folder"], "workflow:training_settings")(study, entry, stage, initial)
    settings = own | {
        "recordings": {other: recording or f"{results}/recordings/{other}" for other in shown},
        "sessions": shown,
        "initial": initial,
    }
    for name, found in inputs_of(study, decoder).items():
        settings[name] = _resolved(found, results)
    training = section[stage]["training"] | {"seed": int(seed)}
    config = {"task": entry["task"], "settings": settings, "training": training}
    if study.config.get("plugins"):
        config["plugins"] = study.config["plugins"]
    return json.dumps(config, indent=1, sort_keys=True)


def _resolved(found, results: str):
    if isinstance(found, list):
        return [_resolved(path, results) for path in found]
    return found and found.replace("<results>", results)
