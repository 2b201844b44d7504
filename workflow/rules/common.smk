# The only file with helper functions: configuration checks, wildcard constraints, registries, paths.

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.current_basedir).resolve().parents[1] / "scripts"))

from fmri2img.backbones.registry import Backbone
from fmri2img.errors import UserError
from fmri2img.study import Study, code_digest

try:
    study = Study(config)
except UserError as error:
    raise WorkflowError(str(error))


wildcard_constraints:
    subject=r"subj0[1-8]",
    session=r"\d\d",
    sessions=r"\d+(\.\d+)?",
    seed=r"\d+",
    method="|".join(study.registries["methods"]),
    encoder="|".join(study.registries["backbones"]),
    entry="|".join(study.registries["backbones"]),
    split=r"shared1000|shared982|cluster\d+",


def check_ready():
    """Stop a real run (not a dry-run) before its first job when terms or disk space are missing."""
    try:
        study.check_ready()
    except UserError as error:
        raise WorkflowError(str(error))


def digest(*rooms):
    """Content digest of library rooms, for the params of what uses them, so that editing a room reruns it."""
    return code_digest(*rooms)


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
    """Predictions of one method and subject at all budgets and seeds."""
    return collect(
        f"<results>/predictions/{method}/{subject}/{{sessions}}sessions/seed{{seed}}",
        sessions=study.budgets(subject),
        seed=study.seeds,
    )


def all_predictions():
    return [
        path for method in study.methods for subject in study.subjects for path in prediction_paths(method, subject)
    ]


def all_scores():
    return collect("<results>/scores/{method}/{subject}.parquet", method=study.methods, subject=study.subjects)
