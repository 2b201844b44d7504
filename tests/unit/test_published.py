from pathlib import Path

import pandas as pd
import pytest

from fmri2img.errors import UserError
from fmri2img.metrics.registry import read_metrics
from fmri2img.reporting.published import (
    as_printed,
    metric_entry,
    one_split,
    quoted_table,
    read_published,
    read_sources,
    rounding,
)

CONFIG = Path(__file__).parents[2] / "config"
FOLDER = CONFIG / "published"
REGISTRY = read_metrics(CONFIG / "metrics.yaml")


@pytest.fixture(scope="module")
def published():
    return read_published(FOLDER)


def pick(published, file, metric, **where):
    rows = published[(published["file"] == file) & (published["metric"] == metric)]
    for name, value in where.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1, (file, metric, where, len(rows))
    return rows.iloc[0]


# Typed from the papers by hand, apart from the tables.
KNOWN = [
    ("mindeye2_table01", "pixcorr", {"method": "mindeye2", "sessions": 40}, 0.322),
    ("mindeye2_table01", "identification_clip", {"method": "mindeye2_unrefined"}, 0.945),
    ("mindeye2_table01", "ssim", {"method": "mindeye2_lowlevel"}, 0.539),
    ("mindeye2_table01", "distance_swav", {"method": "takagi"}, 0.504),
    # printed under Image, and under Brain
    ("mindeye2_table01", "retrieval_brain", {"method": "mindeye2", "sessions": 1}, 0.790),
    ("mindeye2_table01", "retrieval_image", {"method": "mindeye2", "sessions": 1}, 0.574),
    ("mindeye2_table02", "caption_sentence_git", {"method": "ferrante"}, 0.447),
    ("mindeye2_table03", "brain_correlation_v1", {"method": "mindeye2_unrefined"}, 0.385),
    ("mindeye2_table04", "retrieval_image", {"method": "mindeye2_1024_mindeye1_mlp"}, 0.706),
    ("mindeye2_table05", "identification_alexnet2", {"method": "mindeye2_1024_prior_retrieval"}, 0.906),
    ("mindeye2_table05", "retrieval_brain", {"method": "mindeye2_1024_all"}, 0.980),
    ("mindeye2_table06", "brain_correlation_higher", {"method": "mindeye1"}, 0.345),
    ("mindeye2_table07", "caption_rougeL", {"subject": "subj05"}, 0.327),
    ("mindeye2_table08", "retrieval_image", {"subject": "subj07"}, 0.3777),
    ("mindeye2_table09", "fid_inception", {"method": "sdxl_unclip"}, 13.69),
    ("mindeye2_table10", "identification_clip", {"method": "mindeye2_pretrained_on_257"}, 0.835),
    ("mindeye2_table11", "distance_effnet", {"method": "mindeye2_empty_prompt"}, 0.810),
    ("mindeye2_figures", "ssim", {"method": "mindeye2_scratch_refined", "sessions": 0.166667}, 0.4391),
    ("mindeye2_figures", "brain_correlation_v4", {"method": "brain_diffuser", "sessions": 20}, 0.3290),
    ("brain_diffuser", "distance_effnet", {"split": "shared982"}, 0.775),
    ("brain_it", "pixcorr", {"sessions": 1}, 0.331),
    ("brainhub", "caption_cider_coco5", {"method": "umbrae", "subject": "subj07"}, 0.5273),
]


@pytest.mark.parametrize(("file", "metric", "where", "value"), KNOWN)
def test_known_cells(published, file, metric, where, value):
    assert pick(published, file, metric, **where)["value"] == pytest.approx(value)


def test_tables_are_whole(published):
    """Rows x columns of each printed table, less the cells that are printed empty."""
    counts = published["file"].value_counts()
    n_cells = {1: 7 * 10 - 6, 2: 19, 3: 30, 4: 30, 5: 32 + 8, 6: 32, 7: 4 * 22, 8: 4 * 22, 9: 18, 10: 48, 11: 16}
    assert {n: counts[f"mindeye2_table{n:02d}"] for n in n_cells} == n_cells
    assert counts["mindeye2_figures"] == 10 * (3 * 16 + 2 * 14)
    figures = published[published["file"] == "mindeye2_figures"]
    sessions = [0.166667, 0.5, 1, 2, 3, 5, 10, 20, 37, 40]
    assert (
        figures.groupby(["method", "metric"])["sessions"].apply(list).map(sorted).map(tuple) == tuple(sessions)
    ).all()


def test_retrieval_is_named_by_definition_and_keeps_the_printed_name(published):
    rows = published[published["metric"].str.startswith("retrieval_")]
    names = set(zip(rows["metric"], rows["printed_label"], strict=True))
    brain, image = (
        {("retrieval_brain", n) for n in ("Image", "Fwd")},
        {("retrieval_image", n) for n in ("Brain", "Bwd")},
    )
    assert names == brain | image


def disagreements(published) -> dict[tuple, bool]:
    """(file, method, sessions, metric) of every cell that is printed twice -> whether the two disagree.

    A mean over subjects may differ by half a digit of its own and half a digit of what it is the mean of.
    """
    found = {}

    def enter(cells, others):
        for cell in cells.itertuples():
            twice = others[others["metric"] == cell.metric]
            if len(twice):
                slack = rounding(cell.printed, cell.unit) + rounding(twice["printed"].iloc[0], twice["unit"].iloc[0])
                key = cell.file, cell.method, cell.sessions, cell.metric
                found[key] = abs(twice["value"].mean() - cell.value) > slack + 1e-9

    def table(name, **where):
        rows = published[published["file"] == name]
        for key, value in where.items():
            rows = rows[rows[key] == value]
        return rows

    for sessions, by_subject in ((40, table("mindeye2_table07")), (1, table("mindeye2_table08"))):
        first = by_subject[by_subject["subject"] == "subj01"]
        for name in ("mindeye2_table01", "mindeye2_table03"):
            enter(table(name, method="mindeye2", sessions=sessions), by_subject)
        for name in ("mindeye2_table02", "mindeye2_table10", "mindeye2_table11", "mindeye2_figures"):
            enter(table(name, method="mindeye2", sessions=sessions), first)
    for method in ("mindeye2_scratch_refined", "mindeye1"):
        enter(table("mindeye2_table06", method=method), table("mindeye2_figures", method=method, sessions=40))
    return found


def test_cells_printed_twice_agree_or_say_that_they_do_not(published):
    found = disagreements(published)
    assert len(found) == 126
    noted = published[published["note"].str.contains("Disagrees")]
    noted = set(zip(noted["file"], noted["method"], noted["sessions"], noted["metric"], strict=True))
    assert {key for key, differs in found.items() if differs} == noted
    # One run of MindEye1 stands in Table 6, another behind the figures; everything else agrees.
    assert {key[:2] for key in noted} == {("mindeye2_table06", "mindeye1")} and len(noted) == 15


def test_splits_never_share_a_table(published):
    assert set(published["split"]) == {"shared1000", "shared982", "coco2017"}
    with pytest.raises(UserError, match="shared1000, shared982 in one table"):
        quoted_table(published[published["table"] == "main"], ["pixcorr"], REGISTRY, read_sources(FOLDER))
    assert one_split(published[published["file"] == "mindeye2_table01"]) == "shared1000"


def test_quoted_rows_have_a_source_and_no_rank(published):
    rows = published[published["file"].isin(["brain_it", "mindtuner"])]
    table = quoted_table(rows, ["pixcorr", "identification_clip"], REGISTRY, read_sources(FOLDER))
    assert [row.heads[0] for row in table.rows][:1] == ["Brain-IT"] and len(table.rows) == 6
    brain_it = next(row for row in table.rows if row.heads[:3] == ["Brain-IT", "1, 2, 5, 7", "40"])
    assert [cell.mean for cell in brain_it.cells] == ["0.386", "96.4"] and "Beliy et al. 2026" in brain_it.heads[3]
    assert "not ranked" in table.note and "shared1000" in table.note and "ICLR (2026)" in table.note
    without = quoted_table(rows, ["pixcorr"], REGISTRY, read_sources(FOLDER))
    assert len(without.rows) == 4  # rows that have none of the metrics are left out


def test_numbers_are_shown_with_the_digits_that_were_printed(published):
    share, plain = {"range": [0, 1]}, {"range": [-1, 1]}
    assert as_printed(pick(published, "mindeye2_table07", "identification_clip", subject="subj05"), share) == "94.32"
    assert as_printed(pick(published, "mindeye2_table09", "identification_clip", method="sdxl_unclip"), share) == "99.9"
    assert as_printed(pick(published, "mindeye2_table02", "caption_clip_b", method="mindeye2"), plain) == "0.737"
    assert as_printed(pick(published, "mindeye2_table01", "ssim", method="mindeye1"), plain) == "0.360"
    assert rounding("96.1", "percent") == pytest.approx(0.0005) and rounding("13.69", "none") == pytest.approx(0.005)


def test_unregistered_metrics_are_shown_like_the_one_they_vary(published):
    entry = metric_entry("caption_meteor_git", {"caption_meteor": {"title": "METEOR", "range": [0, 1]}}, published)
    assert entry["title"] == "METEOR (git)" and entry["range"] == [0, 1]
    distance = metric_entry("distance_swav", {}, published)
    assert distance["title"] == "SwAV" and not distance["higher_is_better"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": "0.5"}, r"one\.csv: row 1: value 0\.5 is not the printed 0\.322"),
        ({"value": "1.5", "printed": "1.5"}, r"one\.csv: key '0\.value'"),
        ({"value": "many"}, "'many' is not a number"),
        ({"split": "shared1001"}, "'0.split'"),
        ({"subject": "1"}, r"'0\.subject'.*subjects averaged over"),
        ({"source": "nobody"}, "source 'nobody' is not in"),
        ({"evidence": "hearsay"}, "'0.evidence'"),
    ],
)
def test_a_wrong_row_is_refused_by_file_and_row(tmp_path, change, message):
    row = pd.read_csv(FOLDER / "mindeye2_table01.csv", dtype=str, keep_default_na=False).iloc[:1]
    (tmp_path / "sources.yaml").write_text((FOLDER / "sources.yaml").read_text())
    row.to_csv(tmp_path / "one.csv", index=False)
    assert read_published(tmp_path)["value"].tolist() == [0.322]
    row.assign(**change).to_csv(tmp_path / "one.csv", index=False)
    with pytest.raises(UserError, match=message):
        read_published(tmp_path)


def test_a_number_given_twice_is_refused(tmp_path):
    rows = pd.read_csv(FOLDER / "mindeye2_table01.csv", dtype=str, keep_default_na=False).iloc[[0, 1, 0]]
    (tmp_path / "sources.yaml").write_text((FOLDER / "sources.yaml").read_text())
    rows.to_csv(tmp_path / "one.csv", index=False)
    with pytest.raises(UserError, match="mindeye2, pixcorr is given twice"):
        read_published(tmp_path)
