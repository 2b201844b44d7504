from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from designs import small_design

from fmri2img.errors import UserError
from fmri2img.methods.registry import read_methods
from fmri2img.metrics.registry import read_metrics
from fmri2img.reporting.paper_figures import curve_points, normalised, paper_figure, read_paper_figures
from fmri2img.reporting.paper_tables import (
    DEVIATES,
    NOT_RUN,
    REPRODUCED,
    SIMULATED,
    compare,
    lay_out_paper,
    published_cells,
    read_paper_layout,
    tidy,
)
from fmri2img.reporting.published import read_published
from fmri2img.reporting.style import save_figure

CONFIG = Path(__file__).parents[2] / "config"
LAYOUTS = sorted((CONFIG / "paper_tables").glob("table*.yaml"))
REGISTRY = read_metrics(CONFIG / "metrics.yaml")
SUBJECTS = ["subj01", "subj02", "subj05", "subj07"]
N_IMAGES = 16
METRICS = ("pixcorr", "identification_clip", "retrieval_brain", "retrieval_image")
METHODS = {
    "mindeye2_blended": {"title": "MindEye2", "kind": "decoder"},
    "mindeye2_unrefined": {"title": "MindEye2 (unrefined)", "kind": "decoder"},
}
# As printed in Table 1 for MindEye2 at 40 sessions and at one.
TRUE = {
    40: {"pixcorr": 0.322, "identification_clip": 0.930, "retrieval_brain": 0.988, "retrieval_image": 0.983},
    1: {"pixcorr": 0.195, "identification_clip": 0.792, "retrieval_brain": 0.790, "retrieval_image": 0.574},
}


@pytest.fixture(scope="module")
def published():
    return read_published(CONFIG / "published")


def design_of(simulated=False, subjects=SUBJECTS, longest=40):
    return small_design(
        simulated=simulated,
        subjects=subjects,
        methods=METHODS,
        metrics={name: REGISTRY[name] | {"chance": 0.5 if "clip" in name else 1 / 300} for name in METRICS},
        budgets={"1": dict.fromkeys(subjects, 1), "all": dict.fromkeys(subjects, longest)},
        seeds=[0],
        resamples=200,
    )


def scores_of(design, shift=0.0, spread=0.01):
    """Both methods at TRUE + shift, with noise of known spread that sums to zero over images."""
    rng, parts = np.random.default_rng(0), []
    for method, subject, budget, metric in product(design.methods, design.subjects, design.budgets, design.metrics):
        noise = rng.normal(0, spread, N_IMAGES)
        value = TRUE[1 if budget == "1" else 40][metric] + shift + noise - noise.mean()
        key = {"method": method, "subject": subject, "sessions": design.budgets[budget][subject], "seed": 0}
        key |= {"split": design.split, "metric": metric, "image_id": np.arange(N_IMAGES), "value": value}
        parts.append(pd.DataFrame(key))
    return pd.concat(parts, ignore_index=True)


def table(published, design, scores, name="table01"):
    layout = read_paper_layout(CONFIG / "paper_tables" / f"{name}.yaml")
    cells = compare(published_cells(layout, published), scores, design)
    return layout, cells


def verdict(cells, entry, metric):
    found = cells[(cells["entry"] == entry) & (cells["metric"] == metric)]
    assert len(found) == 1
    return found["verdict"].item()


def test_equal_scores_reproduce_and_shifted_ones_deviate(published):
    design = design_of()
    _, cells = table(published, design, scores_of(design))
    for entry, metric in product((0, 6), METRICS):  # MindEye2 at 40 sessions, and at 1
        assert verdict(cells, entry, metric) == REPRODUCED
    assert verdict(cells, 2, "pixcorr") == NOT_RUN  # MindEye1 is no method of the study
    assert verdict(cells, 0, "ssim") == NOT_RUN  # a metric the study has no scores of
    assert verdict(cells, 1, "pixcorr") == DEVIATES  # unrefined is published at 0.278
    row = cells[(cells["entry"] == 1) & (cells["metric"] == "pixcorr")].iloc[0]
    assert row["ours"] == pytest.approx(0.322) and row["difference"] == pytest.approx(0.044)
    _, shifted = table(published, design, scores_of(design, shift=0.02))
    assert {verdict(shifted, 0, metric) for metric in METRICS} == {DEVIATES}


def test_the_interval_is_widened_by_half_a_printed_digit_and_no_more(published):
    design = design_of()
    exact = scores_of(design, spread=0.0)  # intervals of no width
    for shift, expected in ((0.00049, REPRODUCED), (0.00051, DEVIATES)):
        _, cells = table(published, design, exact.assign(value=exact["value"] + shift))
        assert {verdict(cells, 0, m) for m in METRICS} == {expected}, shift


def test_swapped_retrieval_is_noticed(published):
    design = design_of()
    names = {"retrieval_image": "retrieval_brain", "retrieval_brain": "retrieval_image"}
    scores = scores_of(design)
    _, cells = table(published, design, scores.assign(metric=scores["metric"].replace(names)))
    assert verdict(cells, 6, "retrieval_image") == verdict(cells, 6, "retrieval_brain") == DEVIATES


def test_a_mean_over_subjects_needs_all_of_them_at_all_their_images(published):
    three = design_of(subjects=SUBJECTS[:3])
    assert set(table(published, three, scores_of(three))[1]["verdict"]) == {NOT_RUN}
    _, cells = table(published, three, scores_of(three), "table08")
    assert verdict(cells, 0, "pixcorr") in (REPRODUCED, DEVIATES) and verdict(cells, 3, "pixcorr") == NOT_RUN
    design = design_of()
    scores = scores_of(design)
    hole = (scores["subject"] == "subj07") & (scores["image_id"] == 3) & (scores["method"] == "mindeye2_blended")
    assert verdict(table(published, design, scores[~hole])[1], 0, "pixcorr") == NOT_RUN
    # extra subjects of the study do not enter
    more = design_of(subjects=[*SUBJECTS, "subj08"])
    scores = scores_of(more)
    scores.loc[scores["subject"] == "subj08", "value"] += 0.3
    assert verdict(table(published, more, scores)[1], 0, "pixcorr") == REPRODUCED


def test_simulated_data_and_other_splits_get_no_verdict(published):
    simulated = design_of(simulated=True, subjects=["subj01", "subj02", "subj03"], longest=8)
    layout, cells = table(published, simulated, scores_of(simulated))
    assert set(cells["verdict"]) == {SIMULATED, NOT_RUN} and verdict(cells, 0, "pixcorr") == SIMULATED
    row = cells[(cells["entry"] == 0) & (cells["metric"] == "pixcorr")].iloc[0]
    assert (row["our_subjects"], row["our_sessions"]) == ("subj01+subj02+subj03", "8")
    assert (
        "Simulated subjects cannot reproduce published numbers"
        in lay_out_paper(layout, cells, simulated, REGISTRY).note
    )
    other = replace(design_of(), split="shared982")
    assert verdict(table(published, other, scores_of(other))[1], 0, "pixcorr") == "not comparable (split shared982)"


def test_brain_correlation_is_compared_where_the_published_encoding_model_measured_it(published):
    metric = "brain_correlation_v1"
    design = replace(design_of(), metrics={metric: REGISTRY[metric]})
    rows = scores_of(replace(design, metrics={"pixcorr": REGISTRY["pixcorr"]})).assign(metric=metric)
    rows["value"] += np.where(rows["sessions"] == 40, 0.364 - 0.322, 0.309 - 0.195)  # Table 3 in place of Table 1
    for encoding, expected in (("gnet_multisubject", REPRODUCED), ("banded_ridge", "not comparable (encoding model)")):
        cells = table(published, replace(design, encoding=encoding), rows, "table03")[1]
        assert verdict(cells, 0, metric) == expected


def test_table_has_the_papers_shape_with_lines_for_each_row(published):
    design = design_of()
    layout, cells = table(published, design, scores_of(design))
    laid_out = lay_out_paper(layout, cells, design, REGISTRY)
    assert [str(column) for column in laid_out.columns][-2:] == [
        "Brain retrieval (%, printed as Image) ↑",
        "Image retrieval (%, printed as Brain) ↑",
    ]
    assert [row.heads for row in laid_out.rows][:5] == [
        ["MindEye2", "published"], ["", "ours"], ["", "difference"], ["", "verdict"],
        ["MindEye2 (unrefined)", "published"],
    ]  # fmt: skip
    lines = {row.heads[1]: [str(cell) for cell in row.cells] for row in laid_out.rows[:4]}
    assert lines["published"][0] == "0.322" and lines["ours"][0].startswith("0.322 [0.3")
    assert lines["difference"][0] == "0.000" and lines["verdict"][0] == REPRODUCED
    assert lines["published"][1] == "0.431" and lines["ours"][1] == NOT_RUN
    mindeye1 = [row.heads[1] for row in laid_out.rows[8:10]]
    assert mindeye1 == ["published", "ours"]  # nothing to compare: two lines suffice
    for text in (laid_out.markdown(), laid_out.latex(), laid_out.html()):
        assert "reproduced" in text and "96.1" in text
    rows = tidy(cells, "table01", layout, design)
    assert len(rows) == 64 and {"published", "ours", "low", "high", "difference", "verdict", "source"} <= set(rows)


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda path: path.stem)
def test_every_layout_shows_its_whole_table(published, path):
    layout, design = read_paper_layout(path), design_of()
    cells = compare(published_cells(layout, published, path), scores_of(design).iloc[:0], design)
    assert set(cells["verdict"]) == {NOT_RUN}
    rows = lay_out_paper(layout, cells, design, REGISTRY).rows
    shown = sum(cell.mean not in ("", "—") for row in rows for cell in row.cells if row.heads[1] == "published")
    assert shown == len(cells)
    assert cells["split"].nunique() == 1


def test_all_cells_of_tables_1_to_11_are_laid_out_once(published):
    parts = [published_cells(read_paper_layout(path), published).assign(layout=path.stem) for path in LAYOUTS]
    key = ["file", "method", "subject", "sessions", "metric"]
    shown = pd.concat(parts)
    wanted = published[published["file"].str.fullmatch(r"mindeye2_table\d\d")]
    assert not shown.duplicated(key).any()
    assert len(shown) == len(wanted) == 473
    assert sorted({name[:7] for name in shown["layout"]}) == [f"table{n:02d}" for n in range(1, 12)]


def test_layout_that_finds_no_row_or_two_is_refused(published):
    layout = read_paper_layout(LAYOUTS[0])
    nobody = layout | {"entries": [{"title": "X", "method": "nobody", "ours": None}]}
    with pytest.raises(UserError, match=r"entry 'X' finds no row in config/published/mindeye2_table01\.csv"):
        published_cells(nobody, published)
    both = layout | {"entries": [{"title": "X", "method": "mindeye2", "ours": None}]}
    with pytest.raises(UserError, match="finds two rows for one metric"):
        published_cells(both, published)


def with_stand_in(own=True):
    """A design with the published network in the registry's words, and with MindEye2 itself or without it."""
    registry = read_methods()
    stand_ins = {name: registry[name] for name in ("mindeye2_released_blended", "mindeye2_released_unrefined")}
    return replace(design_of(), methods=METHODS | stand_ins if own else stand_ins)


def scores_with_stand_in(design):
    """`scores_of`, but what stands in for a method is worse by 0.02."""
    scores = scores_of(design)
    return scores.assign(value=scores["value"] - 0.02 * scores["method"].str.contains("released"))


def test_published_networks_answer_for_the_method_where_a_study_lacks_it(published, figures):
    alone, both = with_stand_in(own=False), with_stand_in()
    layout, cells = table(published, alone, scores_with_stand_in(alone))
    first = cells[(cells["entry"] == 0) & (cells["metric"] == "pixcorr")].iloc[0]
    assert first["our_method"] == "mindeye2_released_blended" and first["ours"] == pytest.approx(0.302)
    second = cells[(cells["entry"] == 1) & (cells["metric"] == "pixcorr")].iloc[0]
    assert second["our_method"] == "mindeye2_released_unrefined" and second["verdict"] == DEVIATES
    note = lay_out_paper(layout, cells, alone, REGISTRY).note
    assert "MindEye2, published network (unrefined) stands in for MindEye2 (unrefined)." in note

    layout, cells = table(published, both, scores_with_stand_in(both))
    first = cells[(cells["entry"] == 0) & (cells["metric"] == "pixcorr")].iloc[0]
    assert first["our_method"] == "mindeye2_blended" and first["ours"] == pytest.approx(0.322)
    assert "stands in for" not in lay_out_paper(layout, cells, both, REGISTRY).note

    for design, expected in ((alone, [0.175, 0.302]), (both, [0.195, 0.322])):
        points = curve_points(figures, figures["figures"]["figure06"], published, scores_with_stand_in(design), design)
        assert points.loc[points["side"] == "ours", "mean"].tolist() == pytest.approx(expected)


def test_no_method_is_answered_by_none(published):
    design = design_of()
    assert design.answering(None) is None
    layout = read_paper_layout(LAYOUTS[0])
    nobodys = [entry | {"ours": None} for entry in layout["entries"]]
    cells = compare(published_cells(layout | {"entries": nobodys}, published), scores_of(design), design)
    assert set(cells["verdict"]) == {NOT_RUN} and cells["ours"].isna().all()
    one = [nobodys[0], *layout["entries"][1:]]  # beside entries that are answered
    cells = compare(published_cells(layout | {"entries": one}, published), scores_of(design), design)
    assert verdict(cells, 0, "pixcorr") == NOT_RUN and verdict(cells, 6, "pixcorr") == REPRODUCED


def test_what_stands_for_a_method_is_the_same_step_and_makes_the_same():
    registry = read_methods()
    stand_ins = {name: entry["stands_for"] for name, entry in registry.items() if "stands_for" in entry}
    assert {f"mindeye2{step}" for step in ("_blended", "_refined", "_unrefined", "_lowlevel")} <= {*stand_ins.values()}
    for name, method in stand_ins.items():
        for key in ("kind", "stage", "outputs"):
            assert registry[name].get(key) == registry[method].get(key), (name, key)


@pytest.fixture
def figures():
    return read_paper_figures(CONFIG / "paper_tables" / "figures.yaml")


def test_curves_hold_every_published_point_and_every_budget_of_ours(published, figures):
    design = design_of()
    points = curve_points(figures, figures["figures"]["figure06"], published, scores_of(design), design)
    sides = points.groupby("side").size()
    assert sides["published"] == 5 * 2 * 10 and sides["ours"] == 2  # pixcorr of mindeye2 at 1 and 40 sessions
    ours = points[points["side"] == "ours"]
    assert ours["mean"].tolist() == pytest.approx([0.195, 0.322]) and ours["sessions"].tolist() == [1, 40]
    elsewhere = design_of(subjects=SUBJECTS[1:])
    points = curve_points(figures, figures["figures"]["figure06"], published, scores_of(elsewhere), elsewhere)
    assert set(points["side"]) == {"published"}


def test_normalised_curves_run_from_chance_to_the_longest_training(published, figures):
    design, figure = design_of(), figures["figures"]["figure05"]
    points = normalised(curve_points(figures, figure, published, scores_of(design), design), figure, design)
    longest = points[(points["curve"] == 0) & (points["sessions"] == 40)]
    assert longest["mean"].to_numpy() == pytest.approx(np.ones(len(longest))) and set(longest["side"]) == {
        "ours",
        "published",
    }
    clip = points[(points["side"] == "ours") & (points["metric"] == "identification_clip")].set_index("sessions")[
        "mean"
    ]
    assert clip[1] == pytest.approx((0.792 - 0.5) / (0.930 - 0.5))


def test_figures_are_drawn_with_and_without_scores_of_ours(published, figures, tmp_path):
    simulated = design_of(simulated=True, subjects=["subj03"], longest=8)
    for name, scores in (("figure05", scores_of(simulated)), ("figure06", scores_of(simulated).iloc[:0])):
        figure = figures["figures"][name]
        points = curve_points(figures, figure, published, scores, simulated)
        save_figure(paper_figure(figure, points, published, simulated, REGISTRY), tmp_path / name, formats=("svg",))
    with_ours, without = ((tmp_path / f"{name}.svg").read_text() for name in ("figure05", "figure06"))
    assert "small (simulated: not comparable)" in with_ours and "not run" not in with_ours
    assert "not run" in without
