"""Claims over test sets on planted scores: orders that agree or not, scores that fall or not, what is not tested."""

from dataclasses import replace
from itertools import permutations, product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from configurations import merged
from designs import small_design
from scipy.stats import spearmanr

from fmri2img.artifacts.scores import read_scores, save_scores
from fmri2img.errors import UserError
from fmri2img.reporting import claims
from fmri2img.reporting.estimates import estimates, scored_design
from fmri2img.reporting.split_comparison import Side
from fmri2img.reporting.transfer_claims import Transfer, enough_methods, order_p, spearman
from fmri2img.study import Study
from make_tables import transfer

IMAGES = {"usual": 200, "inner": 80, "cluster2": 120, "drawn": 90}
KINDS = {"usual": "seen", "inner": "imagined", "cluster2": "cluster", "drawn": "synthetic"}
RANKS = {
    "claim": "Ranks", "test": "ranks_do_not_carry_over", "methods": "decoder", "metrics": ["identification"],
    "test_sets": ["seen", "imagined"], "tolerance": 0.5, "kind": "finding", "source": "a paper", "note": "few images",
}  # fmt: skip
FALLS = RANKS | {"claim": "Falls", "test": "falls", "test_sets": ["seen", "cluster", "synthetic"], "tolerance": 0}


def design_of(n_methods: int):
    decoders = {f"m{n}": {"title": f"Method {n}", "kind": "decoder", "outputs": ["images"]} for n in range(n_methods)}
    decoders["variant"] = decoders["m0"] | {"title": "Variant", "folder": "m0"}
    decoders["m0"] = decoders["m0"] | {"folder": "m0"}
    metric = {"title": "Identification", "range": [0, 1], "higher_is_better": True, "needs": "images"}
    return small_design(
        methods=decoders,
        metrics={"identification": metric | {"chance": 0.5}, "top1": metric | {"title": "Top-1", "chance": 0.01}},
        seeds=[0], test_sets=list(IMAGES), kinds=KINDS,
    )  # fmt: skip


def scores_of(design, levels: dict[str, list[float]], noise: float = 0.1) -> dict[str, pd.DataFrame]:
    """test set -> scores; levels: test set -> level of each method; the variant has that of the first."""
    rng, found = np.random.default_rng(0), {}
    for place, (test_set, of_methods) in enumerate(levels.items()):
        parts = []
        for (method, level), subject, metric in product(
            zip(design.methods, [*of_methods, of_methods[0]], strict=True), design.subjects, design.metrics
        ):
            for sessions in {of_subject[subject] for of_subject in design.budgets.values()}:
                key = {"method": method, "subject": subject, "sessions": sessions, "seed": 0, "metric": metric}
                ids = 1000 * place + np.arange(IMAGES[test_set])
                parts.append(pd.DataFrame(key | {"image_id": ids, "value": level + noise * rng.normal(size=len(ids))}))
        found[test_set] = pd.concat(parts, ignore_index=True)
    return found


def judged(claim: dict, design, levels, noise=0.1, **options):
    scores = scores_of(design, levels, noise)
    transfer = Transfer({name: Side(table, design) for name, table in scores.items()}, "all", **options)
    first = scores[next(iter(scores))]
    return claims.judge_claims([claim], first, estimates(first, design), design, transfer)


LEVELS = [0.6, 0.65, 0.7, 0.75, 0.8, 0.85]


def test_an_order_that_holds_is_not_a_finding():
    found = judged(RANKS, design_of(6), {"usual": LEVELS, "inner": [level - 0.08 for level in LEVELS]})
    (row,) = found.itertuples()
    assert row.mean == pytest.approx(1) and row.low > 0 and row.tested and not row.met
    assert row.reference == "usual → inner" and "p 0.001 of such agreement" in row.finding
    assert "over 6 methods" in row.finding and "200 and 80 images" in row.finding  # the variant is of a family
    assert claims.verdicts(found)["word"].tolist() == ["not seen"]


def test_an_order_that_turns_round_is():
    found = judged(RANKS, design_of(6), {"usual": LEVELS, "inner": LEVELS[::-1]})
    (row,) = found.itertuples()
    assert row.mean == pytest.approx(-1) and row.high < 0.5 and row.tested and row.met
    assert claims.verdicts(found)["word"].tolist() == ["seen"]


def test_too_few_images_or_methods_leave_it_open():
    same = [0.70, 0.701, 0.702, 0.703, 0.704, 0.705]
    (row,) = judged(RANKS, design_of(6), {"usual": LEVELS, "inner": same}, noise=0.3).itertuples()
    assert row.low < 0 and row.high > 0.5 and not row.tested and "too few images to tell" in row.finding
    few = judged(RANKS, design_of(4), {"usual": LEVELS[:4], "inner": LEVELS[:4]})
    (row,) = few.itertuples()
    assert not row.tested and np.isnan(row.mean) and "not enough methods to tell: 4 of 5" in row.finding
    assert claims.verdicts(few)["word"].tolist() == ["not tested"]
    assert enough_methods(0.05) == 5 and enough_methods(0.001) == 7


def test_correlation_and_its_p_equal_those_of_scipy():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 4, 7))
    b[1, 2] = b[1, 3]
    np.testing.assert_allclose(spearman(a, b), [spearmanr(*pair).statistic for pair in zip(a, b, strict=True)])
    x, y = a[0, :5], b[0, :5]
    observed = spearmanr(x, y).statistic
    expected = np.mean([spearmanr(x, order).statistic >= observed - 1e-9 for order in permutations(y)])
    assert order_p(x, y) == pytest.approx(expected)
    many = np.arange(10.0)
    assert order_p(many, many) == pytest.approx(1 / 10_001)


def test_planted_falls_are_seen_and_a_rise_is_not():
    levels = {
        "usual": LEVELS,
        "cluster2": [level - 0.1 for level in LEVELS],
        "drawn": [level - 0.3 for level in LEVELS],
    }
    found = judged(
        FALLS, design_of(6), levels, alike={("usual", "identification"): 0.1, ("cluster2", "identification"): 0.4}
    )
    assert found["met"].all() and len(found) == 14
    rows = found[found["method"] == "m1"].set_index("reference")
    assert rows.loc["usual → cluster2", "mean"] == pytest.approx(-0.1, abs=0.02)
    assert rows.loc["cluster2 → drawn", "mean"] == pytest.approx(-0.2, abs=0.02)
    assert "200 and 120 images, alike by 0.10 and 0.40" in rows.loc["usual → cluster2", "finding"]
    assert "alike" not in rows.loc["cluster2 → drawn", "finding"]
    levels["drawn"] = LEVELS
    found = judged(FALLS, design_of(6), levels)
    assert not found[found["reference"] == "cluster2 → drawn"]["met"].any()
    assert claims.verdicts(found)["word"].tolist() == ["in part"]


def test_differences_are_of_independent_draws_of_the_images():
    found = judged(FALLS, design_of(6), {"usual": LEVELS, "drawn": LEVELS}, noise=0.2)
    row = found[found["method"] == "m2"].iloc[0]
    # Two subjects with noise of their own: the standard error of the difference of two means.
    expected = 2 * 1.96 * np.sqrt(0.2**2 / 2 * (1 / 200 + 1 / 90))
    assert row["high"] - row["low"] == pytest.approx(expected, rel=0.2) and row["reference"] == "usual → drawn"


def test_a_metric_with_other_chance_levels_is_not_compared():
    design = design_of(6)
    scores = scores_of(design, {"usual": LEVELS, "drawn": LEVELS})
    other = replace(
        design, metrics={n: m | {"chance": m["chance"] * (2 if n == "top1" else 1)} for n, m in design.metrics.items()}
    )
    sides = {"usual": Side(scores["usual"], design), "drawn": Side(scores["drawn"], other)}
    claim = FALLS | {"metrics": ["*"]}
    first = scores["usual"]
    found = claims.judge_claims([claim], first, estimates(first, design), design, Transfer(sides, "all"))
    top = found[found["metric"] == "top1"]
    assert not top["tested"].any() and top["finding"].str.contains("not compared, as chance is at 1.0 and 2.0").all()
    assert found[found["metric"] == "identification"]["tested"].all()


def test_a_study_without_such_test_sets_has_no_such_claim_and_tables_show_the_others(tmp_path):
    design = design_of(6)
    scores = scores_of(design, {"usual": LEVELS})["usual"]
    assert claims.judge_claims([RANKS, FALLS], scores, estimates(scores, design), design).empty
    assert judged(RANKS, design, {"usual": LEVELS, "drawn": LEVELS}).empty
    found = judged(RANKS, design, {"usual": LEVELS, "inner": LEVELS})
    (_, table) = claims.claims_tables(found, design)
    assert table.rows[0].heads[1] == "All methods together"


def test_a_held_out_cluster_comes_from_the_study_that_is_compared_with(tmp_path):
    """Whichever of the two studies is reported."""
    config = merged("config.yaml") | {"methods": ["ridge"], "metrics": ["pixcorr"], "retrieval_only": [], "budgets": {}}
    here = config | {"study": "held", "split": "cluster0"}
    rng, files = np.random.default_rng(0), {}
    for place, (level, own) in enumerate(((0.8, config), (0.6, here))):
        study, parts = Study(own), []
        for subject, sessions in ((s, n) for s in study.subjects for n in study.budgets(s)):
            key = {"method": "ridge", "subject": subject, "sessions": sessions, "seed": 0, "metric": "pixcorr"}
            key |= {"split": own["split"], "test_set": own["split"]}
            values = level + 0.05 * rng.normal(size=30)
            parts.append(pd.DataFrame(key | {"image_id": 100 * place + np.arange(30), "value": values}))
        files[own["study"]] = tmp_path / f"{own['study']}.parquet", tmp_path / f"{own['study']}.yaml"
        save_scores(files[own["study"]][0], pd.concat(parts))
        files[own["study"]][1].write_text(yaml.safe_dump(study.config))
    for own, other in ((config, here), (here, config)):
        study = Study(own)
        scores = read_scores(files[own["study"]][0], study.test_sets[0])
        designs = {study.test_sets[0]: scored_design(study, scores)}
        given = SimpleNamespace(others=[files[other["study"]][0]], other_config=files[other["study"]][1])
        found = transfer(SimpleNamespace(input=given), study, {study.test_sets[0]: scores}, designs, {})
        assert list(found.sides) == [own["split"], other["split"]] and found.budget == "all"
        claim = FALLS | {"metrics": ["pixcorr"]}
        design = designs[study.test_sets[0]]
        (row,) = claims.judge_claims([claim], scores, estimates(scores, design), design, found).itertuples()
        assert row.reference == "shared1000 → cluster0" and row.met and row.mean == pytest.approx(-0.2, abs=0.03)
    alone = SimpleNamespace(input=SimpleNamespace(others=[], other_config=[]))
    assert transfer(alone, study, {study.test_sets[0]: scores}, designs, {}) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_sets": None}, "key 'findings.0.test_sets': missing"),
        ({"test_sets": ["seen", "imagined", "synthetic"]}, "key 'findings.0.test_sets': must name two"),
        ({"test": "rises"}, "key 'findings.0.test_sets': test rises has none"),
        ({"test_sets": ["seen"]}, "key 'findings.0.test_sets': "),
    ],
)
def test_a_wrong_claim_is_named(change, message, tmp_path, monkeypatch):
    keys = ("claim", "test", "methods", "metrics", "test_sets", "tolerance", "source")
    claim = {key: RANKS[key] for key in keys} | {"otherwise": "Few."} | change
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"findings": [claim]}))
    monkeypatch.setattr(claims, "GENERAL", tmp_path / "claims.yaml")
    monkeypatch.setattr(claims.plugins, "files", lambda *_: [])
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        claims.read_claims({}, {"identification": {}})
