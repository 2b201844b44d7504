"""Checks of studies on datasets that bring embeddings of their stimuli, and on those whose pictures the user lacks."""

from typing import Any

from fmri2img.backbones.targets import target_path
from fmri2img.settings.base import problem
from fmri2img.training import launch


def check_drawn(study: Any) -> None:
    """Nothing is drawn from vectors that the dataset brings: no generator was trained on them. Raises UserError."""
    for method in study.config["methods"]:
        entry = study.registries["methods"][method]
        if "decoder" not in entry or not study.drawing(method)["arrays"]:
            continue
        names = {name for path in study.decoded_targets(entry["decoder"]) for name in path.split("/")}
        for name in study.dataset.embeddings:
            if name in names:
                what = f"no generator or captioner takes {name}, which {method} decodes"
                remedy = f"name {method} under retrieval_only" if entry["kind"] == "decoder" else f"remove {method}"
                raise problem("methods", f"{what}; {remedy}, or choose another encoder")


def check_pictures(study: Any) -> None:
    """Where the user does not hold the pictures, nothing of a study is made of them or compared with them.

    Raises UserError naming the first key that asks for it.
    """
    if study.dataset.has_pictures:
        return
    study.check_embedded("encoder", study.config["encoder"])
    for method in study.config["methods"]:
        entry = study.registries["methods"][method]
        if {"stimuli", "captioned"}.intersection(entry.get("made_by", {}).get("needs", [])):
            raise study.without_pictures("methods", f"{method} needs pictures")
        decoder = study.decoders.get(entry.get("decoder"), {})
        if {"training", "released"} & decoder.keys() and not _inputs(study, decoder) <= _without_pictures(study):
            raise study.without_pictures("methods", f"{method} is trained on pictures")
    for name, metric in study.metrics.items():
        of_captioner = metric.get("parameters", {}).get("references") == "captioner"
        of_picture = metric["needs"] == "captions" and metric["layer"]
        if metric["needs"] in ("images", "brain") or of_captioner or of_picture:
            raise study.without_pictures("metrics", f"{name} compares with pictures")


def _inputs(study: Any, entry: dict) -> set[str]:
    """Artifacts of the stimuli that a trained decoder learns from or decodes to, below the results."""
    trained = launch.inputs_of(study, entry["decoder"]).values() if "training" in entry else ()
    paths = [path for found in trained for path in (found if isinstance(found, list) else [found]) if path]
    paths += study.targets(entry["decoder"]).values()
    return {path.removeprefix("<results>/") for path in paths if path.startswith("<results>/")}


def _without_pictures(study: Any) -> set[str]:
    """Artifacts of the stimuli that are made without pictures: what the dataset brings, and states of captions."""
    texts = (target_path("texts", name) for name in study.registries["backbones"])
    return {*(target_path("tokens", name) for name in study.dataset.embeddings), *texts}
