import base64
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from planted_page import HOSTILE, N_IMAGES, SIDE, planted_design, planted_parts, planted_pictures, planted_scores

from fmri2img.paths import REPOSITORY
from fmri2img.reporting.design import GAP
from fmri2img.reporting.leaderboard import scale_note
from fmri2img.reporting.page import board, charts, pictures
from fmri2img.reporting.page.build import page
from fmri2img.reporting.page.costs import costs, duration
from fmri2img.reporting.tables import Cell, Row, Table


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    parts, design = planted_parts(tmp_path_factory.mktemp("planted"))
    return parts, design, page(parts, design)


class Elements(HTMLParser):
    """Elements of a page as a browser would build them: (name, attributes) and the text of each script."""

    def __init__(self, html):
        super().__init__()
        self.found, self.scripts, self.ids = [], [], []
        self.inside = None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self.inside = dict(attributes) if tag == "script" else None

    def handle_data(self, data):
        if self.inside is not None:
            self.scripts.append((self.inside, data))

    def handle_endtag(self, tag):
        self.inside = None


def embedded(html, name):
    return next(json.loads(text) for attributes, text in Elements(html).scripts if attributes.get("id") == name)


def test_no_title_becomes_markup_and_nothing_is_loaded(planted):
    html = planted[2]
    elements = Elements(html)
    assert [a.get("type") for a, _ in elements.scripts] == ["application/json", "application/json", None]
    assert not any(tag == "b" and "bold" in str(attributes) for tag, attributes in elements.found)
    assert "<b>&#34;bold" not in html and 'alert("title")' not in html.replace('alert(\\"title\\")', "")
    assert embedded(html, "data")["methods"][1]["title"] == HOSTILE
    for tag, attributes in elements.found:
        for link in ("src", "href"):
            assert re.match(r"data:|#", attributes.get(link) or "#"), (tag, attributes)
    assert "default-src 'none'" in next(a["content"] for t, a in elements.found if a.get("http-equiv"))
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|https?://(?!www\.w3\.org/2000/svg)", html)


def test_sort_keys_are_numbers_and_what_is_missing_has_none(planted):
    cells = embedded(planted[2], "data")["cells"]
    found = cells["all"]["identification_net"]
    assert found["first"]["raw"]["value"] == pytest.approx(0.8) and found["first"]["raw"]["text"] == "80.0"
    assert found["first"]["rank"] == 1 and found["first"]["p"] is None and found["ceiling"]["rank"] is None
    assert found["first"]["normalised"]["value"] == pytest.approx(0.75)
    assert found["floor"]["normalised"]["text"] == "0.00"
    order = sorted(found, key=lambda name: -found[name]["raw"]["value"])
    assert order == ["ceiling", "first", "sent", "second", "floor"]
    assert "sent" not in cells["1"]["identification_net"]
    assert (board.key(float("nan")), board.key(pd.NA), board.key(-np.inf)) == (None, None, None)
    whole = cells["all"]["fid"]["first"]
    assert whole["raw"]["low"] is None and whole["raw"]["interval"] == "" and whole["group"] == ""


def test_methods_carry_kind_and_disclosures(planted):
    methods = {method["name"]: method for method in embedded(planted[2], "data")["methods"]}
    assert [method["kind"] for method in methods.values()] == ["decoder", "stage", "submission", "control", "control"]
    facts = dict(methods["first"]["facts"])
    assert facts["Training trials"] == "219–1728" and facts["Selector"] == "none" and facts["What it is"] == HOSTILE
    assert dict(methods["floor"]["facts"])["Kind"] == "control of First; floor of the normalised scores of images"
    assert "Training trials" not in dict(methods["sent"]["facts"])


def test_pictures_are_cut_where_the_page_cuts_them(planted):
    """Image k of a sheet lies in row k // columns, column k % columns, for stimuli and reconstructions alike."""
    found = embedded(planted[2], "pictures")
    assert found["side"] == SIDE and set(found["subjects"]) == {"subj01", "subj02"}
    subject = found["subjects"]["subj01"]

    def grey(sheet, place, columns=subject["columns"]):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["sheets"][sheet]))).convert("L"), int)
        top, left = place // columns * SIDE, place % columns * SIDE
        return pixels[top : top + SIDE, left : left + SIDE].mean()

    for place, i in enumerate(subject["ids"]):
        assert grey(subject["sheet"], place) == pytest.approx(i, abs=3)
        assert grey(found["cells"]["first/subj01/all"]["sheet"], place) == pytest.approx(i + 100, abs=3)
    for place, row in enumerate(subject["grid"]):
        assert grey(subject["gridSheet"], place, found["gridColumns"]) == pytest.approx(row["id"], abs=3)
        drawn = found["cells"]["first/subj01/all"]["gridSheet"]
        assert grey(drawn, place, found["gridColumns"]) == pytest.approx(row["id"] + 100, abs=3)
    assert found["cells"]["first/subj01/all"]["captions"][3] == "caption 30"
    assert found["captions"]["30"] == 'a "30" <i>'
    scores = found["cells"]["first/subj01/all"]["scores"]
    assert scores[0] == pytest.approx(850, abs=12) and scores[-1] == pytest.approx(750, abs=12)
    assert [row["rank"] for row in subject["grid"]] == ["best", "median", "worst"]
    assert subject["grid"][0]["id"] < 30 and subject["grid"][-1]["id"] > 80
    assert not any(cell.startswith("sent/") for cell in found["cells"])


def test_equal_sheets_are_held_once(planted):
    found = embedded(planted[2], "pictures")
    sheets = {name: cell["sheet"] for name, cell in found["cells"].items()}
    assert len(found["sheets"]) == 2 * 3 and len(set(sheets.values())) == 2  # of all images, and of the grids
    assert found["subjects"]["subj01"]["sheet"] == found["subjects"]["subj02"]["sheet"]


@pytest.mark.parametrize(
    ("metrics", "images", "lede"),
    [
        (["identification_net"], 1, "ranked by Identification (net) of First"),
        (["identification_net"], 2, "ranked by Identification (net) of First"),
        (["distance"], N_IMAGES, "ranked by Distance of First"),
        (["distance"], 1, "ranked by Distance of First"),
        (["fid"], N_IMAGES, "evenly spaced in the order of their numbers"),
    ],
)
def test_a_study_of_one_metric_or_one_image_has_a_page(metrics, images, lede, tmp_path):
    parts, design = planted_parts(tmp_path, metrics=metrics, images=images)
    html = page(parts, design)
    assert lede in html and "[nan" not in html  # a single image has no interval
    shown = embedded(html, "pictures")["subjects"]["subj01"]["grid"]
    assert len(shown) == min(3, images)


def test_pictures_are_ranked_by_a_distance_from_the_least_to_the_greatest(tmp_path):
    parts, design = planted_parts(tmp_path, metrics=["distance"])
    scores = planted_scores(design).query("method == 'first' and subject == 'subj01' and metric == 'distance'")
    distances = scores[scores["sessions"] == scores["sessions"].max()].set_index("image_id")["value"]
    found = parts.pictures
    assert found["lowerIsBetter"] and not found["share"]
    best = found["subjects"]["subj01"]["grid"][0]
    assert best["id"] == distances.idxmin() and best["score"] == f"{distances.min():.3f}"
    assert found["cells"]["first/subj01/all"]["scores"] == distances.round(3).tolist()


def test_large_studies_get_smaller_pictures_then_fewer_budgets():
    assert pictures.plan({"1": 1000, "all": 1000}, "all", 64) == (64, ["1", "all"])
    assert pictures.plan({"1": 20_000, "all": 20_000}, "all", 425) == (48, ["1", "all"])
    side, budgets = pictures.plan({"1": 96_000, "all": 96_000}, "all", 425)
    assert (side, budgets) == (40, ["all"])
    assert pictures.plan({"1": 10**6, "all": 10**6}, "all", 425) == (32, ["all"])


def test_the_page_says_what_was_made_smaller_or_left_out():
    design = planted_design()
    shown = {"side": 8, "gridSide": 8, "native": 8, "budgets": ["1", "all"]}
    assert "8 × 8 pixels, their own size;" in pictures.pictures_note(shown, design)
    small = pictures.pictures_note(shown | {"gridSide": 128, "native": 425, "budgets": ["all"]}, design)
    assert "at 128 × 128 pixels, reduced from 425 × 425; those of all test images at 8 × 8" in small
    assert "trained on 1 session are left out" in small


def test_resized_pictures_keep_their_places():
    images = np.stack([np.full((SIDE, SIDE, 3), 20 * k, np.uint8) for k in range(5)])
    made = pictures.sheet(images, np.arange(5), 4)
    assert made.shape == (8, 12, 3)
    assert [made[k // 3 * 4, k % 3 * 4, 0] for k in range(5)] == [0, 20, 40, 60, 80] and made[7, 11, 0] == 0


def test_sections_of_what_a_study_lacks_are_left_out(planted):
    parts, design, html = planted
    anchors = {
        "sessions",
        "similarity",
        "splits",
        "test-sets",
        "reconstructions",
        "images",
        "brain",
        "published",
        "compute",
        "claims",
    }

    def present(text):
        return {attributes["id"] for tag, attributes in Elements(text).found if tag == "section"}

    assert anchors <= present(html)
    board_ = parts.board[parts.board["budget"] == "all"]
    bare = replace(
        parts,
        board=board_,
        effects=None,
        curves=None,
        pictures=None,
        brain=[],
        quoted=None,
        splits=None,
        test_sets=None,
        of_sets=None,
        sources=None,
        permutations=None,
        costs=None,
        checksums={},
        claims=parts.claims[:0],
    )
    bare = page(bare, replace(design, budgets={"all": design.budgets["all"]}))
    assert present(bare) == {"leaderboard", "provenance"}
    links = {a["href"][1:] for tag, a in Elements(bare).found if tag == "a" and a["href"].startswith("#")}
    assert links == {"main", "leaderboard", "provenance"}


def test_every_region_of_the_page_has_a_name_of_its_own(planted):
    parts, design, _ = planted
    html = page(replace(parts, captions=Table("Captions", ["method"], [], [Row(["First"], [], False)], "")), design)
    found = Elements(html).found
    headings = dict(re.findall(r'<h2 id="([^"]+)">([^<]+)', html))
    names = [a["aria-label"] for _, a in found if a.get("role") == "region"]
    names += [headings[a["aria-labelledby"]].strip() for tag, a in found if tag == "section"]
    assert "Captions" in names and len(names) == len(set(names)) > 10


def test_a_leaked_test_image_is_reported_next_to_the_similarity(planted):
    parts, design, html = planted  # the nearest training image of one test image is that image
    assert "Caution: 1 test image has a copy among the training images" in html
    clean = page(replace(parts, effects=parts.effects.assign(n_copies=0)), design)
    assert "Caution: 1" not in clean and "No test image has a copy" in clean


def test_no_pictures_and_no_scores(tmp_path):
    design = planted_design()
    stimuli, _ = planted_pictures(tmp_path, design)
    assert pictures.picture_data(stimuli, {}, planted_scores(design), design, ["identification_*"], [0.0]) is None
    empty = planted_parts(tmp_path / "more")[0].board.iloc[:0]
    assert board.cell_table(empty, design)["all"]["fid"] == {} and "No normalised scores" in scale_note(empty, design)


def test_published_numbers_stand_apart_from_measured_ones(planted):
    parts, design, html = planted
    section = html[html.index('<section id="published"') : html.index('<section id="compute"')]
    assert "2 rows on split shared1000" in section and "0.322" in section and "Quoted from their sources." in section
    assert "whose data are simulated" in section and "<script>alert" not in section
    assert "0.322" not in html.replace(section, "")
    real = page(replace(parts, pictures=None), replace(design, simulated=False))
    assert "whose data are simulated" not in real and 'id="published"' in real


def test_another_split_stands_beside_this_one(planted):
    parts, design, html = planted
    section = html[html.index('<section id="splits"') : html.index('<section id="test-sets"')]
    assert "Scores on cluster0 next to shared1000" in section and "0.511" in section and "[0.43, 0.57] 50 %" in section
    assert 'href="#splits"' in html and 'id="splits"' not in page(replace(parts, splits=None), design)


def test_every_test_set_is_shown_and_the_page_says_which_one_the_rest_is_of(planted):
    parts, design, html = planted
    section = html[html.index('<section id="test-sets"') : html.index('<section id="reconstructions"')]
    assert "0.511" in section and "0.234" in section and "[0.15, 0.32]" in section and "12 of each" in section
    assert "The rest of this page shows shared1000." in section and "<script>alert" not in section
    assert "0.234" not in html.replace(section, "")
    assert 'href="#test-sets"' in html and 'id="test-sets"' not in page(replace(parts, test_sets=None), design)


def test_pictures_and_controls_have_names(planted):
    elements = Elements(planted[2]).found
    assert all(a.get("alt") for tag, a in elements if tag == "img")
    charts_ = [a for tag, a in elements if tag == "svg" and "aria-hidden" not in a]
    assert charts_ and all(a["role"] == "img" and "First: " in a["aria-label"] for a in charts_)
    tables = [a for tag, a in elements if tag == "table"]
    assert len(tables) == sum(tag == "caption" for tag, _ in elements)


def test_a_gap_interrupts_a_line_and_a_whole_set_has_no_band(planted):
    parts, design, _ = planted
    gap = parts.board.copy()
    design = replace(design, budgets=design.budgets | {"2": {"subj01": 2, "subj02": 2}})
    identification, distance, fid = charts.session_panels(gap, design)
    first = next(line for line in identification.lines if line.method == "first")
    assert len(first.paths) == 2 and len(first.points) == 2 and first.points[0][2].startswith("First, 1: 70.0 [")
    assert "First: 70.0, —, 80.0" in identification.summary
    assert identification.chance is not None and distance.chance is None
    assert all(line.bands == [] for line in fid.lines) and all(line.points for line in fid.lines)
    ys = [y for _, y, _ in first.points]
    assert ys[1] < ys[0], "better is higher"
    assert [text for _, text in identification.x_ticks] == ["1", "2", "all (6–8)"]


def test_costs_are_summed_by_rule(tmp_path):
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate" / "a.tsv").write_text(head + "16.9\t0:00:16\t1101.6\t1\t1\t1\t1\t0\t80\t14.0\n")
    (tmp_path / "evaluate" / "b.tsv").write_text(head + "3.1\t0:00:03\t900\t1\t1\t1\t1\t0\t80\t2.0\n")
    (tmp_path / "make_tables.tsv").write_text(head + "0.2\t0:00:00\t-\t-\t-\t-\t-\t-\t-\t-\n")
    found = costs(tmp_path).set_index("rule")
    assert found.index.tolist() == ["evaluate", "make_tables"]
    assert found.loc["evaluate", ["jobs", "seconds", "cpu_seconds", "longest", "peak_mb"]].tolist() == [
        2, 20.0, 16.0, 16.9, 1101.6,
    ]  # fmt: skip
    assert np.isnan(found.loc["make_tables", "peak_mb"])
    assert costs(tmp_path / "none").empty
    assert [duration(s) for s in (4.24, 59.99, 185, 7800)] == ["4.2 s", "60.0 s", "3 min 05 s", "2 h 10 min"]


def test_costs_without_memory_are_a_gap(planted):
    assert f">{GAP}</td>" in planted[2] and "6 jobs took 3 min 29 s" in planted[2]


def test_the_same_study_gives_the_same_bytes(planted, tmp_path):
    assert page(*planted_parts(tmp_path)) == planted[2]
    assert len(embedded(planted[2], "pictures")["subjects"]["subj01"]["ids"]) == N_IMAGES


def test_the_page_and_the_tables_are_made_without_loading_seaborn():
    """Its import takes about as long as the page."""
    modules = "page.build, page.pictures, split_comparison, tables, leaderboard, claims, summary, provenance"
    imports = "; ".join(f"import fmri2img.reporting.{name}" for name in modules.split(", "))
    command = [sys.executable, "-c", f"import sys; {imports}; print('seaborn' in sys.modules)"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY / "scripts")}
    )
    assert done.stdout.strip() == "False", done.stderr


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    parts, design = planted_parts(tmp_path_factory.mktemp("many"), many=True)
    return parts, design, page(parts, design)


def test_methods_of_a_family_are_named_by_its_first(many):
    _, design, html = many
    methods = {method["name"]: method for method in embedded(html, "data")["methods"]}
    assert len(methods) == 25 and len({method["family"] for method in methods.values()}) == 13
    assert {name for name, method in methods.items() if method["family"] == "shared"} == {
        "shared", "shared0", "shared1", "shared2",
    }  # fmt: skip
    assert {name for name, method in methods.items() if method["drawn"]} == set(design.families)
    assert methods["dual_floor"]["family"] == "linear_floor" and methods["sent"]["family"] == "sent"


def test_an_empty_cell_says_why(many):
    parts, design, html = many
    found = embedded(html, "data")["gaps"]
    assert found["1"]["identification_net"]["masked"] == "this study trains it on all sessions (6–8) only"
    assert found["all"]["identification_net"] == {"words": "makes no pictures"}
    captions = found["all"]["caption_rouge"]
    assert captions["linear"] == "makes no captions" and "words" not in captions
    lost = parts.board.assign(mean=parts.board["mean"].where(parts.board["method"] != "linear"))
    assert board.gaps(lost, design)["2"]["distance"]["linear"] == "lacks some of its scores"


def test_without_javascript_every_score_of_every_budget_is_a_row(many):
    parts, design, html = many
    tables = html[html.index('id="board-status"') : html.index("</noscript>", html.index('id="board-status"'))]
    assert tables.count("<details") == len(design.budgets) + 1 + len(design.methods)
    for budget, shown, table in board.plain_tables(parts.board, design):
        assert shown == (budget == "Trained on all sessions (6–8)")
        assert [row.heads[0] for row in table.rows] == [entry["title"] for entry in design.methods.values()]
        assert f"<summary>{budget}</summary>" in tables
    for row in parts.board.itertuples():
        if row.mean == row.mean and row.metric == "distance":
            assert f">{row.mean:.3f} <small>" in tables
    assert "this study trains it on all sessions (6–8) only" in tables and "makes no pictures" in tables


def test_charts_of_many_methods_draw_the_first_of_each_family(many):
    _, design, html = many
    elements = Elements(html).found
    hidden = {a["data-method"] for tag, a in elements if tag == "g" and "display: none" in a.get("style", "")}
    assert hidden == set(design.methods) - set(design.families)
    pressed = {a["data-toggle"]: a["aria-pressed"] for tag, a in elements if "data-toggle" in a}
    assert {name for name, state in pressed.items() if state == "true"} == set(design.families)
    assert set(pressed) == set(design.methods)


def test_a_failed_check_is_at_the_top_of_the_page_and_an_unseen_finding_is_not(planted):
    parts, design, html = planted
    assert 'role="alert"' not in html and "all 1 hold" in html and "in full" in html
    assert parts.claims["met"].tolist() == [True, True, False, False] and "not seen" in html
    failed = page(replace(parts, claims=parts.claims.assign(met=False)), design)
    top = failed[: failed.index('id="leaderboard"')]
    assert "1 of the checks fail" in top and '<span class="verdict fails">FAILS</span>' in failed


def test_a_long_table_of_sources_is_folded_and_its_confounds_are_not(planted):
    parts, design, _ = planted
    rows = [Row(["First", f"source {number}", "12"], [Cell("0.5"), Cell("a network")], False) for number in range(41)]
    html = page(replace(parts, sources=replace(parts.sources, rows=rows)), design)
    section = html[html.index('<section id="sources"') : html.index('<section id="permutations"')]
    assert "<summary>41 rows</summary>" in section and section.count("Confound: ") == 1
    assert section.index("</details>") < section.index("Confound: ")
    short = html[html.index('<section id="permutations"') :]
    assert "<summary>" not in short[: short.index("</section>")]
