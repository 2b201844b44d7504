"""Checks across several parts of a configuration. Checks of a single dataset or method are in its settings."""

import itertools
import re
from typing import Any

from fmri2img.artifacts.budgets import sessions_of
from fmri2img.artifacts.regions import columns_of
from fmri2img.errors import UserError
from fmri2img.settings.base import nearest, networks, problem
from fmri2img.settings.general import FEATURE_KINDS


def check_data(study: Any) -> None:
    """The dataset has the subjects, sessions and test sets, and there is something to score."""
    _check_split(study)
    for subject in study.subjects:
        if subject not in study.available_sessions:
            known = ", ".join(study.available_sessions)
            raise problem("subjects", f"no data for {subject}; available: {known}{study.dataset.further_subjects}")
    if not study.methods:
        raise problem("methods", "none is listed and there are no submissions; name a method")
    if not study.dataset.has_recordings and study.config["methods"]:
        raise problem(
            "methods",
            "must be [] for published test images, which have no recordings to decode; list submissions only",
        )
    for subject in study.subjects:
        available = study.available_sessions[subject]
        for budget in study.config["sessions"]:
            if sessions_of(budget, available) > available:
                raise problem(
                    "sessions",
                    f"{budget} sessions requested, but {subject} has {available} in split {study.config['split']}; use "
                    "'all' for each subject's own number",
                )
    for name in [] if study.settings.test_sets == "all" else study.settings.test_sets:
        known = study.dataset.test_sets(study.settings.split)
        if name not in known:
            what = f"there is no test set '{name}' in split {study.settings.split}"
            raise problem("test_sets", f"{what}; {nearest(name, known, 'available')}")
    other = study.config["compare_with"]
    if other is not None and not study.methods_compared():
        raise problem(
            "compare_with",
            f"results/{other} holds no finished study with a method of this one; run study {other} first",
        )


def _check_split(study: Any) -> None:
    """The split is one of the dataset's, or one of the semantic clusters."""
    split, clusters = study.config["split"], study.config["cluster_split"]["clusters"]
    cluster = re.fullmatch(r"cluster(\d+)", split)
    if cluster and int(cluster[1]) >= clusters:
        raise problem("split", f"{split} requested, but cluster_split.clusters is {clusters}; choose a lower number")
    if split not in study.dataset.splits and not cluster:
        raise problem("split", f"'{split}' is not one of {', '.join(study.dataset.splits)}, cluster<k>")


def check_registered(study: Any) -> None:
    """Methods, metrics and networks are in their registries and of the right kind."""
    methods = study.registries["methods"]
    for method in study.config["methods"]:
        entry = study.named("methods", method, "methods")
        of = entry.get("of")
        if entry["kind"] == "control" and of is not None and of not in study.methods:
            raise problem("methods", f"{method} is a control of {of}, which is not listed; add {of} or drop {method}")
        if "linear" in entry:
            study.regressions(entry["decoder"])  # raises where its method.yaml does not fit the study
        if "drawing" in entry:
            _check_drawing(study, method, entry)
        if "captions" in entry.get("made_by", {}).get("needs", []):
            _check_captions(study, "methods", method)
    _check_trained_together(study)
    for metric in study.config["metrics"]:
        entry = study.named("metrics", metric, "metrics")
        _check_metric(study, metric, entry)
        if entry.get("network"):
            study.named("backbones", entry["network"], f"metrics: {metric}")
    for analysis in [] if study.settings.analyses == "all" else study.settings.analyses:
        study.named("analyses", analysis, "analyses")
    for key, name, role in networks(study.settings):
        study.network(name, key, *role.kinds, also=role.also)
    for number, band in enumerate(study.config["encoding"]["bands"]):
        layers = study.network(band["network"], f"encoding.bands.{number}.network", *FEATURE_KINDS)["layers"]
        if band["layer"] not in layers:
            raise problem(
                f"encoding.bands.{number}.layer",
                f"{band['network']} has no layer '{band['layer']}'; available: {', '.join(layers)}",
            )
    for method in study.config["retrieval_only"]:
        if methods[method]["kind"] != "decoder":
            raise problem("retrieval_only", f"{method} is not a decoder; remove it")
        for other in study.methods:
            if methods[other].get("of") == method and _reads_pictures(methods[other]):
                raise problem("retrieval_only", f"{other} needs the images of {method}; drop one of them")
    _check_budgets(study)
    _check_folds(study)
    _check_bottleneck(study)
    _check_encoding(study)


def _reads_pictures(entry: dict) -> bool:
    """Whether a method reads pictures of the one that it is made from; a control may read what that one decoded, or
    make the same outputs of whatever there is."""
    return entry.get("made_by", {}).get("of") != "decoded" and not entry.get("inherits")


def _check_trained_together(study: Any) -> None:
    """No network is trained on other subjects' trials of images that a subject is tested on."""
    split = study.config["split"]
    for method in [] if study.dataset.is_one_split(split) else study.trained:
        entry = study.registries["methods"][method]
        if entry["training"]["pretrained"] and any(
            "/" not in subject
            for target in study.subjects
            for subject in study.pretraining_subjects(entry["decoder"], target)
        ):
            what = f"{method} is pretrained on other subjects, and split {split} trains them on images that it tests"
            raise problem("methods", f"{what}; drop {method}, or use a split that is the same for all subjects")


def _check_folds(study: Any) -> None:
    """Every budget of a linear decoder has a trial for each fold."""
    linear = [name for name in study.config["methods"] if "linear" in study.registries["methods"][name]]
    for method, subject in itertools.product(linear, study.subjects):
        trials = int(study.budgets_of(method, subject)[0] * study.dataset.sizes(study).session_trials)
        for regression in study.regressions(study.registries["methods"][method]["decoder"]):
            if trials < regression["folds"]:
                raise problem(
                    regression["folds_key"],
                    f"{regression['folds']} folds need as many training images, but {method} has {trials} trials of "
                    f"{subject} at the smallest budget; lower it, or take a larger budget",
                )


def _check_budgets(study: Any) -> None:
    """Budgets of single methods are among the study's; those of a method that is not run may stand, as a default."""
    sessions, remedy, unknown = study.settings.sessions, {}, []
    for method, values in study.settings.budgets.items():
        study.named("methods", method, "budgets")
        others = [value for value in values if value not in sessions]
        if others and method in study.config["methods"]:
            unknown += others
            remedy[method] = [value for value in values if value in sessions] or sessions[-1:]
    if remedy:
        listed = ", ".join(f"{method}: [{', '.join(map(str, values))}]" for method, values in remedy.items())
        what = f"{', '.join(map(str, dict.fromkeys(unknown)))} is not in sessions ({', '.join(map(str, sessions))})"
        raise problem("budgets", f"{what}; add it there, or write budgets: {{{listed}}}")


def _check_drawing(study: Any, method: str, entry: dict) -> None:
    """The keys of the configuration that a method's pipeline reads exist, and name networks that it can use."""
    drawing = study.drawing(method)
    if "captions" in drawing["inputs"]:
        _check_converter(study)
    if "stimuli" in drawing["inputs"]:
        _check_captions(study, "methods", method)
    for role, name in drawing["networks"].items():
        wanted = entry["drawing"]["networks"][role]
        if name is not None:
            study.network(name, wanted["key"], *wanted["kinds"])


def _check_converter(study: Any) -> None:
    """Decoded tokens are those that the captioner takes, or a converter makes them so."""
    encoder, taken = study.config["encoder"], study.caption_encoder
    if study.config["caption_converter"] is None and encoder != taken:
        what = f"is null, but {study.config['captioner']} takes the tokens of {taken}, not of {encoder}"
        raise problem("caption_converter", f"{what}; set it to trained, or name a registered converter")


def _check_bottleneck(study: Any) -> None:
    """Curves need decoders that are fitted to a subject's responses, and directions from a linear decoder."""
    section = study.settings.bottleneck
    for method in section.methods:
        entry = study.named("methods", method, "bottleneck.methods")
        if "linear" not in entry and "training" not in entry:
            registry = study.registries["methods"]
            fitted = ", ".join(name for name in registry if {"linear", "training"} & registry[name].keys())
            raise problem("bottleneck.methods", f"{method} is not fitted to a subject's responses; use one of {fitted}")
        if entry["drawing"]["inputs"] != ["decoded"]:
            what = f"{method} is drawn from pictures or captions of another stage"
            raise problem("bottleneck.methods", f"{what}; use the stage that is drawn from decoded arrays alone")
    if section.directions not in study.decoders_with("linear"):
        remedy = nearest(section.directions, study.decoders_with("linear"), "available")
        raise problem("bottleneck.directions", f"'{section.directions}' is not a linear decoder; {remedy}")
    if not study.gives_directions(section.directions):
        what = f"{section.directions} does not decode the encoder's tokens from all voxels with one penalty"
        raise problem("bottleneck.directions", f"{what}; name a decoder that does, such as ridge")


def check_dimensions(study: Any) -> None:
    """The bottleneck, of studies that run it, is not wider than what its directions are computed from."""
    wanted, sizes = max(study.settings.bottleneck.dimensions), study.dataset.sizes(study)
    trials = min(max(study.budgets(subject)) for subject in study.subjects) * sizes.session_trials
    if wanted > min(trials, sizes.voxels):
        what = f"{wanted} are more than {trials:g} trials of {sizes.voxels} voxels span"
        raise problem("bottleneck.dimensions", f"{what}; lower it")


def _check_metric(study: Any, metric: str, entry: dict) -> None:
    """The dataset has what a metric compares with."""
    parameters = entry.get("parameters", {})
    if entry["needs"] == "brain":
        if not study.dataset.has_recordings:
            raise problem("metrics", f"{metric} needs recordings, but the dataset has only test images; remove it")
        lacking = [name for name in columns_of(parameters.get("region")) if name not in study.dataset.regions]
        if lacking:
            what = f"needs region {lacking[0]}, which dataset {study.dataset.name} does not have"
            raise problem("metrics", f"{metric} {what}; remove it")
    if entry["needs"] == "captions" and parameters.get("references") != "captioner":
        _check_captions(study, "metrics", metric)


def _check_captions(study: Any, key: str, name: str) -> None:
    if not study.dataset.has_captions:
        raise problem(key, f"{name} needs captions, which dataset {study.dataset.name} does not have; remove it")


def check_regions(study: Any, key: str, names: list[str]) -> None:
    """The dataset has these regions, which `key` of the configuration lists."""
    for name in names:
        if name not in study.dataset.regions:
            what = f"dataset {study.dataset.name} has no region '{name}'"
            raise problem(key, f"{what}; {nearest(name, study.dataset.regions, 'available')}")


def check_published(study: Any, key: str, name: str, network: str, remedy: str) -> None:
    """A published network fits the data: it knows the subjects of one dataset, and which images it was trained on.

    name: what the message calls it; network: its entry in config/backbones.yaml, with `dataset` and `splits` (those
    whose test images it was not trained on).
    """
    entry, dataset, split = study.registries["backbones"][network], study.dataset, study.config["split"]
    if dataset.name != entry["dataset"] or dataset.simulated or not dataset.has_recordings:
        raise problem(
            key,
            f"{name} only covers the subjects of {entry['dataset']}, and these are others ({dataset.label}); {remedy}",
        )
    for subject in study.subjects:
        if subject not in dataset.record["subjects"]:
            raise problem(key, f"{name} only covers the subjects of {entry['dataset']}, not {subject}; {remedy}")
    if split not in entry["splits"]:
        raise problem(key, f"{name} was trained on test images of split {split}; {remedy}")


def check_released(study: Any, folder: str, key: str, encoder: str) -> None:
    """Published networks of a folder's methods exist for every subject and budget, and fit the data and the encoder.

    key: of the configuration, which names the encoder. Raises UserError.
    """
    backbones = study.registries["backbones"]
    for method in study.described:
        entry = study.registries["methods"][method]
        if entry.get("folder") != folder or "released" not in entry:
            continue
        decoder = entry["decoder"]
        there = [name for name in backbones if re.fullmatch(study.released_network(decoder, ".*", ".*"), name)]
        check_published(study, "methods", method, there[0], "drop it and what builds on it")
        for subject in study.subjects:
            for sessions in study.budgets_of(method, subject):
                name = study.released_network(decoder, subject, sessions)
                if name not in there:
                    raise UserError(
                        f"configuration: keys 'subjects' and 'sessions': {method} has no published network of "
                        f"{subject} at {sessions} sessions; available: {', '.join(there)} (config/backbones.yaml)"
                    )
                if backbones[name]["features"] != encoder:
                    raise problem(
                        key,
                        f"the networks of {method} decode tokens of {backbones[name]['features']}, not of {encoder}; "
                        f"use {backbones[name]['features']}, or drop {method} and what builds on it",
                    )


def _check_encoding(study: Any) -> None:
    """The encoding model behind brain correlation, where that is scored, was trained on no image that it judges."""
    model = study.config["encoding"]["model"]
    if study.on_brain and model != "banded_ridge":
        check_published(study, "encoding.model", model, model, "use banded_ridge")
