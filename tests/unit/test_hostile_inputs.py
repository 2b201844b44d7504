"""Names, captions and archives that were made to do harm: text stays text, and nothing expands or runs."""

import gzip
import re
import zipfile
import zlib
from io import StringIO
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from fmri2img import archives
from fmri2img.archives import check_expansion, unpack
from fmri2img.datasets.matlab import read_matlab
from fmri2img.datasets.nsd.volumes import read_volume
from fmri2img.datasets.numpy_files import open_archive
from fmri2img.datasets.opening import Unreadable, check_opens
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


@pytest.fixture
def small_measure(monkeypatch):
    """As if a file may expand to a megabyte, and blocks of HDF5 above a kilobyte were large."""
    monkeypatch.setattr(archives, "FREE", 10**6)
    monkeypatch.setattr(archives, "CHUNK", 1000)


def test_streams_and_elements_that_expand_beyond_what_they_say_are_refused_while_they_are_read(tmp_path, small_measure):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(5 * 10**6)))
    with pytest.raises(UserError, match=r"a\.nii\.gz: would expand"):
        check_opens(tmp_path / "a.nii.gz", "a.nii.gz")
    savemat(tmp_path / "a.mat", {"a": np.zeros(10**6)}, do_compression=True)
    with pytest.raises(UserError, match=r"a\.mat: not a complete MATLAB file \(a block unpacks to more than 1\.\d MB"):
        read_matlab(tmp_path / "a.mat", ("a",), "replace it", "")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", "x")
    with pytest.raises(UserError, match=r"a\.zip: 'a' is neither stored nor deflated"):
        check_expansion(tmp_path / "a.zip")


def test_a_volume_whose_header_states_more_than_it_can_hold_is_refused(tmp_path, small_measure):
    header = nibabel.Nifti1Header()
    header.set_data_shape((3000, 3000, 3000))
    header.set_data_dtype(np.int16)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(5000)))
    with pytest.raises(UserError, match=r"a\.nii\.gz: would expand from .* to 54\.0 GB"):
        read_volume(tmp_path / "a.nii.gz")


def test_hdf5_that_unpacks_to_more_than_its_shape_is_refused_before_it_is_read(tmp_path, small_measure):
    for name, block, filters in (
        ("fits", zlib.compress(np.random.default_rng(0).bytes(4096)), "gzip"),
        ("bomb", zlib.compress(bytes(10**7)), "gzip"),
        ("states", None, None),
    ):
        with h5py.File(tmp_path / name, "w") as file:
            shape = (4096,) if block else (10**10,)
            dataset = file.create_dataset("betas", shape, np.uint8, chunks=(4096,), compression=filters)
            if block:
                dataset.id.write_direct_chunk((0,), block)
    with h5py.File(tmp_path / "fits") as file:
        archives.check_hdf5(tmp_path / "fits", file["betas"])
        assert len(file["betas"][:]) == 4096
    with h5py.File(tmp_path / "bomb") as file, pytest.raises(ValueError, match="a block unpacks to more than 0"):
        archives.check_hdf5(tmp_path / "bomb", file["betas"])
    with h5py.File(tmp_path / "states") as file, pytest.raises(UserError, match=r"states: would expand .* 10\.0 GB"):
        archives.check_hdf5(tmp_path / "states", file["betas"])
    with pytest.raises(Unreadable, match=r"a\.hdf5 does not open: ValueError: a block unpacks"):
        check_opens(tmp_path / "bomb", "a.hdf5")


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
