# The only file with helper functions: configuration checks, wildcard constraints, registries, paths.

import json
import os
import sys
from pathlib import Path

import snakemake.benchmark
from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.current_basedir).resolve().parents[1] / "scripts"))

from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.backbones.registry import Backbone
from fmri2img.code_identity import code_of
from fmri2img.disk import check_space
from fmri2img.errors import UserError
from fmri2img.study import Study

try:
    study = Study(config)
except UserError as error:
    raise WorkflowError(str(error))

# Seconds between the first readings of a job's memory. Each takes 25 ms of the kernel's time for a process that holds
# torch; at Snakemake's half a second that is a tenth of a core for as long as short jobs follow each other.
snakemake.benchmark.BENCHMARK_INTERVAL_SHORT = 2

# glibc gives blocks above 32 MB back to the system as soon as they are freed, and the page faults of having them anew cost
# networks on a CPU as much as half their time; jobs keep up to 1 GiB instead.
for variable in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
    os.environ.setdefault(variable, str(2**30))


wildcard_constraints:
    subject=r"subj0[1-8]",
    session=r"\d\d",
    sessions=r"\d+(\.\d+)?",
    seed=r"\d+",
    dimensions=r"\d+",
    method="|".join(study.registries["methods"]),
    encoder="|".join(study.registries["backbones"]),
    entry="|".join(study.registries["backbones"]),
    split=r"shared1000|shared982|cluster\d+",


def check_ready():
    """Stop a real run (not a dry-run) before its first job when terms or disk space are missing."""
    try:
        study.check_terms()
        check_space(study)
    except UserError as error:
        raise WorkflowError(str(error))


def tree(key):
    """Path of a file of the dataset, which lies in NSD's own layout whether simulated or real."""
    return str(study.root / key)


def model_path(entry):
    """Input files of a registered network: its own files, or the folder that acquire_backbone fetches."""
    return Backbone(entry, study.registries["backbones"][entry]).inputs()


def all_sessions(subject):
    """Numbers (1-based) of all sessions of a subject that the split has a use for."""
    return list(range(1, study.available_sessions[subject] + 1))


def prediction_paths(method, subject):
    """Predictions of one method and subject at all budgets and seeds it has."""
    return [
        f"<results>/predictions/{method}/{subject}/{sessions}sessions/seed{seed}"
        for sessions, seed in study.cells(method, subject)
    ]


def decoder_paths(method):
    """Trained networks of one method: all subjects, budgets and seeds."""
    return [
        path
        for subject in study.subjects
        for path in collect(
            f"<results>/decoders/{method}/{subject}/{{sessions}}sessions/seed{{seed}}",
            sessions=study.budgets(subject),
            seed=study.seeds,
        )
    ]


def all_pretrained():
    """Networks that the study's trained methods begin with."""
    methods = [m for m in study.trained if study.registries["methods"][m]["training"]["pretrained"]]
    return collect("<results>/pretrained/{method}/without_{subject}", method=methods, subject=study.subjects)


def budget_label(budget):
    """A budget of the configuration as a label of the report."""
    if str(budget).endswith("min"):
        return f"{str(budget).removesuffix('min')} minutes"
    return "1 session" if budget == 1 else f"{budget} sessions"


def method_predictions(method):
    """Predictions of one method, of all subjects."""
    return [path for subject in study.subjects for path in prediction_paths(method, subject)]


def all_predictions():
    return [path for method in study.methods for path in method_predictions(method)]


def of_subjects(path, method):
    """One path for each subject that a method has predictions of."""
    return [path.format(subject=subject) for subject in study.subjects if study.cells(method, subject)]


def scored_methods():
    """Methods that have predictions at one of the study's budgets at least."""
    return [method for method in study.methods if method_predictions(method)]


def all_scores():
    return [f"<results>/scores/{method}.parquet" for method in scored_methods()]


def on_brain():
    """Whether a metric of the study is brain correlation."""
    return any(study.registries["metrics"][name]["needs"] == "brain" for name in config["metrics"])


def encoding_networks():
    """Networks whose features the study's encoding model is fitted to; an imported one sees pictures itself."""
    model = config["encoding"]["model"]
    return sorted({band["network"] for band in config["encoding"]["bands"]}) if model == "banded_ridge" else []


def brain_figures():
    """Maps of brain correlation, of studies that measure it; of NSD's subjects on the MNI template too."""
    spaces = [""] if study.simulated else ["", "_mni"]
    subjects = study.subjects if on_brain() else []
    return collect("<results>/figures/brain_{subject}{space}.png", subject=subjects, space=spaces)


def submitted(wildcards):
    """The submitted prediction that belongs to these wildcards."""
    return study.submitted(wildcards.method, wildcards.subject, parse_sessions(wildcards.sessions), int(wildcards.seed))


def submitted_files(wildcards):
    """Its files; of fetched ones the folder they are fetched into."""
    paths = [Path(path) for path in submitted(wildcards).inputs()]
    fetched = {path for path in paths if path.parts[0] == "models" and len(path.parts) > 2}
    return [
        *(path.as_posix() for path in paths if path not in fetched),
        *sorted({Path(*path.parts[:2]).as_posix() for path in fetched}),
    ]


# Training may use several processes, so it is launched by a shell command; its settings travel as JSON. Checkpoints lie
# in `work` until the run has succeeded, so that a killed one goes on where it was.
TRAIN = (
    "mkdir -p {params.work} && printf '%s\n' {params.settings:q} > {params.work}/settings.json && "
    "{params.launch} {params.script:q} --config {params.work}/settings.json --output {output} --work {params.work} "
    "> {log} 2>&1"
)
TRAINER, IMPORTER = (
    os.path.normpath(f"{workflow.current_basedir}/../../scripts/{name}.py") for name in ("train", "import_mindeye2")
)
# `python` is this one, also where its environment is not activated; a Conda environment goes before it.
os.environ.update(PATH=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]))


def launcher(stage):
    """Command that starts a training stage: torchrun for several processes on one machine, or for DeepSpeed."""
    section = config["mindeye2"][stage]
    alone = section["processes"] == 1 and not section["training"].get("deepspeed")
    return "python" if alone else f"torchrun --standalone --nproc-per-node {section['processes']}"


def training_targets():
    """What the networks are trained to predict, computed once for all of them."""
    targets = [f"<results>/embeddings/{config['encoder']}"]
    low_level = config["mindeye2"]["low_level"]
    if low_level:
        targets += [
            f"<results>/latents/{low_level['autoencoder']}",
            *local_feature_views(low_level),
        ]
    return targets


def local_feature_views(low_level):
    """The teacher's features of the images as they are (view 0) and of each augmented copy."""
    return [f"<results>/local_features/{low_level['teacher']}/view{n}" for n in range(low_level["augmentations"] + 1)]


def made_of(folder, wildcards, stage=None):
    """Path below `folder` of what a stage is made of: its decoder's, or that of another stage of the same decoder."""
    source = study.registries["methods"][wildcards.method]["of"]
    if stage is not None:
        source = study.stage_of(source, stage)
    return f"<results>/{folder}/{source}/{wildcards.subject}/{wildcards.sessions}sessions/seed{wildcards.seed}"


def released_network(wildcards):
    """The published network that a rule's wildcards mean."""
    name = study.released_network(wildcards.method, wildcards.subject, parse_sessions(wildcards.sessions))
    return Backbone(name, study.registries["backbones"][name])


def network_path(wildcards):
    """The network that decodes: one trained with this seed, or the published one of all seeds."""
    network = "released" if wildcards.method in study.having("released") else f"seed{wildcards.seed}"
    return f"<results>/decoders/{wildcards.method}/{wildcards.subject}/{wildcards.sessions}sessions/{network}"


def pretrained_path(wildcards):
    """The weights that fine-tuning begins with; none for a network trained from scratch."""
    if study.registries["methods"][wildcards.method]["training"]["pretrained"]:
        return [f"<results>/pretrained/{wildcards.method}/without_{wildcards.subject}"]
    return []


def pretraining_settings(wildcards):
    sessions = {subject: study.available_sessions[subject] for subject in study.pretraining_subjects(wildcards.subject)}
    return training_settings("pretraining", wildcards.method, sessions, config["mindeye2"]["pretraining"]["seed"])


def finetuning_settings(wildcards):
    sessions = {wildcards.subject: parse_sessions(wildcards.sessions)}
    initial = "".join(in_results(path) for path in pretrained_path(wildcards))
    return training_settings("finetuning", wildcards.method, sessions, int(wildcards.seed), initial or None)


def training_settings(stage, method, sessions, seed, initial=None):
    """What scripts/train.py reads, as JSON.

    sessions: subject -> training sessions; initial: directory of the weights to begin with.
    """
    section, encoder = config["mindeye2"], study.registries["backbones"][config["encoder"]]
    low_level = section["low_level"]
    model = section["model"] | {
        "backbone": study.registries["methods"][method]["training"]["backbone"],
        "tokens": encoder["tokens"],
        "token_width": encoder["token_width"],
    }
    settings = {
        "recordings": {subject: in_results(f"<results>/recordings/{subject}") for subject in sessions},
        "sessions": sessions,
        "embeddings": in_results(f"<results>/embeddings/{config['encoder']}"),
        "model": model,
        "losses": section["losses"],
        "initial": initial,
        "inherit_adapter_bias": stage == "finetuning"
        and initial is not None
        and section[stage]["inherit_adapter_bias"],
        "validation_share": section["validation_share"],
    }
    if low_level:
        model["low_level"] = low_level["head"]
        settings["latents"] = in_results(f"<results>/latents/{low_level['autoencoder']}")
        settings["local_features"] = [in_results(path) for path in local_feature_views(low_level)]
    training = section[stage]["training"] | {"seed": seed}
    task = "fmri2img.methods.mindeye2.task:MindEye2Task"
    return json.dumps({"task": task, "settings": settings, "training": training}, indent=1, sort_keys=True)


def bottleneck_settings(wildcards):
    """Those of fine-tuning, on the recording that went through a bottleneck."""
    settings = json.loads(finetuning_settings(wildcards))
    restricted = "<results>/bottleneck/{w.dimensions}/recordings/{w.subject}/{w.sessions}sessions/seed{w.seed}"
    settings["settings"]["recordings"] = {wildcards.subject: in_results(restricted.format(w=wildcards))}
    return json.dumps(settings, indent=1, sort_keys=True)


def in_results(path):
    """A path with <results> written out, for what Snakemake does not read as a path."""
    return path.replace("<results>", f"results/{study.name}")
