import ast
import io
from dataclasses import replace
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from configurations import merged
from designs import DISCLOSURE, IDENTIFICATION, small_design
from folders import method_folder
from matplotlib.colors import to_hex
from rich.console import Console

from fmri2img import plugins
from fmri2img.artifacts.prediction import save_prediction
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import Stimuli, save_stimuli
from fmri2img.errors import UserError
from fmri2img.methods.registry import read_methods
from fmri2img.paths import SCRIPTS
from fmri2img.reporting import claims, figures, gaps, grids, provenance, summary, tables
from fmri2img.reporting.chances import pool_chances
from fmri2img.reporting.design import GAP, Design, matching
from fmri2img.reporting.estimates import estimates
from fmri2img.reporting.ranking import ranking
from fmri2img.reporting.style import TINTS, method_styles, save_figure, tinted
from fmri2img.study import Study

CONFIG = Path(__file__).parents[2] / "config"
MAIN = {"title": "Trained on {budget}", "rows": ["method"], "methods": ["*"], "metrics": ["*"]}
N_IMAGES = 20
LEVELS = {"ridge": [0.6, 0.7, 0.9], "recall": [0.55, 0.6, 0.7], "shuffled": [0.5, 0.5, 0.5]}


@pytest.fixture
def design():
    return small_design(
        methods={
            "ridge": {"title": "Ridge", "kind": "decoder", "outputs": ["images"]},
            "recall": {"title": "Recall", "kind": "control", "outputs": ["images"]},
            "shuffled": {"title": "Shuffled", "kind": "control", "outputs": ["images"]},
        },
        metrics={
            "identification_net": IDENTIFICATION,
            "distance_net": {
                "title": "Distance",
                "range": [0, 2],
                "higher_is_better": False,
                "chance": None,
                "needs": "images",
            },
        },
        budgets={"1": {"subj01": 1, "subj02": 1}, "2": {"subj01": 2, "subj02": 2}, "all": {"subj01": 8, "subj02": 6}},
        resamples=200,
    )


@pytest.fixture
def scores(design):
    """Identification at LEVELS with noise that sums to zero over images, distance going the other way."""
    rng, parts = np.random.default_rng(0), []
    for method, (step, sessions), subject, seed in product(
        design.methods, enumerate(design.budgets.values()), design.subjects, design.seeds
    ):
        noise = rng.normal(0, 0.05, N_IMAGES)
        value = LEVELS[method][step] + noise - noise.mean()
        for metric, values in {"identification_net": value, "distance_net": 1.5 - value}.items():
            key = {"method": method, "subject": subject, "sessions": sessions[subject], "seed": seed}
            key |= {"split": "shared1000", "metric": metric, "image_id": np.arange(N_IMAGES) * 10, "value": values}
            parts.append(pd.DataFrame(key))
    return pd.concat(parts, ignore_index=True)


def at(cells, **where):
    for name, value in where.items():
        cells = cells[cells[name] == value]
    assert len(cells) == 1
    return cells.iloc[0]


def drop(scores, **where):
    hit = np.logical_and.reduce([scores[name] == value for name, value in where.items()])
    assert hit.any()
    return scores[~hit]


def test_cells_are_the_means_of_the_scores(scores, design):
    cells = estimates(scores, design)
    by_subject = estimates(scores, design, by_subject=True)
    for method, (label, sessions), metric in product(design.methods, design.budgets.items(), design.metrics):
        means = []
        for subject in design.subjects:
            rows = scores.query("method == @method and metric == @metric and subject == @subject")
            means.append(rows.loc[rows["sessions"] == sessions[subject], "value"].mean())
            cell = at(by_subject, method=method, budget=label, metric=metric, subject=subject)
            assert cell["mean"] == pytest.approx(means[-1])
            assert cell["sessions"] == str(sessions[subject])
        cell = at(cells, method=method, budget=label, metric=metric)
        assert cell["mean"] == pytest.approx(np.mean(means))
        assert cell["low"] < cell["mean"] < cell["high"]
        assert (cell["n_subjects"], cell["n_seeds"]) == (2, 2)
    assert at(cells, method="ridge", budget="all", metric="distance_net")["sessions"] == "6–8"


def test_table_shows_direction_chance_unit_and_where_its_numbers_come_from(scores, design):
    table = tables.lay_out(MAIN, estimates(scores, design), design, "all")
    assert table.title == "Trained on all sessions (6–8)"
    columns = [(str(column), column.chance) for column in table.columns]
    assert columns == [("Identification (net, %) ↑", "50.0"), ("Distance ↓", "")]
    assert [row.heads for row in table.rows] == [["Ridge"], ["Recall"], ["Shuffled"]]
    assert [row.rule_above for row in table.rows] == [False, True, False]  # controls stand below one rule
    assert table.rows[0].cells[0].mean == "90.0" and table.rows[0].cells[1].mean == "0.600"
    for fact in ("95 %", "shared1000", "2 subjects", "2 seeds", "Simulated data"):
        assert fact in table.note
    for text in (table.markdown(), table.latex(), table.html()):
        assert "90.0" in text and "0.600" in text
    lines = table.markdown().splitlines()
    assert {line.count("|") for line in lines if line.startswith("|")} == {4}
    assert lines[2].startswith("| Method | Identification")


@pytest.mark.parametrize(
    "missing",
    [
        {"method": "recall", "subject": "subj02", "sessions": 2},
        {"method": "recall", "subject": "subj02", "sessions": 2, "seed": 1},
        {"method": "recall", "sessions": 2, "image_id": 30},
        {"method": "recall", "sessions": 2},
    ],
)
def test_an_incomplete_cell_is_a_gap_and_never_a_mean_of_what_is_there(scores, design, missing):
    cells = estimates(drop(scores, **missing), design)
    assert np.isnan(at(cells, method="recall", budget="2", metric="distance_net")["mean"])
    assert cells["mean"].isna().sum() == 2
    table = tables.lay_out(MAIN, cells, design, "2")
    assert [str(cell) for cell in table.rows[1].cells] == [GAP, GAP]
    assert GAP in table.markdown() and "---" in table.latex() and "full set of scores" in table.note
    tidy = tables.tidy(cells, design)
    assert at(tidy, method="recall", budget="2", metric="distance_net")[["mean", "low", "high"]].isna().all()


def test_undefined_values_are_left_out_and_counted(scores, design):
    hit = (scores["method"] == "ridge") & (scores["sessions"] == 1) & (scores["image_id"] == 30)
    cells = estimates(scores.assign(value=scores["value"].mask(hit)), design)
    cell = at(cells, method="ridge", budget="1", metric="identification_net")
    assert cell["mean"] == cell["mean"] and (cell["n_images"], cell["n_excluded"]) == (N_IMAGES - 1, 4)
    assert "8 undefined values" in tables.lay_out(MAIN, cells, design, "1").note


def test_a_subject_that_nobody_scored_is_a_gap_everywhere(scores, design):
    cells = estimates(drop(scores, subject="subj02"), design)
    assert cells["mean"].isna().all()


def test_no_scores_at_all_still_gives_every_cell(scores, design):
    cells = estimates(scores.iloc[:0], design)
    assert len(cells) == 18 and cells["mean"].isna().all() and (cells["n_images"] == 0).all()


def test_subject_table_names_each_method_once(scores, design):
    layout = MAIN | {"rows": ["method", "subject"], "methods": ["ridge", "shuf*"]}
    table = tables.lay_out(layout, estimates(scores, design, by_subject=True), design, "1")
    heads = [row.heads for row in table.rows]
    assert heads == [["Ridge", "subj01"], ["", "subj02"], ["Shuffled", "subj01"], ["", "subj02"]]


def test_latex_escapes():
    assert tables.escape_latex(r"50% & a_b#1 {x} ~^\$") == (
        r"50\% \& a\_b\#1 \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{}\$"
    )
    assert tables.escape_latex("↑ — 6–8 −1") == r"$\uparrow$ --- 6--8 $-$1"
    assert tables.escape_latex("[x]") == "{}[x]"  # after \\ a bracket would be an optional argument


def test_csv_is_tidy_and_unrounded(scores, design, tmp_path):
    cells = estimates(scores, design)
    tables.write_table(tmp_path / "main_1", tables.lay_out(MAIN, cells, design, "1"), tables.tidy(cells, design))
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == [f"main_1.{s}" for s in ("csv", "html", "md", "tex")]
    table = pd.read_csv(tmp_path / "main_1.csv")
    assert len(table) == 18 and not table.duplicated(["method", "budget", "metric"]).any()
    row = at(table, method="ridge", budget="all", metric="identification_net")
    assert (row["split"], row["data"], row["subject"], row["chance"]) == ("shared1000", "simulated", "all", 0.5)
    assert row["mean"] == at(cells, method="ridge", budget="all", metric="identification_net")["mean"]


def test_layout_with_an_unknown_key_or_row_is_refused(tmp_path):
    path = tmp_path / "main.yaml"
    path.write_text(yaml.safe_dump(MAIN | {"colums": []}))
    with pytest.raises(UserError, match=r"main\.yaml: key 'colums' is unknown"):
        tables.read_layout(path)
    path.write_text(yaml.safe_dump(MAIN | {"rows": ["metric"]}))
    with pytest.raises(UserError, match="key 'rows'"):
        tables.read_layout(path)
    for path in (CONFIG / "tables").glob("*.yaml"):
        tables.read_layout(path)


def test_chance_of_a_pool_follows_the_number_of_test_images(scores, design):
    registry = {"identification_net": {"chance": "1/pool"}, "distance_net": {"chance": None}}
    assert pool_chances(scores, registry, pool=10) == {"identification_net": 0.1}
    fewer = scores[(scores["subject"] != "subj02") | (scores["image_id"] < 40)]
    chances = pool_chances(fewer, registry, pool=300)
    assert chances["identification_net"] == pytest.approx((1 / 20 + 1 / 4) / 2)


CHANCE = {
    "kind": "check",
    "methods": "shuffled",
    "metrics": ["identification_*"],
    "tolerance": 0.001,
    "note": "Broken.",
}
FINDING = {"kind": "finding", "source": "A paper", "note": "Too small.", "metrics": ["*"]}
CLAIMS = [
    CHANCE | {"claim": "chance", "test": "at_chance"},
    CHANCE | {"claim": "no better", "test": "no_better_than_chance"},
    FINDING | {"claim": "rises", "test": "rises", "methods": "decoder"},
    FINDING | {"claim": "beats", "test": "beats", "methods": "recall", "than": "shuffled"},
]


def judge(scores, design):
    judged = claims.judge_claims(CLAIMS, scores, estimates(scores, design), design)
    return judged, claims.verdicts(judged).set_index("claim")["met"].to_dict()


def test_a_claim_says_nothing_of_what_a_method_does_not_make(scores, design):
    methods = design.methods | {"ridge": design.methods["ridge"] | {"outputs": ["retrieval"]}}
    design = replace(design, methods=methods)
    judged = claims.judge_claims(CLAIMS, scores, estimates(scores, design), design)
    assert set(judged["claim"]) == {"chance", "no better", "beats"}
    assert judged["kind"].tolist() == sorted(judged["kind"])


@pytest.mark.parametrize("name", ["config.yaml", "paper.yaml"])
def test_every_general_claim_is_tested_in_the_demo_and_in_the_papers_study(name):
    study = Study(merged(name))
    design = Design.of(study)
    read = claims.read_claims(study.registries["methods"], study.registries["metrics"])
    for claim in read:
        assert matching(design.metrics, claim["metrics"]), claim["claim"]
        if "folder" not in claim:
            assert claims.claimed_methods(claim, design), claim["claim"]
    kinds = [claim["kind"] for claim in read]
    assert kinds == sorted(kinds) and set(kinds) == {"check", "finding"}
    assert {claim["folder"] for claim in read if "folder" in claim} >= {"mindeye2", "nearest_neighbour"}


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({"methods": "nobody"}, r"claims.yaml: key 'findings.0.methods': 'nobody' is not a method"),
        ({"than": "rigde"}, r"key 'findings.0.than': 'rigde' is not a method; did you mean 'ridge'"),
        ({"metrics": ["pixcor"]}, r"key 'findings.0.metrics': pixcor match no metric"),
        ({"than": None}, r"key 'findings.0.than': missing; add it"),
        ({"test": "rises"}, r"key 'findings.0.than': test rises has none; remove it"),
        ({"otherwise": None}, r"key 'findings.0.otherwise'"),
        ({"tset": "beats"}, r"key 'findings.0.tset': unknown; did you mean 'test'"),
    ],
)
def test_a_folder_brings_claims_and_a_wrong_one_is_named(claim, message, tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "OUTSIDE", {})
    folder = method_folder(tmp_path / "planted")
    plugins.register(folder)
    registry, metrics = read_methods(), {"pixcorr": {}}
    right = {"claim": "Planted beats ridge", "test": "beats", "than": "ridge", "metrics": ["pixcorr"]}
    right |= {"source": "A paper", "otherwise": "It is small."}
    (folder / "claims.yaml").write_text(yaml.safe_dump({"findings": [right]}))
    monkeypatch.setattr(claims, "GENERAL", folder / "none" / "claims.yaml")
    monkeypatch.setattr(claims.plugins, "files", lambda *_: [folder / "claims.yaml"])
    (folder / "none").mkdir()
    (folder / "none" / "claims.yaml").write_text("checks: []")
    (read,) = claims.read_claims(registry, metrics)
    assert (read["folder"], read["kind"], read["note"]) == ("planted", "finding", "It is small.")
    (folder / "claims.yaml").write_text(yaml.safe_dump({"findings": [right | claim]}))
    with pytest.raises(UserError, match=message):
        claims.read_claims(registry, metrics)


def test_a_claim_names_kinds_floors_and_the_nearest_control_of_a_folder(scores, design):
    entries = {
        "near": {"folder": "recalled", "of": "ridge", "kind": "control"},
        "far": {"folder": "recalled", "of": "other", "kind": "control"},
        "shuffled": {"folder": "shuffle", "of": "ridge", "kind": "control", "scale": {"floor": ["images"]}},
    }
    made = {"outputs": ["images"], "title": "A"}
    methods = {"ridge": design.methods["ridge"] | {"folder": "linear"}, "other": made | {"kind": "decoder"}}
    methods |= {name: made | entry for name, entry in entries.items()}
    design = replace(design, methods=methods)

    def meant(**claim):
        return claims.claimed_methods(claim, design)

    assert meant(methods="decoder") == ["ridge", "other"] and meant(methods="floor") == ["shuffled"]
    assert meant(folder="recalled") == ["near", "far"] and meant(methods="near", folder="shuffle") == ["near"]
    assert meant(methods="any") == list(methods)

    def compared(method, than):
        return claims.compared_metrics({"than": than, "metrics": ["identification_*"]}, method, design)

    assert compared("ridge", "recalled") == {"near": ["identification_net"]}
    assert compared("other", "recalled") == {"far": ["identification_net"]}
    assert compared("near", "floor") == {"shuffled": ["identification_net"]}
    assert compared("ridge", "ceiling") == compared("ridge", "absent") == {}


def test_true_claims_are_met_with_the_right_gain(scores, design):
    judged, verdicts = judge(scores, design)
    assert verdicts == {"rises": True, "chance": True, "no better": True, "beats": True}
    gain = at(judged, claim="rises", metric="identification_net")
    assert gain["mean"] == pytest.approx(0.3) and 0 < gain["low"] < 0.3 < gain["high"]
    # lower is better for a distance, so its fall counts as a gain
    assert at(judged, claim="rises", metric="distance_net")["mean"] == pytest.approx(0.3)


def test_false_claims_are_not_met(scores, design):
    reversed_budgets = scores.assign(sessions=scores["sessions"].replace({1: 8, 8: 1, 6: 1}))
    at_one = reversed_budgets["subject"].eq("subj02") & reversed_budgets["sessions"].eq(8)
    reversed_budgets.loc[at_one, "sessions"] = 6
    assert judge(reversed_budgets, design)[1] == {
        "rises": False,
        "chance": True,
        "no better": True,
        "beats": True,
    }

    biased = scores.copy()
    biased.loc[biased["method"] == "shuffled", "value"] += 0.1
    verdicts = judge(biased, design)[1]
    assert not verdicts["chance"] and not verdicts["no better"]
    biased.loc[biased["method"] == "shuffled", "value"] -= 0.2
    verdicts = judge(biased, design)[1]
    assert not verdicts["chance"] and verdicts["no better"]

    recall = scores[scores["method"] == "recall"].assign(method="shuffled")
    beaten = pd.concat([scores[scores["method"] != "shuffled"], recall])
    assert not judge(beaten, design)[1]["beats"]


def test_a_dip_at_the_middle_budget_breaks_the_rise(scores, design):
    dip = scores.copy()
    dip.loc[(dip["method"] == "ridge") & (dip["sessions"] == 2), "value"] = 0.55
    assert not judge(dip, design)[1]["rises"]


@pytest.mark.parametrize(("below", "met"), [(0.9, True), (1.2, False)])
def test_a_floor_of_few_images_is_lower_by_what_a_predictions_own_image_wins(scores, design, below, met):
    lower = 0.5 * (1 - below / (N_IMAGES - 1))
    floor = scores["method"] == "shuffled"
    scores.loc[floor & (scores["metric"] == "identification_net"), "value"] = lower
    assert judge(scores, design)[1]["chance"] == met


def test_a_claim_without_its_scores_is_not_met(scores, design):
    missing = drop(scores, method="shuffled", sessions=2, seed=1)
    judged, verdicts = judge(missing, design)
    assert verdicts == {"rises": True, "chance": False, "no better": False, "beats": False}
    assert at(judged, claim="chance", budget="2")["finding"] == GAP


def test_a_claim_may_be_about_some_budgets_only(scores, design):
    worse_at_all = scores.copy()
    at_all = (scores["method"] == "recall") & scores["sessions"].isin([8, 6])
    worse_at_all.loc[at_all & (scores["metric"] == "identification_net"), "value"] = 0.4
    claim = FINDING | {"claim": "c", "test": "beats", "methods": "recall", "than": "shuffled", "metrics": ["id*"]}
    for budgets, met in (([1], True), ([1, 2], True), (["all"], False), ([1, 40], True), ("longest", False)):
        asked = [claim | {"budgets": budgets}]
        judged = claims.judge_claims(asked, worse_at_all, estimates(worse_at_all, design), design)
        wanted = ["all"] if budgets == "longest" else [str(budget) for budget in budgets if budget != 40]
        assert judged["budget"].tolist() == wanted
        assert judged["met"].all() == met
    nowhere = claims.judge_claims([claim | {"budgets": [40]}], scores, estimates(scores, design), design)
    assert nowhere.empty


def test_claims_are_judged_at_the_budgets_that_a_method_runs_at(scores, design):
    longest = replace(design, own_budgets={"recall": ["all"], "shuffled": ["1", "all"]})
    fewer = drop(
        drop(drop(scores, method="recall", sessions=1), method="recall", sessions=2), method="shuffled", sessions=2
    )
    judged, verdicts = judge(fewer, longest)
    assert verdicts == {"rises": True, "chance": True, "no better": True, "beats": True}
    assert at(judged, claim="beats", metric="identification_net")["budget"] == "all"
    assert judged[judged["claim"] == "chance"]["budget"].unique().tolist() == ["1", "all"]
    assert gain_at(fewer, longest, "longest").empty and len(gain_at(fewer, longest, "longest", than="shuffled"))
    assert not judged["finding"].eq(GAP).any()


def gain_at(scores, design, at, method="ridge", than="recall"):
    claim = FINDING | {"claim": "c", "test": "larger_gain_at", "at": at, "methods": method, "than": than}
    return claims.judge_claims([claim], scores, estimates(scores, design), design)


def test_where_a_gain_is_larger(scores, design):
    # ridge leads recall by 0.05 at one session and by 0.2 at all; the distance goes the other way
    longest = gain_at(scores, design, "longest")
    assert longest["met"].all() and longest["mean"].to_numpy() == pytest.approx([0.15, 0.15])
    assert (longest["low"] > 0).all() and (longest["low"] < 0.15).all()
    shortest = gain_at(scores, design, "shortest")
    assert not shortest["met"].any() and shortest["mean"].to_numpy() == pytest.approx([-0.15, -0.15])
    finding = at(longest, metric="identification_net")["finding"]
    assert finding.startswith("20.0 at all sessions (6–8) against 5.0 at 1 session; excess 15.0 [")
    # a gain that does not change is larger nowhere
    same = scores[scores["method"] == "ridge"].assign(method="recall")
    noise = np.random.default_rng(1).normal(0, 0.02, len(same))
    same["value"] += np.where(same["metric"] == "distance_net", 0.1, -0.1) + noise
    same = pd.concat([scores[scores["method"] != "recall"], same])
    assert not gain_at(same, design, "longest")["met"].any() and not gain_at(same, design, "shortest")["met"].any()
    missing = gain_at(drop(scores, method="recall", sessions=1, seed=1), design, "longest")
    assert missing["finding"].eq(GAP).all() and not missing["met"].any()


def only(scores, design, **claim):
    (row,) = claims.judge_claims([FINDING | {"claim": "c"} | claim], scores, estimates(scores, design), design).to_dict(
        "records"
    )
    return row


def test_a_check_of_falling_scores_fails_only_when_the_fall_is_certain(scores, design):
    ask = {"test": "does_not_fall", "methods": "ridge", "metrics": ["identification_*"]}
    assert only(scores, design, **ask)["met"]
    level = scores.copy()
    noise = np.random.default_rng(2).normal(0, 0.05, len(level))
    level.loc[level["method"] == "ridge", "value"] = 0.7 + noise[level["method"] == "ridge"]
    assert only(level, design, **ask)["met"] and not only(level, design, **ask | {"test": "rises"})["met"]
    fallen = scores.copy()
    fallen.loc[(fallen["method"] == "ridge") & fallen["sessions"].isin([6, 8]), "value"] -= 0.4
    assert not only(fallen, design, **ask)["met"]


def test_one_clear_metric_is_enough_to_beat_a_floor(scores, design):
    ask = {"test": "beats_in_some_metric", "methods": "recall", "than": "shuffled", "budgets": "longest"}
    worse = scores.copy()
    identified = worse["metric"] == "identification_net"
    worse.loc[identified & (worse["method"] == "recall"), "value"] = 0.4
    found = only(worse, design, **ask)
    assert found["met"] and found["metric"] == "distance_net" and found["mean"] == pytest.approx(0.2)
    worse.loc[~identified & (worse["method"] == "recall"), "value"] = 1.2
    assert not only(worse, design, **ask)["met"]
    # A small gain with a wide interval leaves it open, unless the interval stays below the tolerance.
    ask |= {"metrics": ["identification_*"]}
    swing = np.where(np.arange(len(scores)) % 2, 0.9, -0.9) + 0.1
    unsure = scores.assign(value=np.where(scores["method"] == "recall", 0.5 + swing, 0.5))
    found = only(unsure, design, **ask | {"tolerance": 0.05})
    assert found["mean"] == pytest.approx(0.1) and found["low"] < 0 < 0.05 < found["high"]
    assert found["met"] and found["finding"].endswith("too few images to tell")
    assert not only(unsure, design, **ask | {"tolerance": 5})["met"] and not only(unsure, design, **ask)["met"]


def test_a_picture_that_equals_its_stimulus_fails_the_check(scores, design):
    ask = {"test": "differs_from_stimulus", "methods": "ridge", "metrics": ["identification_*"]}
    copied = scores.assign(value=scores["value"].clip(upper=0.99))
    assert only(copied, design, **ask)["met"]
    drawn = copied.index[(copied["method"] == "ridge") & (copied["metric"] == "identification_net")]
    copied.loc[drawn[:3], "value"] = 1
    found = only(copied, design, **ask)
    assert not found["met"] and found["finding"].startswith("3 of ")


def test_summary_is_plain_text_and_says_what_failed(scores, design, tmp_path):
    bad = drop(scores, method="recall", sessions=2, subject="subj01")
    cells = estimates(bad, design)
    for budget in design.budgets:
        chosen = cells[cells["budget"] == budget]
        layout = tables.lay_out(MAIN, cells, design, budget)
        tables.write_table(tmp_path / "tables" / f"main_{budget}", layout, tables.tidy(chosen, design))
    judged, _ = judge(bad, design)
    tables.write_tables(tmp_path / "tables" / "claims", claims.claims_tables(judged, design), judged)
    missing = gaps.gap_rows([])
    tables.write_table(tmp_path / "tables" / "gaps", gaps.gap_table(missing, design), missing)
    html = (tmp_path / "tables" / "claims.html").read_text()
    assert html.index("Checks") < html.index("holds") < html.index("Published findings") < html.index("not seen")
    text = io.StringIO()
    console = Console(file=text, width=100, highlight=False)
    summary.print_summary(tmp_path, design, seconds=481, peak_mb=1000, console=console)
    text = text.getvalue()
    assert "\x1b" not in text
    assert "90.0 [" in text and GAP in text and "chance 50.0" in text and "interval over images" in text
    assert "Checks: 2 of 2 FAIL: something is broken" not in text and "Checks: all 2 hold" in text
    assert "seen  rises (2 of 2 tests)" in text and "in part  beats (4 of 6 tests)" in text
    assert "Why it may differ here: Too small." in text and "NO" not in text and "FAIL" not in text
    broken, _ = judge(drop(bad, method="shuffled", sessions=2, subject="subj01"), design)
    tables.write_tables(tmp_path / "tables" / "claims", claims.claims_tables(broken, design), broken)
    loud = io.StringIO()
    summary.print_summary(tmp_path, design, console=Console(file=loud, width=100, highlight=False))
    assert "Checks: 2 of 2 FAIL: something is broken" in loud.getvalue() and "FAILS  chance" in loud.getvalue()
    assert "Broken." in loud.getvalue() and loud.getvalue().index("FAILS") < loud.getvalue().index("Published findings")
    assert f"8 min 01 s (expected: {summary.EXPECTED_TIME})" in text and "1.05 GB, within" in text
    assert summary.EXPECTED_TIME in (CONFIG.parent / "README.md").read_text("utf-8")
    assert "not written yet" in text and f"Page    {tmp_path / 'page.html'}" in text
    with pytest.raises(UserError, match=r"main_1\.csv: no such file"):
        summary.print_summary(tmp_path / "elsewhere", design, console=console)


def test_summary_cuts_no_number_off(scores, design, tmp_path):
    """Methods without a score of a metric have no row there; a narrow terminal shows means alone."""
    cells = estimates(scores[(scores["method"] != "recall") | (scores["metric"] == "distance_net")], design)
    for metric, heading, rows in (
        ("identification_net", "Identification (net) in % ↑, chance 50.0", ["Ridge", "Shuffled"]),
        ("distance_net", "Distance ↓", ["Ridge", "Recall", "Shuffled"]),
    ):
        for with_intervals in (True, False):
            text = io.StringIO()
            width = summary.full_width(design) if with_intervals else 60
            tables_shown = dict(summary.score_tables(cells, design, with_intervals))
            Console(file=text, width=width).print(tables_shown[heading])
            lines = [line.split() for line in text.getvalue().splitlines()]
            assert [line[0] for line in lines] == rows and "…" not in text.getvalue()
            means = cells[(cells["metric"] == metric) & (cells["method"] == "ridge")].set_index("budget")["mean"]
            scale = 100 if metric == "identification_net" else 1
            shown = [float(part) for part in lines[0][1 :: 3 if with_intervals else 1]]
            assert shown == pytest.approx([scale * means[budget] for budget in design.budgets], abs=0.05)


def test_images_are_ranked_by_the_stated_rule(scores, design):
    ranked_by_hand = (
        scores.query("method == 'ridge' and subject == 'subj02' and sessions == 6 and metric == 'identification_net'")
        .groupby("image_id")["value"]
        .mean()
    )
    ranked = ranking(scores, design, "subj02", ["identification_*"], {})
    assert ranked.ids[0] == ranked_by_hand.idxmax() and ranked.ids[-1] == ranked_by_hand.idxmin()
    assert ranked.means.is_monotonic_decreasing and ranked.method == "ridge"
    shuffled_rows = scores.sample(frac=1, random_state=1)
    again = ranking(shuffled_rows, design, "subj02", ["identification_*"], {})
    np.testing.assert_array_equal(again.ids, ranked.ids)
    assert ranked.at([0, 0.5, 1]) == {0: ranked.ids[0], 0.5: ranked.ids[10], 1: ranked.ids[-1]}
    assert ranked.score(ranked.ids[0]) == f"{100 * ranked_by_hand.max():.1f} %"
    ties = ranking(scores.assign(value=0.5), design, "subj02", ["identification_*"], {})
    assert (np.diff(ties.ids) > 0).all()


def test_a_study_without_the_metrics_that_rank_images_is_ranked_by_those_that_it_has(scores, design):
    def only(*names):
        return scores[scores["metric"].isin(names)], replace(design, metrics={n: design.metrics[n] for n in names})

    assert list(ranking(*only("identification_net", "distance_net"), "subj02", ["x_*"], {}).metrics) == [
        "identification_net"
    ]
    by_distance = ranking(*only("distance_net"), "subj02", ["identification_*"], {})
    assert by_distance.means.is_monotonic_increasing and by_distance.lower_is_better and not by_distance.is_share
    assert by_distance.score(by_distance.ids[0]) == f"{by_distance.means.iloc[0]:.3f}"
    first = scores["image_id"].min()
    alone = ranking(scores[scores["image_id"] == first], design, "subj02", ["identification_*"], {})
    assert alone.at([0, 0.25, 0.5, 1]) == {0: first}


@pytest.fixture
def pictures(design, tmp_path):
    """Stimuli 0, 1, 2, ... of one grey level each; every Prediction holds its own ids, some shades brighter."""
    ids = np.arange(0, N_IMAGES * 10, 5)
    images = np.broadcast_to(ids.astype(np.uint8)[:, None, None, None], (len(ids), 8, 8, 3))
    table = pd.DataFrame({"image_id": ids, "name": "x", "source": "x", "cluster": None})
    table["captions"] = table["categories"] = [["a"]] * len(ids)
    save_stimuli(tmp_path / "stimuli", np.ascontiguousarray(images), table, {})
    test_ids = np.arange(N_IMAGES) * 10
    split = Split("shared1000", "test", {"shared1000": test_ids.tolist()})
    paths = {}
    for method, sessions in product(design.methods, (1, 2, 8)):
        path = paths[method, "subj01", sessions, 0] = tmp_path / f"{method}{sessions}"
        metadata = {"method": method, "subject": "subj01", "sessions": sessions, "seed": 0, "split": "shared1000"}
        metadata |= {"split_sha256": split.sha256, "test_set": "shared1000"}
        metadata |= {"disclosure": DISCLOSURE | {"training_trials": 100 * sessions}}
        made = np.broadcast_to((test_ids + sessions).astype(np.uint8)[:, None, None, None], (N_IMAGES, 8, 8, 3))
        vectors = np.ones((N_IMAGES, 2))
        save_prediction(path, test_ids, metadata, images=None if method == "recall" else made, retrieval=vectors)
    return Stimuli.open(tmp_path / "stimuli"), paths, split


def test_strips_join_on_image_id_and_leave_out_methods_without_images(design, pictures):
    stimuli, paths, _ = pictures
    assert grids.index_predictions([*paths.values()], design) == paths
    found = grids.strips(stimuli, paths, design, "subj01", np.array([150, 30]))
    assert [(strip.group, strip.label) for strip in found] == [
        ("", "stimulus"),
        *(("Ridge", label) for label in ("1 session", "2 sessions", "8 sessions")),
        *(("Shuffled", label) for label in ("1 session", "2 sessions", "8 sessions")),
    ]
    assert found[0].images[:, 0, 0, 0].tolist() == [150, 30]
    assert found[3].images[:, 0, 0, 0].tolist() == [158, 38]
    with pytest.raises(UserError, match="ridge1: lacks some test images"):
        grids.strips(stimuli, paths, design, "subj01", np.array([5]))


def test_what_does_not_vary_is_found_under_every_cell_that_it_stands_for(design, pictures, tmp_path):
    """A control of the true images is stored once, and its pictures are shown to every subject, budget and seed."""
    stimuli, _, split = pictures
    ids = np.arange(N_IMAGES) * 10
    made = np.full((N_IMAGES, 8, 8, 3), 7, np.uint8)

    def stored(name, **cell):
        metadata = {"method": "shuffled", "split": "shared1000", "split_sha256": split.sha256, "disclosure": DISCLOSURE}
        save_prediction(tmp_path / name, ids, metadata | {"test_set": "shared1000"} | cell, images=made)
        return tmp_path / name

    once = stored("once", subject="all", sessions="all", seed="all")
    cells = {(s, n) for budget in design.budgets.values() for s, n in budget.items()}
    found = grids.index_predictions([once], design)
    assert found == {("shuffled", subject, n, seed): once for subject, n in cells for seed in design.seeds}
    shown = grids.strips(stimuli, found, design, "subj02", np.array([30]))
    assert [strip.label for strip in shown[1:]] == ["1 session", "2 sessions", "6 sessions"]
    assert all((strip.images == 7).all() for strip in shown[1:])

    of_subject = stored("of_subject", subject="subj02", sessions="all", seed=1)
    assert set(grids.index_predictions([of_subject], design)) == {("shuffled", "subj02", n, 1) for n in (1, 2, 6)}
    elsewhere = stored("elsewhere", subject="all", sessions="all", seed="all", test_set="hard")
    assert grids.index_predictions([elsewhere], design) == {}


def test_no_report_names_a_method():
    """Reports read what methods are from the registry; of the methods' package they import only how it is read."""
    folders = {path.parent.name for path in SCRIPTS.glob("fmri2img/methods/*/method.yaml")}
    assert "mindeye2" in folders
    for file in sorted(SCRIPTS.glob("fmri2img/reporting/**/*.py")):
        tree = ast.parse(file.read_text())
        imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        imported |= {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
        of_methods = {name for name in imported if name and name.startswith("fmri2img.methods")}
        assert of_methods <= {"fmri2img.methods.registry", "fmri2img.methods.plan"}, file.name
        texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        assert not folders & texts, file.name


def test_a_grid_too_wide_for_a_page_goes_on_below_with_the_stimulus_again():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    methods = [f"method {number}" for number in range(4)]
    picked = [grids.Strip("", "stimulus", images)]
    picked += [grids.Strip(method, f"{n} sessions", images) for method in methods for n in (2, 4, 8)]
    figure = grids.grid(picked, ["best", "worst"])
    texts = [[text.get_text() for text in panel.texts] for panel in figure.axes]
    assert [[method in block for method in methods] for block in texts] == [[True] * 3 + [False], [False] * 3 + [True]]
    assert all("stimulus" in block and "best" in block for block in texts)


def test_figures_are_the_same_bytes_every_time(scores, design, pictures, tmp_path):
    stimuli, paths, _ = pictures
    gap = drop(scores, method="recall", sessions=2)
    cells, by_subject = estimates(gap, design), estimates(gap, design, by_subject=True)
    picked = grids.strips(stimuli, paths, design, "subj01", np.array([150, 30]))
    make = {
        "sessions": lambda: figures.session_curves(cells, design),
        "subjects": lambda: figures.subject_bars(gap, by_subject, design, "all"),
        "grid": lambda: grids.grid(picked, ["best", "worst"]),
        "banner": lambda: grids.banner(picked),
    }
    for name, figure in make.items():
        for run in ("first", "second"):
            save_figure(figure(), tmp_path / run / name)
        for suffix in ("svg", "png"):
            first, second = ((tmp_path / run / f"{name}.{suffix}").read_bytes() for run in ("first", "second"))
            assert first == second and len(first) > 1000


def test_a_missing_budget_leaves_a_hole_in_its_curve_and_its_band(scores, design):
    gap = drop(scores, method="recall", sessions=2)
    figure = figures.session_curves(estimates(gap, design), design)
    panel = figure.axes[0]
    colours = {name: style["color"] for name, style in method_styles(design).items()}
    for method, stretches in {"ridge": [[1, 2, 7]], "recall": [[1], [7]]}.items():
        own = [line.get_xdata().tolist() for line in panel.lines if line.get_color() == colours[method]]
        assert own == stretches
        bands = [band for band in panel.collections if to_hex(band.get_facecolor()[0]) == colours[method]]
        assert [sorted(set(band.get_paths()[0].vertices[:, 0])) for band in bands] == stretches
    plt.close(figure)


def test_figures_draw_the_intervals_that_they_are_given(scores, design):
    cells, by_subject = estimates(scores, design), estimates(scores, design, by_subject=True)
    panel = figures.session_curves(cells, design).axes[0]
    colour = method_styles(design)["ridge"]["color"]
    (band,) = [band for band in panel.collections if to_hex(band.get_facecolor()[0]) == colour]
    (line,) = [line for line in panel.lines if line.get_color() == colour]
    wanted = cells[(cells["method"] == "ridge") & (cells["metric"] == "identification_net")]
    assert line.get_ydata() == pytest.approx(wanted["mean"].to_numpy())
    drawn = {round(y, 9) for y in band.get_paths()[0].vertices[:, 1]}
    assert drawn == {round(y, 9) for y in wanted[["low", "high"]].to_numpy().ravel()}
    panel = figures.subject_bars(scores, by_subject, design, "all").axes[0]
    rows = by_subject[(by_subject["metric"] == "identification_net") & (by_subject["budget"] == "all")]
    rows = rows.set_index(["method", "subject"])
    bars = {round(bar.get_center()[0], 6): bar.get_height() for bars in panel.containers[:3] for bar in bars}
    intervals = {round(s[0, 0], 6): s[:, 1] for c in panel.collections for s in getattr(c, "get_segments", list)()}
    assert len(bars) == 6 and bars.keys() == intervals.keys()
    for place, (subject, method) in zip(sorted(bars), product(design.subjects, design.methods), strict=True):
        cell = rows.loc[(method, subject)]
        assert bars[place] == pytest.approx(cell["mean"])
        assert intervals[place] == pytest.approx(cell[["low", "high"]].to_numpy(float))
    plt.close("all")


def test_bars_mark_missing_scores_and_leave_out_methods_that_a_metric_does_not_apply_to(scores, design):
    methods = design.methods | {"shuffled": design.methods["shuffled"] | {"outputs": ["retrieval"]}}
    design = replace(design, methods=methods)
    gap = drop(scores[scores["method"] != "shuffled"], method="recall", subject="subj02")
    figure = figures.subject_bars(gap, estimates(gap, design, by_subject=True), design, "all")
    panel = figure.axes[0]
    assert sum(len(bars) for bars in panel.containers if hasattr(bars, "patches")) == 3
    (mark,) = [line for line in panel.lines if line.get_marker() == "_"]
    assert len(mark.get_xdata()) == 1 and 1 < mark.get_xdata()[0] < 1.5
    assert "missing scores" in [text.get_text() for text in figure.legends[0].texts]
    plt.close(figure)


def test_legends_of_many_methods_fit_the_page_and_families_share_a_hue(scores, design):
    trained = {
        f"{backbone}_{pretrained}": {
            "title": f"A rather long title of {backbone}, {'' if pretrained else 'not '}pretrained",
            "kind": "decoder",
            "folder": backbone,
            "outputs": ["images"],
            "training": {"pretrained": pretrained},
        }
        for pretrained in (True, False)
        for backbone in ("as_released", "residual_mlp")
    }
    controls = {f"control{n}": {"title": f"Control {n}", "kind": "control", "outputs": ["images"]} for n in range(6)}
    many = replace(design, methods=trained | controls | design.methods)
    styles = method_styles(many)
    for backbone in ("as_released", "residual_mlp"):
        pretrained, scratch = styles[f"{backbone}_True"], styles[f"{backbone}_False"]
        assert pretrained["linestyle"] == "-" != scratch["linestyle"]
        assert scratch["color"] == tinted(pretrained["color"], TINTS[1]) and pretrained["marker"] != scratch["marker"]
    assert len({str(style) for style in styles.values()}) == len(styles)
    cells, by_subject = estimates(scores, many), estimates(scores, many, by_subject=True)
    for figure in (figures.session_curves(cells, many), figures.subject_bars(scores, by_subject, many, "all")):
        figure.draw_without_rendering()
        legend = figure.legends[0].get_window_extent()
        assert legend.x1 <= figure.bbox.x1
        assert legend.y0 >= max(panel.get_tightbbox().y1 for panel in figure.axes)
        plt.close(figure)


def test_of_many_methods_figures_show_the_first_of_each_family(scores, design):
    members = {f"variant{n}": design.methods["ridge"] | {"folder": "linear"} for n in range(12)}
    many = replace(design, methods={"ridge": design.methods["ridge"] | {"folder": "linear"}} | members | design.methods)
    many.methods["ridge"] = many.methods["ridge"] | {"folder": "linear"}
    assert many.families == {
        "ridge": ["ridge", *members], "recall": ["recall"], "shuffled": ["shuffled"],
    }  # fmt: skip
    assert list(many.condensed().methods) == ["ridge", "recall", "shuffled"]
    assert design.condensed() == design
    copies = [scores, *(scores[scores["method"] == "ridge"].assign(method=name) for name in members)]
    everything = pd.concat(copies, ignore_index=True)
    figure = figures.session_curves(estimates(everything, many), many)
    shown = [text.get_text() for text in figure.legends[0].texts]
    assert shown == ["Ridge", "Recall", "Shuffled", "chance level"]
    plt.close(figure)


def test_disclosures_summarise_and_refuse_another_split(design, pictures):
    _, paths, split = pictures
    disclosed = provenance.disclosures(list(paths.values()), design, split)
    ridge = at(disclosed, method="ridge")
    assert ridge["training_trials"] == "100–800" and ridge["transductive"] == "no"
    assert ridge["training_subjects"] == "the subject only"
    other = replace(split, test_sets={"shared1000": split.test_ids[1:]})
    with pytest.raises(UserError, match="another split"):
        provenance.disclosures(list(paths.values()), design, other)


def test_provenance_holds_split_hash_versions_and_the_configuration(design, pictures, tmp_path):
    split = pictures[2]
    config = {
        "dataset": "nsd",
        "nsd": {"betas": {"version": "b3"}},
        "encoder": "clip",
        "autoencoder": "vae",
        "generator": "unclip",
        "seeds": [1],
    }
    facts = provenance.provenance(config, design, split, [("versions", "numpy", "2.4.6")]).set_index(
        ["section", "item"]
    )["value"]
    assert facts["split", "SHA-256 of held-out ids"] == split.sha256
    assert facts["versions", "numpy"] == "2.4.6" and facts["betas", "version"] == "b3"
    provenance.write_config(tmp_path / "config.yaml", config)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == config
