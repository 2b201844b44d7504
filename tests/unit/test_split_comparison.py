"""Scores on two splits side by side: known means, differences and places between floor and ceiling."""

import numpy as np
import pandas as pd
import pytest
from configurations import changed, merged

from fmri2img.errors import UserError
from fmri2img.reporting.design import Design
from fmri2img.reporting.figures import split_figure
from fmri2img.reporting.split_comparison import (
    DIFFERENCE,
    Side,
    check_comparable,
    common_budget,
    split_effects,
    split_table,
)
from fmri2img.study import Study

METHODS = ["ridge", "ridge_shuffled_brain", "true_tokens"]
CHANGES = {"methods": METHODS, "metrics": ["pixcorr", "ssim", "brain_correlation_visual_cortex"], "retrieval_only": []}
CONFIG = merged("config.yaml") | CHANGES


def side(config: dict, ridge: float, n_images: int, seed: int) -> Side:
    """Scores around .1 of the floor, .9 of the ceiling and `ridge`, on images that no other side has."""
    study, rng = Study(config), np.random.default_rng(seed)
    table = pd.DataFrame(
        [
            [method, subject, sessions, 0, config["split"], metric, 10_000 * seed + image, level + noise]
            for method, level in (("ridge_shuffled_brain", 0.1), ("true_tokens", 0.9), ("ridge", ridge))
            for metric in CONFIG["metrics"]
            for subject in study.subjects
            for sessions in study.budgets(subject)
            for image, noise in enumerate(rng.normal(0, 0.02, n_images))
        ],
        columns=["method", "subject", "sessions", "seed", "split", "metric", "image_id", "value"],
    )
    return Side(table, Design.of(study))


def sides() -> tuple[Side, Side]:
    return side(CONFIG | {"study": "held", "split": "cluster0"}, 0.3, 60, 1), side(CONFIG, 0.5, 40, 2)


def test_each_split_is_measured_against_its_own_ends():
    here, there = sides()
    effects = split_effects(here, there, common_budget(here.design, there.design))
    rows = effects[effects["method"] == "ridge"].set_index(["metric", "split"])
    for metric in ("pixcorr", "ssim"):
        own, other, gap = (rows.loc[(metric, split)] for split in ("cluster0", "shared1000", DIFFERENCE))
        assert own["mean"] == pytest.approx(0.3, abs=0.01) and other["mean"] == pytest.approx(0.5, abs=0.01)
        assert own["normalised"] == pytest.approx(0.25, abs=0.02)
        assert other["normalised"] == pytest.approx(0.5, abs=0.02)
        assert gap["mean"] == pytest.approx(own["mean"] - other["mean"])
        assert gap["low"] < gap["mean"] < gap["high"] < 0
        assert (own["n_images"], other["n_images"]) == (60, 40)


def test_the_difference_has_the_uncertainty_of_both():
    here, there = sides()
    rows = split_effects(here, there, "all").set_index(["metric", "method", "split"])
    own, other, gap = (rows.loc["pixcorr", "ridge", split] for split in ("cluster0", "shared1000", DIFFERENCE))
    widths = [row["high"] - row["low"] for row in (own, other, gap)]
    assert widths[2] == pytest.approx(np.hypot(widths[0], widths[1]), rel=0.15)


def test_brain_correlations_of_two_encoding_models_are_not_compared():
    here, there = sides()
    metrics = set(split_effects(here, there, "all")["metric"])
    assert "brain_correlation_visual_cortex" in metrics
    other = Side(there.scores, Design(**(vars(there.design) | {"encoding": "gnet_multisubject"})))
    assert set(split_effects(here, other, "all")["metric"]) == metrics - {"brain_correlation_visual_cortex"}


def test_table_and_figure_show_both_splits():
    here, there = sides()
    effects = split_effects(here, there, "all")
    text = split_table(effects, here.design).markdown()
    assert "cluster0 next to shared1000" in text and "60 test images of cluster0" in text and "25 %" in text
    titles = {axis.get_title("left") for axis in split_figure(effects, here.design).axes}
    assert titles == {"PixCorr ↑", "SSIM ↑", "Brain correlation ↑"}


def test_an_incomplete_method_is_left_out():
    here, there = sides()
    scores = here.scores[~((here.scores["method"] == "ridge") & (here.scores["subject"] == "subj02"))]
    effects = split_effects(Side(scores, here.design), there, "all")
    assert "ridge" not in set(effects["method"]) and "true_tokens" in set(effects["method"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "shared1000"}, "'compare_with': study demo also has split shared1000"),
        (
            {"split": "cluster0", "nsd": CONFIG["nsd"] | {"betas": CONFIG["nsd"]["betas"] | {"version": "b2"}}},
            "study demo has a different 'nsd'",
        ),
        ({"split": "cluster0", "encoder": "openclip_bigg"}, "study demo has a different 'encoder'"),
    ],
)
def test_studies_that_differ_in_more_than_the_split_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        check_comparable(Study(CONFIG | {"study": "held"} | changes), Study(CONFIG).config)


def test_settings_of_methods_count_where_the_study_has_them():
    """MindEye2 is trained otherwise in the other study, which matters to a study that draws from it."""
    other = Study(changed(**CHANGES, mindeye2__losses__prior=7.0)).config
    here = CONFIG | {"study": "held", "split": "cluster0"}
    check_comparable(Study(here), other)
    with pytest.raises(UserError, match="study demo has a different 'mindeye2'"):
        check_comparable(Study(here | {"methods": [*METHODS, "mindeye2_blended"]}), other)


def test_other_subjects_or_budgets_are_refused():
    there = sides()[1]
    with pytest.raises(UserError, match="subjects subj01, subj02, this one subj01;"):
        common_budget(Design.of(Study(CONFIG | {"subjects": ["subj01"]})), there.design)
    with pytest.raises(UserError, match="none of this study's sessions"):
        common_budget(Design.of(Study(CONFIG | {"sessions": [3]})), there.design)
    assert common_budget(Design.of(Study(CONFIG | {"sessions": [2, 3]})), there.design) == "2"


def test_a_study_to_compare_with_must_have_been_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for made in ("scores/mindeye2_blended.parquet", "config.yaml", "scores/ridge.parquet"):
        with pytest.raises(
            UserError, match=r"'compare_with': results/demo holds no finished study .* run study demo first"
        ):
            Study(merged("cluster.yaml"))
        (tmp_path / "results/demo" / made).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "results/demo" / made).touch()
    assert Study(merged("cluster.yaml")).methods_compared() == ["ridge"]
