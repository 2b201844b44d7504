"""Drawing pipelines: what a method.yaml may say of one, and what the rule hands to it."""

import importlib

import numpy as np
import pytest
from configurations import changed
from drawings import CELL
from folders import method_folder
from test_method_registry import folder  # noqa: F401  (a fixture)

from fmri2img import plugins
from fmri2img.artifacts.decoded import save_decoded
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.prediction import Prediction
from fmri2img.errors import UserError
from fmri2img.generation.drawing import Drawing
from fmri2img.generation.pipelines import pipelines
from fmri2img.study import Study

LINEAR = [{"array": "words", "target": {"tokens": "encoder"}, "penalty": {"fixed": 1.0}}]


def test_every_pipeline_names_a_function_that_exists():
    for name, pipeline in pipelines().items():
        module, _, function = pipeline.function.partition(":")
        assert callable(getattr(importlib.import_module(module), function)), name


@pytest.mark.parametrize(
    ("drawing", "message"),
    [
        ("unclipp", "'unclipp' is not a drawing pipeline; did you mean 'unclip'"),
        ({"pipeline": "unclip", "networks": {"painter": "generator"}}, "takes no network 'painter'"),
        ({"pipeline": "unclip", "arrays": {"latents": "words"}}, "takes no array 'latents'"),
        ("unclip", "takes the array 'tokens', which the decoder does not decode"),
        ({"networks": {}}, "give one of pipeline and function"),
        ({"function": "draw:draw", "arrays": {"a": "b"}}, "list the decoded arrays"),
        ("blend", "the pipeline takes refined, blurry"),
    ],
)
def test_what_does_not_fit_a_pipeline_ends_in_one_line(folder, drawing, message):  # noqa: F811
    with pytest.raises(UserError, match=r"method\.yaml") as raised:
        folder(linear=LINEAR, drawing=drawing)
    assert message in str(raised.value)


def test_a_method_chooses_networks_settings_and_arrays_of_a_pipeline(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "OUTSIDE", {})
    drawing = {
        "pipeline": "unclip", "arrays": {"tokens": "words"}, "networks": {"generator": "refinement.generator"},
        "settings": "refinement", "with": {"steps": 3},
    }  # fmt: skip
    path = method_folder(tmp_path / "planted", linear=LINEAR, drawing=drawing)
    study = Study(changed(plugins=[str(path)], methods=["planted"], retrieval_only=[]))
    found = study.drawing("planted")
    assert found["networks"] == {"generator": "demo_text2img", "autoencoder": "demo_vae"}
    assert found["arrays"] == {"tokens": "words"} and found["inputs"] == ["decoded"]
    assert (found["settings"]["steps"], found["settings"]["start"]) == (3, study.config["refinement"]["start"])
    with pytest.raises(UserError, match=r"key 'refinement.generator': demo_vae is of kind diffusers_vae"):
        Study(changed(plugins=[str(path)], methods=["planted"], retrieval_only=[], refinement__generator="demo_vae"))


def test_a_folder_may_bring_a_pipeline_of_its_own(tmp_path, monkeypatch):
    """Its pictures are as bright as the first decoded number; what it says of samples is disclosed."""
    monkeypatch.setattr(plugins, "OUTSIDE", {})
    code = """
import numpy as np
from fmri2img.generation.drawing import Drawing, Drawn

def draw(drawing: Drawing) -> Drawn:
    level = np.asarray(drawing.array("words")[:, 0, 0] * drawing.settings["gain"], np.uint8)
    disclosure = drawing.disclosure(samples_per_image=2, selector="the brighter one")
    return Drawn(disclosure, images=np.broadcast_to(level[:, None, None, None], (len(level), 2, 2, 3)))
"""
    drawing = {"function": "drawing:draw", "arrays": ["words"], "with": {"gain": 10}}
    keys = {"linear": LINEAR, "drawing": drawing, "outputs": ["images", "retrieval"]}
    path = method_folder(tmp_path / "bright", {"drawing": code}, **keys)
    study = Study(changed(plugins=[str(path)], methods=["bright"], retrieval_only=[]))
    found = study.drawing("bright")
    assert found["function"] == "fmri2img.methods.bright.drawing:draw" and found["settings"] == {"gain": 10}

    from draw import write_drawn

    ids, words = np.array([5, 9]), np.arange(1, 13, dtype=np.float16).reshape(2, 2, 3)
    identity = CELL._asdict() | {"method": "bright", "split": "s", "split_sha256": "0"}
    metadata = identity | {"disclosure": Disclosure(encoder="e").record()}
    save_decoded(tmp_path / "decoded", ids, metadata, {"tokens": words, "words": words})
    given = Drawing(
        CELL, {"decoded": str(tmp_path / "decoded")}, {}, found["settings"], outputs=("images", "retrieval")
    )
    write_drawn(given, found["function"], "bright", "port", str(tmp_path / "out"))
    made = Prediction.open(tmp_path / "out")
    assert made.images[:, 0, 0, 0].tolist() == [10, 70] and made.retrieval.shape == (2, 6)
    assert (made.disclosure.samples_per_image, made.disclosure.selector) == (2, "the brighter one")
    assert (made.disclosure.origin, made.disclosure.encoder) == ("port", "e")
