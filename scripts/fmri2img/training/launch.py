"""How the rules start a training: the command, and the settings that scripts/train.py reads."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from fmri2img import plugins
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.devices import visible
from fmri2img.errors import UserError
from fmri2img.resources import Devices, ResourceClasses
from fmri2img.settings.base import problem
from fmri2img.settings.site import EXAMPLES

TORCHRUN = "python -m fmri2img.training.torchrun"


def inputs_of(study, decoder: str) -> dict[str, str | list[str] | None]:
    """Artifacts that a decoder is trained with: setting of its task -> path or paths below the results.

    They come from `training_inputs(study)` in the workflow.py of its folder.
    """
    return plugins.load("methods", study.decoders[decoder]["folder"], "workflow:training_inputs")(study)


def devices(study, decoder: str, stage: str) -> Devices:
    """Where a stage of a decoder's training runs."""
    section = study.section(decoder)[stage]
    return Devices(section["nodes"], section["gpus_per_node"])


def devices_of(study, stage: str) -> Callable[[Any], Devices]:
    """The same as a function of a rule's wildcards."""
    return lambda wildcards: devices(study, wildcards.decoder, stage)


def launcher(study, decoder: str, stage: str, threads: int, gpus: int) -> str:
    """The command that starts a stage, up to the script: python, torchrun, or torchrun on each of several nodes.

    threads, gpus: of the job on each node; the GPUs of a single node are taken first (fmri2img.devices). DeepSpeed
    needs torchrun for a single process too. On several nodes srun starts one torchrun on each; the first node's address
    is in a variable that SLURM sets for srun's tasks only, and the port follows from the job's number, so that jobs
    which share a node do not meet.
    """
    nodes, per_node = devices(study, decoder, stage)
    with_gpus = f"python -m fmri2img.devices {gpus} " if gpus else ""
    if nodes * per_node == 1 and not study.section(decoder)[stage]["training"].get("deepspeed"):
        return f"{with_gpus}python"
    torchrun = f"env OMP_NUM_THREADS={max(1, threads // per_node)} {TORCHRUN} --nproc-per-node {per_node}"
    if nodes == 1:
        return f"{with_gpus}{torchrun} --standalone"
    rendezvous = (
        f"--nnodes {nodes} --node-rank $SLURM_NODEID --master-addr $SLURM_LAUNCH_NODE_IPADDR "
        "--master-port $((10000 + SLURM_JOB_ID % 20000))"
    )
    return (
        f"srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 --cpus-per-task={threads} "
        f"--kill-on-bad-exit bash -c '{torchrun} {rendezvous} \"$@\"' torchrun"
    )


def check_devices(study, classes: ResourceClasses, resource_class: str) -> None:
    """Raise UserError when a training of the study needs nodes or GPUs that the site does not have."""
    for decoder, stage in stages(study):
        classes.check(resource_class, devices(study, decoder, stage), f"{study.decoders[decoder]['folder']}.{stage}")


def check_cluster(study, classes: ResourceClasses, slurm: bool) -> None:
    """Raise UserError when jobs cannot be sent to SLURM (a site file is missing), or several nodes not be used."""
    if slurm and classes.site is None and study.settings.resources == "cluster":
        raise UserError(
            f"{study.settings.site}: not there, so that SLURM would refuse GPU jobs after the downloads; copy the "
            f"nearest of {EXAMPLES} and adapt it (docs/cluster.md), then run `make slurm-check`"
        )
    in_image = classes.site is not None and classes.site.container is not None
    for decoder, stage in stages(study):
        nodes = devices(study, decoder, stage).nodes
        key = f"{study.decoders[decoder]['folder']}.{stage}.nodes"
        if nodes > 1 and not slurm:
            raise problem(key, f"{nodes} nodes need SLURM; run `snakemake --profile slurm`, or set it to 1")
        if nodes > 1 and in_image:
            remedy = f"set it to 1, or remove `container` from {study.settings.site}"
            raise problem(key, f"{nodes} nodes need srun, which a container image does not hold; {remedy}")


def check_precision(study, trained: Iterable[tuple[str, str]]) -> None:
    """Raise UserError when a training that begins on this machine needs a GPU for its precision, and there is none.

    trained: decoder and stage of the trainings. Where the jobs' environment has another torch, their jobs say so.
    """
    for decoder, stage in trained:
        key = f"{study.decoders[decoder]['folder']}.{stage}.training.precision"
        if study.section(decoder)[stage]["training"]["precision"] == "fp16" and not _gpu_may_be_here():
            raise problem(key, "fp16 needs a GPU, and this machine has none; use bf16 or fp32")


def _gpu_may_be_here() -> bool:
    try:
        return bool(visible())
    except ImportError:
        return True


def stages(study) -> list[tuple[str, str]]:
    """Decoder and stage (pretraining, finetuning) of the study's trainings."""
    trained = list(dict.fromkeys(study.registries["methods"][method]["decoder"] for method in study.trained))
    pretrained = dict.fromkeys(pretraining.decoder for pretraining in study.pretrainings_of(trained))
    return [*((decoder, "pretraining") for decoder in pretrained), *((decoder, "finetuning") for decoder in trained)]


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
    key = f"{entry['folder']}.{stage}"
    config = {"task": entry["task"][stage], "stage": key, "settings": settings, "training": training}
    if study.config.get("plugins"):
        config["plugins"] = study.config["plugins"]
    return json.dumps(config, indent=1, sort_keys=True)


def _resolved(found, results: str):
    if isinstance(found, list):
        return [_resolved(path, results) for path in found]
    return found and found.replace("<results>", results)
