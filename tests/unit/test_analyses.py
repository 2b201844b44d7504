"""Analyses that method folders declare: which a study may list, and what their folders must hold."""

import pandas as pd
import pytest
from configurations import changed
from folders import method_folder

from fmri2img import plugins
from fmri2img.artifacts.analysis import Analysis
from fmri2img.errors import UserError
from fmri2img.methods.registry import read_analyses
from fmri2img.reporting.analyses import ROWS, analysis_table, shown_analyses, shown_analysis
from fmri2img.study import Study

ENTRY = {"title": "Layers", "sentence": "Which layer explains which region."}


@pytest.fixture
def made(tmp_path):
    (tmp_path / "figure.svg").write_text("<svg/>")
    (tmp_path / "table.csv").write_text("region,layer,r2\nV1,conv1,0.25\nV4,,-0.0123456\n")
    return tmp_path


def test_a_study_lists_analyses_that_folders_declare(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "OUTSIDE", {})
    plugins.register(method_folder(tmp_path / "planted", analyses={"layers": ENTRY}))
    assert read_analyses()["planted.layers"] == ENTRY | {"folder": "planted", "name": "layers"}
    mine = {"methods": ["planted"], "retrieval_only": [], "budgets": {}}
    for chosen in ("all", ["planted.layers"]):
        assert list(Study(changed(**mine, analyses=chosen)).analyses) == ["planted.layers"]
    assert Study(changed(**mine, analyses=[])).analyses == {}
    assert list(Study(changed(analyses=["planted.layers"])).analyses) == ["planted.layers"]
    with pytest.raises(UserError, match=r"key 'analyses': 'planted.layer' is not an analysis .*'planted.layers'"):
        Study(changed(analyses=["planted.layer"]))


def test_the_name_of_an_analysis_is_a_folders_name(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "OUTSIDE", {})
    plugins.register(method_folder(tmp_path / "planted", analyses={"two words": ENTRY}))
    with pytest.raises(UserError, match=r"method.yaml: key 'analyses.two words': 'two words' is not made of"):
        read_analyses()


def test_figure_and_numbers_are_shown(made):
    shown = shown_analysis("planted.layers", ENTRY, made)
    assert shown.figure == "data:image/svg+xml;base64,PHN2Zy8+"
    assert [row.heads for row in shown.table.rows] == [["V1", "conv1"], ["V4", ""]]
    assert [row.cells[0].mean for row in shown.table.rows] == ["0.25", "−0.01235"]
    assert "analyses/planted/layers/table.csv" in shown.table.note
    html = shown.html()
    assert f'alt="{ENTRY["sentence"]}"' in html and "−0.01235" in html


def test_a_long_table_is_cut_and_says_so():
    table = analysis_table(pd.DataFrame({"voxel": range(100)}), "Voxels", "table.csv")
    assert len(table.rows) == ROWS and table.note.startswith(f"The first {ROWS} of 100 rows")
    assert table.rows[1].heads == ["1"] and table.heads == ["Voxel"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda folder: (folder / "figure.svg").unlink(), "holds 0 of figure.svg and figure.png; write one"),
        (lambda folder: (folder / "figure.png").write_text("x"), "holds 2 of figure.svg and figure.png; write one"),
        (lambda folder: (folder / "table.csv").unlink(), "table.csv: not a table"),
        (lambda folder: (folder / "table.csv").write_text("region,r2\n"), "table.csv: has no rows"),
    ],
)
def test_an_incomplete_folder_is_refused_by_name(made, edit, message):
    edit(made)
    with pytest.raises(UserError, match=message):
        Analysis.open(made)


def test_an_analysis_that_failed_says_why_in_its_place(made):
    entries = {"planted.layers": ENTRY, "planted.other": ENTRY | {"title": "Other"}}
    found = {
        "planted.layers": {"folder": str(made)},
        "planted.other": {"failed": "count: <no> trials (logs/count.log)"},
    }
    there, lost = shown_analyses(entries, found)
    assert there.failed == "" and there.figure.startswith("data:")
    assert lost.figure == "" and "Missing: count: &lt;no&gt; trials (logs/count.log)" in lost.html()
