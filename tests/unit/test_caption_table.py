"""The table of captions: every method that writes sentences, then BrainHub's published rows, marked as quoted."""

import numpy as np
import pandas as pd
import pytest
from designs import small_design

from fmri2img.metrics.registry import read_metrics
from fmri2img.paths import REPOSITORY
from fmri2img.reporting.caption_table import caption_rows, caption_table, quoted_captions
from fmri2img.reporting.design import GAP
from fmri2img.reporting.published import read_published, read_sources

PUBLISHED = REPOSITORY / "config" / "published"
METRICS = ["caption_rougeL", "caption_clip_s", "pixcorr"]


@pytest.fixture(scope="module")
def design():
    registry = read_metrics(REPOSITORY / "config" / "metrics.yaml")
    methods = {
        "words": {"title": "Words", "kind": "decoder", "outputs": ["captions"]},
        "pictures": {"title": "Pictures", "kind": "decoder", "outputs": ["images"]},
        "ceiling": {"title": "Ceiling", "kind": "control", "outputs": ["captions"]},
    }
    return small_design(methods=methods, metrics={name: registry[name] for name in METRICS})


@pytest.fixture(scope="module")
def cells(design):
    keys = [(b, m, n) for b in design.budgets for m in design.methods for n in design.metrics]
    table = pd.DataFrame(keys, columns=["budget", "method", "metric"])
    table["mean"] = np.where(table["method"] == "words", 0.4, 0.6)
    table.loc[(table["method"] == "words") == (table["metric"] == "pixcorr"), "mean"] = np.nan
    table.loc[(table["method"] == "ceiling") & (table["metric"] != "pixcorr"), "mean"] = 0.6
    return table.assign(low=table["mean"] - 0.1, high=table["mean"] + 0.1)


def test_methods_that_write_captions_come_first_and_quoted_rows_say_where_they_are_from(design, cells):
    sources = read_sources(PUBLISHED)
    quoted = quoted_captions(read_published(PUBLISHED), ["shared1000", "shared982"])
    table = caption_table(cells, quoted, design, sources)
    own = [row for row in table.rows if row.heads[4] == "this study"]
    assert [row.heads[0] for row in own] == ["Words", "Ceiling"] and own[1].rule_above
    assert table.rows[len(own)].rule_above
    first = next(row for row in table.rows if row.heads[:2] == ["BrainCap (quoted)", "subj01"])
    assert first.heads[2:4] == ["shared982", "all COCO captions, pycocoevalcap"] and "BrainHub" in first.heads[4]
    titles = [column.title for column in table.columns]
    assert titles[:2] == ["ROUGE-L", "CLIP-S"] and "PixCorr" not in titles
    # BrainHub's ROUGE is of another tokeniser and stays in a column of its own; its CLIP-S is ours.
    assert first.cells[0].mean == GAP and first.cells[1].mean == "0.6431"
    assert "40.69" in [cell.mean for cell in first.cells[2:]]
    assert own[0].cells[0].interval and not first.cells[1].interval
    assert {cell.mean for cell in own[0].cells[2:]} == {GAP}
    nothing = caption_table(cells, quoted_captions(read_published(PUBLISHED), ["class"]), design, sources)
    assert [row.heads for row in nothing.rows] == [row.heads for row in own] and len(nothing.columns) == 2


def test_the_file_holds_both_apart(design, cells):
    quoted = quoted_captions(read_published(PUBLISHED), ["shared982"])
    rows = caption_rows(cells, quoted, design, read_sources(PUBLISHED))
    assert set(rows.loc[~rows["quoted"], "method"]) == {"words", "ceiling"}
    ours = rows[(rows["method"] == "words") & (rows["metric"] == "caption_clip_s")]
    assert ours["references"].tolist() == ["all"] and ours["mean"].tolist() == [0.4]
    assert rows.loc[rows["quoted"], "split"].eq("shared982").all() and rows.loc[rows["quoted"], "low"].isna().all()
