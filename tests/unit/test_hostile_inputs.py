"""Names, captions and archives that were made to do harm: text stays text, and nothing expands or runs."""

import re
import zipfile
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fmri2img.archives import check_expansion, unpack
from fmri2img.datasets.numpy_files import open_archive
from fmri2img.errors import UserError
from fmri2img.reporting.tables import Cell, Column, Row, Table, as_csv, escape_latex, escape_markdown, read_csv
from fmri2img.submissions.files import open_pictures
from fmri2img.submissions.record import read_record
from fmri2img.tensors import read_checkpoint

HOSTILE = [
    '<script>alert("x")</script>',
    "[free](javascript:alert(1))",
    "![x](https://example.org/seen.png)",
    "a | b\n\n# c",
    r"\input{/etc/passwd} \write18{id}",
    "\\end{tabular}\n\n\\section{x}",
    "`$(id)`",
    "[x]: https://example.org",
]


def table_of(text: str) -> Table:
    return Table(text, ["Method"], [Column(text)], [Row([text], [Cell("0.5", "[0.4, 0.6]")], False)], text)


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_and_latex_show_a_hostile_name_as_text(text):
    markdown, latex = table_of(text).markdown(), table_of(text).latex()
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(rows) == 3 and len({row.replace("\\|", "").count("|") for row in rows}) == 1
    plain = re.sub(r"\\[\\|<`\]&]", "", markdown)  # without what is escaped
    assert not re.search(r"<|\](?=[(\[:])|`|\n#", plain)
    assert not re.search(r"\\(input|write|section)", latex)
    assert latex.count("\\end{tabular}") == 1 and "\n\n\\" not in latex


def test_plain_text_is_not_escaped():
    assert escape_markdown("PixCorr (↑), 0.5 [0.4, 0.6], a_b & c *d*") == "PixCorr (↑), 0.5 [0.4, 0.6], a_b & c *d*"
    assert escape_latex("two  words\nmore") == "two words more"


def test_no_text_of_a_csv_is_a_formula_and_numbers_stay_numbers(tmp_path):
    texts = ["=HYPERLINK(1)", "+1+1", "@SUM(A1)", "-2+3|cmd", "-", "plain", "-1.5"]
    text = as_csv(pd.DataFrame({"name": texts, "value": [-1.5, 2, 3, 4, 5, 6, np.nan]}))
    read = pd.read_csv(StringIO(text))
    assert read["name"].tolist() == ["'=HYPERLINK(1)", "'+1+1", "'@SUM(A1)", "'-2+3|cmd", "-", "plain", "-1.5"]
    assert read["value"].tolist()[:2] == [-1.5, 2]
    (tmp_path / "table.csv").write_text(text)
    assert read_csv(tmp_path / "table.csv")["name"].tolist() == texts


def bomb(path: Path) -> Path:
    """A small ZIP archive whose only member, by its entry, has 3 GB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**20))
        archive.filelist[0].file_size = 3 * 10**9
    return path


def test_archives_that_expand_beyond_all_measure_are_refused_before_they_are_unpacked(tmp_path):
    for name in ("a.zip", "a.npz", "a.pt"):
        bomb(tmp_path / name)
    with pytest.raises(UserError, match=r"a\.zip: would expand from .* MB to 3\.0 GB, and is not unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out", "fetch it again")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"a\.npz: would expand"), open_archive(tmp_path / "a.npz"):
        pass
    with pytest.raises(UserError, match=r"a\.pt: would expand"):
        read_checkpoint(tmp_path / "a.pt", "fetch it again")


def test_an_archive_writes_nothing_outside_its_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../../outside.txt", "x")
        archive.writestr("/absolute.txt", "x")
    (tmp_path / "in/side").mkdir(parents=True)
    unpack(tmp_path / "a.zip", tmp_path / "in/side", "fetch it again")
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.txt")}
    assert written == {"in/side/outside.txt", "in/side/absolute.txt"}
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(UserError, match=r"a\.zip: not a complete ZIP archive .*; fetch it again"):
        unpack(tmp_path / "a.zip", tmp_path / "in", "fetch it again")


def test_ordinary_archives_and_checkpoints_pass(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", mask=np.zeros(10**7, bool))
    torch.save(torch.zeros(1000), tmp_path / "a.pt")
    for name in ("a.npz", "a.pt"):
        check_expansion(tmp_path / name)


def test_pictures_of_a_size_that_fills_the_memory_are_refused_from_their_headers(tmp_path):
    (tmp_path / "pictures").mkdir()
    Image.new("1", (5000, 5000)).save(tmp_path / "pictures/3.png")
    with pytest.raises(UserError, match="pictures of 5000 x 5000 pixels; resize them to 4096"):
        open_pictures(tmp_path / "pictures")


def test_a_record_whose_aliases_expand_without_end_is_refused(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (tmp_path / "submission.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"submission\.yaml: not YAML or JSON \(its aliases expand .*\)"):
        read_record(tmp_path)
    (tmp_path / "submission.yaml").write_text(
        "d: &d {generator: a pencil}\npredictions: [{disclosure: *d}, {disclosure: *d}]"
    )
    assert read_record(tmp_path)[0]["predictions"][1]["disclosure"]["generator"] == "a pencil"
    (tmp_path / "submission.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"submission\.json: not YAML or JSON"):
        read_record(tmp_path / "submission.json")
