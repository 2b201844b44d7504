"""The table of a study with several test sets: each is scored on its own images, at the longest budget."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from designs import small_design

from fmri2img.artifacts.features import Features, save_features
from fmri2img.artifacts.scores import WHOLE_SET, read_scores, save_scores
from fmri2img.reporting.figures import spread, test_set_figure
from fmri2img.reporting.page.charts import test_set_panels
from fmri2img.reporting.tables import read_csv, write_table
from fmri2img.reporting.test_sets import alikeness, cells_by_test_set, mean_correlation, table_by_test_set

IMAGES = {"usual": np.arange(20), "hard": np.arange(100, 108)}
LEVELS = {("ridge", "usual"): 0.8, ("ridge", "hard"): 0.6, ("chance", "usual"): 0.5, ("chance", "hard"): 0.4}


@pytest.fixture
def design():
    retrieval = {"title": "Retrieval (image)", "range": [0, 1], "higher_is_better": True, "needs": "retrieval"}
    fid = {"title": "FID", "range": [0, None], "higher_is_better": False, "chance": None, "needs": "images"}
    return small_design(
        test_sets=["usual", "hard"],
        methods={"ridge": {"title": "Ridge", "kind": "decoder"}, "chance": {"title": "Chance", "kind": "control"}},
        metrics={"retrieval_image": retrieval | {"chance": None}, "fid": fid | {"unit": "set"}},
        resamples=100,
    )


@pytest.fixture
def paths(design, tmp_path):
    """Files of Scores, one a method; one session is worse by 0.3."""
    rng, found = np.random.default_rng(0), []
    for method in design.methods:
        parts = []
        axes = design.budgets.values(), design.subjects, design.seeds, IMAGES.items()
        for sessions, subject, seed, (test_set, ids) in product(*axes):
            noise = rng.normal(0, 0.02, len(ids))
            level = LEVELS[method, test_set] - 0.3 * (sessions[subject] == 1)
            key = {"method": method, "subject": subject, "sessions": sessions[subject], "seed": seed}
            key |= {"split": design.split, "test_set": test_set}
            value = level + noise - noise.mean()
            parts.append(pd.DataFrame(key | {"metric": "retrieval_image", "image_id": ids, "value": value}))
            parts.append(pd.DataFrame(key | {"metric": "fid", "image_id": [WHOLE_SET], "value": 100 * (1 - level)}))
        save_scores(tmp_path / f"{method}.parquet", pd.concat(parts, ignore_index=True))
        found.append(tmp_path / f"{method}.parquet")
    return found


def cells_of(paths, design, without=(), **known):
    scores = {test_set: read_scores(paths, test_set) for test_set in design.test_sets}
    for test_set, method in without:
        scores[test_set] = scores[test_set][scores[test_set]["method"] != method]
    designs = {test_set: design.with_chances({"retrieval_image": 1 / len(IMAGES[test_set])}) for test_set in scores}
    return cells_by_test_set(scores, designs, **known)


def test_cells_are_the_means_of_each_test_set_alone(paths, design):
    cells = cells_of(paths, design).set_index(["method", "test_set", "metric"])
    assert len(cells) == 8 and set(cells["budget"]) == {"all"}
    for (method, test_set), level in LEVELS.items():
        cell = cells.loc[method, test_set, "retrieval_image"]
        assert cell["mean"] == pytest.approx(level) and cell["low"] < level < cell["high"]
        assert cell["n_images"] == len(IMAGES[test_set]) and cell["chance"] == 1 / len(IMAGES[test_set])
        assert cells.loc[method, test_set, "fid"]["mean"] == pytest.approx(100 * (1 - level))


def test_table_has_a_column_for_each_metric_and_test_set_with_its_own_chance(paths, design, tmp_path):
    cells = cells_of(paths, design)
    write_table(tmp_path / "test_sets", table_by_test_set(cells, design), cells)
    table = table_by_test_set(read_csv(tmp_path / "test_sets.csv"), design)  # as the page reads it
    assert table == table_by_test_set(cells, design)
    assert [(str(column), column.chance) for column in table.columns] == [
        ("Retrieval (image, %, usual) ↑", "5.0"), ("Retrieval (image, %, hard) ↑", "12.5"),
        ("FID (usual) ↓", ""), ("FID (hard) ↓", ""),
    ]  # fmt: skip
    assert [row.heads for row in table.rows] == [["Ridge"], ["Chance"]] and table.rows[1].rule_above
    assert [cell.mean for cell in table.rows[0].cells] == ["80.0", "60.0", "20.000", "40.000"]
    assert table.rows[0].cells[0].interval.startswith("[") and table.rows[0].cells[2].interval == ""
    assert "all sessions (6–8)" in table.title and "20 of usual, 8 of hard" in table.note
    for suffix in ("md", "tex", "html"):
        assert "60.0" in (tmp_path / f"test_sets.{suffix}").read_text()


def test_a_method_without_scores_of_a_test_set_has_a_gap_there_alone(paths, design):
    table = table_by_test_set(cells_of(paths, design, without=[("hard", "ridge")]), design)
    assert [cell.mean for cell in table.rows[0].cells] == ["80.0", "—", "20.000", "—"]
    assert "marks a cell without a full set of scores" in table.note


def test_what_the_other_tables_show_is_the_first_test_set(design):
    assert design.test_set == "usual" and replace(design, test_sets=["hard"]).test_set == "hard"


def with_ends(design):
    """The design with a floor and a ceiling: `chance` ends the scale at the bottom, and `best` at the top."""
    scale = {"outputs": ["retrieval"], "kind": "control"}
    methods = {
        "ridge": design.methods["ridge"] | {"outputs": ["retrieval"]},
        "chance": {"title": "Chance", "scale": {"floor": ["retrieval"]}} | scale,
        "best": {"title": "Best", "scale": {"ceiling": ["retrieval"]}} | scale,
    }
    return replace(design, methods=methods, kinds={"usual": "seen", "hard": "synthetic"})


def test_a_score_also_stands_between_the_floor_and_the_ceiling_of_its_test_set(paths, design, tmp_path):
    best = read_scores(paths[0]).assign(method="best")
    best["value"] += best["test_set"].map({"usual": 0.1, "hard": 0.3}) * (best["metric"] == "retrieval_image")
    save_scores(tmp_path / "best.parquet", best)
    cells = cells_of([*paths, tmp_path / "best.parquet"], with_ends(design)).set_index(["method", "test_set", "metric"])
    usual, hard = (cells.loc["ridge", name, "retrieval_image"] for name in IMAGES)
    assert usual["normalised"] == pytest.approx((0.8 - 0.5) / (0.9 - 0.5)) and hard["test_kind"] == "synthetic"
    assert hard["normalised"] == pytest.approx((0.6 - 0.4) / (0.9 - 0.4))
    assert hard["normalised_low"] < hard["normalised"] < hard["normalised_high"]
    table = table_by_test_set(cells.reset_index(), with_ends(design))
    assert table.rows[0].cells[0].interval.endswith("] 75 %") and "between the floor and the ceiling" in table.note


def test_alikeness_is_the_mean_correlation_of_two_different_images(paths, design, tmp_path):
    rng = np.random.default_rng(0)
    ids = np.concatenate(list(IMAGES.values()))
    common = np.where(ids < 100, 0.0, 2.0)[:, None] * rng.normal(size=(1, 30))  # images of the second are alike
    values = rng.normal(size=(28, 30)) + common
    save_features(tmp_path / "features", ids, {"deep": values}, {"network": "net"})
    metric = {"network": "net", "layer": "deep", "function": "identification"}
    scores = {name: read_scores(paths, name).replace("retrieval_image", "identification") for name in IMAGES}
    metrics = {"identification": metric, "fid": metric | {"function": "fid"}}
    found = alikeness(scores, metrics, {"net": Features.open(tmp_path / "features")})
    assert found["metric"].unique().tolist() == ["identification"]
    for row, rows in zip(found.itertuples(), (values[:20], values[20:]), strict=True):
        r = np.corrcoef(rows.astype(np.float32))
        assert row.alike == pytest.approx(r[~np.eye(len(r), dtype=bool)].mean(), abs=1e-6)
    assert found["alike"].tolist()[1] > 0.5 > abs(found["alike"].tolist()[0])
    assert np.isnan(mean_correlation(values[:1]))
    known = found.assign(metric="retrieval_image")
    flags = pd.Series("", index=ids).where(ids != 103, "outside the crop")
    note = table_by_test_set(cells_of(paths, design, alike=known, flags=flags), design).note
    assert (
        "harder where its images are alike" in note
        and "Flagged images of hard" in note
        and note.count("one a row") == 0
    )


def test_methods_stand_side_by_side_with_the_chance_level_of_each_test_set(paths, design):
    design = replace(design, methods={name: entry | {"folder": name} for name, entry in design.methods.items()})
    cells = cells_of(paths, design)
    figure = test_set_figure(cells, design, ["retrieval_*"])
    (panel,) = figure.axes
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["usual", "hard"]
    points = np.vstack([found.get_offsets() for found in panel.collections if len(found.get_offsets()) == 2])
    assert len(points) == 4 and len(np.unique(points[:, 0])) == 4 and abs(np.diff(spread(2))[0]) < 0.2
    np.testing.assert_allclose(sorted(points[:, 1]), sorted(LEVELS.values()), atol=1e-9)
    shown = test_set_panels(cells, design)
    assert [found.metric for found in shown] == ["retrieval_image", "fid"]
    (left, right) = shown[0].chances
    assert left[1] <= right[0] and left[2] > right[2]  # 1 in 20 is drawn below 1 in 8
    assert shown[0].chance is None and not shown[1].chances
    assert all(len(line.bars) == 2 and not line.bands for line in shown[0].lines)
    assert shown[0].lines[0].points[0][0] != shown[0].lines[1].points[0][0]
