"""How much the job of a script has to do: what its time depends on, for plans of a study.

A function of this module has the name of its script, without suffix. It takes the study and the wildcards of a job. A
script without one takes about as long at any size. These functions are not in the scripts themselves, because an edit
of a plan must not run a training again.
"""

import sys
from typing import Any, NamedTuple

from fmri2img.artifacts.budgets import parse_sessions

Wildcards = dict[str, str]


class Work(NamedTuple):
    """unit: what is done again and again, with the network that does it; amount: how many times."""

    unit: str
    amount: float


def work_of(script: str, study: Any, wildcards: Wildcards) -> Work:
    """What a job of a script has to do."""
    function = vars(sys.modules[__name__]).get(script)
    return Work(f"{script}: job", 1) if function is None else function(study, wildcards)


def embed_stimuli(study: Any, wildcards: Wildcards) -> Work:
    return Work(f"{wildcards['encoder']}: picture", _stimuli(study))


embed_views = embed_stimuli


def encode_latents(study: Any, wildcards: Wildcards) -> Work:
    return Work(f"{wildcards['entry']}: picture of {wildcards['size']} pixels", _stimuli(study))


def embed_texts(study: Any, wildcards: Wildcards) -> Work:
    return Work(f"{wildcards['entry']}: captions of a picture", _stimuli(study))


def embed_local_features(study: Any, wildcards: Wildcards) -> Work:
    return Work(f"{wildcards['entry']}: picture", _stimuli(study))


def embed_test_images(study: Any, wildcards: Wildcards) -> Work:
    return Work(f"{wildcards['entry']}: picture", _test_images(study))


def caption(study: Any, wildcards: Wildcards) -> Work:
    return Work(f"{study.config['captioner']}: caption", _test_images(study))


caption_images = caption


def decode(study: Any, wildcards: Wildcards) -> Work:
    """With a fitted decoder; a decoding without this wildcard is a method's own."""
    if "decoder" not in wildcards:
        return Work("other: decoded picture", _test_images(study))
    entry = study.decoders[wildcards["decoder"]]
    samples = study.section(wildcards["decoder"]).get("decoding", {}).get("samples", 1)
    kind = "linear decoder" if "linear" in entry else entry["folder"]
    return Work(f"{kind}: decoded picture", _test_images(study) * samples)


def draw(study: Any, wildcards: Wildcards) -> Work:
    """Steps of the network that draws, or pictures where it takes none."""
    drawing = study.drawing(wildcards["method"])
    settings, networks = drawing["settings"], drawing["networks"]
    pictures = _test_images(study) / (study.config["shards"]["draw"] if drawing["class"] == "draw" else 1)
    if drawing["class"] != "draw" or "generator" not in networks:
        return Work(f"{next(reversed(networks.values()), 'copy')}: picture", pictures)
    steps = (settings["steps"] - settings.get("start", 0)) * settings.get("strength", 1)
    steps *= settings.get("samples", drawing["samples"])
    return Work(f"{networks['generator']}: step of a picture", pictures * steps)


def compute_components(study: Any, wildcards: Wildcards) -> Work:
    """Steps from each noise level, of every picture that a subject has seen, three times each in NSD."""
    section = study.config["takagi"]
    levels, steps = section["encoding"]["noise_levels"], section["encoding"]["steps"]
    pictures = _trials(study, study.available_sessions[wildcards["subject"]]) / 3
    return Work(f"{section['generator']}: step of a picture", pictures * steps * sum(levels))


def evaluate_predictions(study: Any, wildcards: Wildcards) -> Work:
    """Pictures or captions of all different predictions of a method."""
    method = wildcards["method"]
    predictions = {study.made_at(method, cell) for cell in study.cells(method)}
    outputs = " and ".join(study.registries["methods"][method]["outputs"])
    return Work(f"scores of {outputs}: picture", len(predictions) * _test_images(study))


def fit_linear(study: Any, wildcards: Wildcards) -> Work:
    """Values of the targets of all training trials."""
    values = sum(study.target_values(wildcards["decoder"]).values())
    return Work("regression: value of a trial", _trials(study, parse_sessions(wildcards["sessions"])) * values)


def train(study: Any, wildcards: Wildcards) -> Work:
    """Samples of all optimiser steps of a training."""
    decoder = wildcards["decoder"]
    if "pool" in wildcards:
        stage, subjects = "pretraining", study.pretrainings[f"{decoder}/{wildcards['pool']}"].subjects
        trials = sum(_trials(study, study.recorded_sessions(subject)) for subject in subjects)
    else:
        stage, trials = "finetuning", _trials(study, parse_sessions(wildcards["sessions"]))
    training = study.section(decoder)[stage]["training"]
    samples = training["epoch_steps"] * training["batch"] or trials
    return Work(f"{study.decoders[decoder]['folder']}: sample of {stage}", training["epochs"] * samples)


def _stimuli(study: Any) -> float:
    return float(study.dataset.sizes(study).images / study.config["shards"]["embed"])


def _test_images(study: Any) -> float:
    """Of a subject."""
    return float(study.dataset.sizes(study).test_images)


def _trials(study: Any, sessions: float) -> float:
    return float(sessions * study.dataset.sizes(study).session_trials)
