"""Brain captioning: what it declares, its captioner's sizes, its captions of tokens, and its switch."""

import json

import numpy as np
import pytest
import torch
from configurations import changed, merged
from designs import DISCLOSURE

from fmri2img.artifacts.cells import Cell
from fmri2img.artifacts.decoded import save_decoded
from fmri2img.backbones.captioners import load_captioner
from fmri2img.backbones.registry import Backbone
from fmri2img.errors import UserError
from fmri2img.generation import captioning
from fmri2img.generation.drawing import Drawing
from fmri2img.methods.ferrante.card import card
from fmri2img.methods.plan import fixing_control
from fmri2img.study import Study

METHODS = ["ferrante", "ferrante_shuffled_brain", "ferrante_ceiling", "caption_ceiling"]


def demo(**keys) -> Study:
    return Study(changed(methods=["ridge", *METHODS], **keys))


def test_it_is_one_regression_to_the_captioners_own_tokens_on_averaged_trials():
    paper = merged("paper.yaml")
    study = Study(paper | {"methods": ["ridge", *METHODS]})
    (regression,) = study.regressions("ferrante")
    assert regression["target"] == "embeddings/git_base_coco" and regression["alphas"] == [6e4]
    assert (regression["trials"], regression["regions"]) == ("averaged", "all")
    assert regression["calibration"] == "training_images"
    drawing = study.drawing("ferrante")
    assert drawing["networks"] == {"captioner": "git_base_coco"}
    assert study.registries["methods"]["ferrante"]["outputs"] == ["captions"]


def test_a_captioner_that_takes_other_tokens_is_refused_before_anything_runs():
    with pytest.raises(UserError, match=r"key 'ferrante.encoder': demo_captioner takes the tokens of demo_clip"):
        demo(ferrante__encoder="git_base_coco")
    with pytest.raises(UserError, match=r"key 'ferrante.encoder': git_base_coco takes the tokens of git_base_coco"):
        demo(ferrante__captioner="git_base_coco")


def test_its_ceiling_is_of_its_own_captioner_and_of_no_other_methods():
    study = demo()
    methods = {name: study.registries["methods"][name] for name in study.methods}
    assert fixing_control(methods, "ferrante", "ceiling", "captions") == "ferrante_ceiling"
    assert fixing_control(methods, "ferrante", "floor", "captions") == "ferrante_shuffled_brain"
    other = methods["ridge"] | {"outputs": ["captions"]}
    assert fixing_control(methods | {"ridge": other}, "ridge", "ceiling", "captions") == "caption_ceiling"


def test_the_registered_captioner_has_the_size_of_the_paper():
    """GIT base: a ViT-B/16 with 197 tokens of width 768, and six decoder layers."""
    from transformers import GitConfig, GitForCausalLM

    entry = Study(merged("paper.yaml")).registries["backbones"]["git_base_coco"]
    with torch.device("meta"):
        model = GitForCausalLM(GitConfig(vision_config={"image_size": entry["preprocessing"]["image_size"]}))
    vision = model.config.vision_config
    assert (vision.image_size // vision.patch_size) ** 2 + 1 == entry["tokens"] == 197
    assert vision.hidden_size == entry["token_width"] == 768
    parameters = {id(p): p.numel() for p in model.parameters()}
    assert sum(parameters.values()) * 4 == pytest.approx(707e6, rel=0.01)  # the size of the published file


def test_the_pipeline_says_what_the_captioner_says_of_the_tokens(tmp_path):
    backbone = Backbone("demo_captioner", demo().registries["backbones"]["demo_captioner"])
    ids, rng = np.array([3, 8, 21]), np.random.default_rng(0)
    tokens = rng.standard_normal((3, 64, 96)).astype(np.float16)
    metadata = {"method": "ferrante", "subject": "subj01", "sessions": 1, "seed": 0, "split": "s", "split_sha256": "0"}
    metadata |= {"test_set": "s", "disclosure": DISCLOSURE, "encoder": "demo_clip"}
    save_decoded(tmp_path / "decoded", ids, metadata, {"tokens": tokens})
    cell = Cell("subj01", 1, 0, "s")
    drawing = Drawing(cell, {"decoded": str(tmp_path / "decoded")}, {"captioner": backbone}, outputs=("captions",))
    drawn = captioning.draw(drawing)
    assert drawn.captions == load_captioner(backbone).caption(tokens, backbone.record["max_length"])
    assert drawn.images is None and all(drawn.captions)
    assert drawn.disclosure.generator.startswith("demo_captioner (") and drawn.disclosure.generator_data
    json.dumps(drawn.disclosure.record())


@pytest.mark.parametrize(
    ("calibration", "reproduced"), [("test_batch", "yes"), ("training_images", "no"), ("none", "—")]
)
def test_the_card_says_whether_test_images_calibrate(calibration, reproduced):
    study = demo(ferrante__calibration=calibration)
    (defect,) = card(study.config, False, [])["known_defects"].to_dict("records")
    assert (defect["here"], defect["reproduced"]) == (calibration, reproduced)
    assert study.regressions("ferrante")[0]["calibration"] == calibration
