"""`make verify`: which job made a damaged file, and what must be made again."""

from pathlib import Path

import numpy as np
import pytest

from fmri2img.artifacts.atomic import atomic_directory, atomic_file
from fmri2img.datasets import lockfile
from fmri2img.errors import UserError
from fmri2img.integrity import record_of, sha256
from fmri2img.settings.files import study_files
from fmri2img.verification import Made, made_from, report, verify


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """stimuli -> recording -> scores -> page, and captions of the stimuli alone; all made but the captions."""
    monkeypatch.chdir(tmp_path)
    for folder in ("stimuli", "recording"):
        with atomic_directory(folder) as directory:
            np.save(directory / "values.npy", np.arange(1000.0))
    for name in ("scores.parquet", "page.html"):
        with atomic_file(name) as temporary:
            temporary.write_text(name * 100)
    return [
        Made("prepare_stimuli", "prepare_stimuli", ["stimuli"], []),
        Made("caption", "caption", ["captions.parquet"], [0]),
        Made("prepare_recording", "prepare_recording subject=subj01", ["recording"], [0]),
        Made("evaluate", "evaluate method=ridge", ["scores.parquet"], [2]),
        Made("make_page", "make_page", ["page.html"], [3]),
    ]


def lines(jobs: list[Made]) -> str:
    return "\n".join(report(jobs, verify(jobs), "snakemake --cores all"))


def flip(path: str | Path) -> None:
    content = bytearray(Path(path).read_bytes())
    content[len(content) // 2] ^= 4
    Path(path).write_bytes(content)


def test_a_whole_study_is_compared_and_what_is_not_made_yet_is_no_damage(jobs):
    assert lines(jobs) == "4 outputs compared, 0 damaged"


def test_one_flipped_bit_names_its_file_its_rule_and_everything_that_was_made_from_it(jobs):
    flip("recording/values.npy")
    text = lines(jobs)
    assert "recording/values.npy: is damaged" in text and "stimuli" not in text
    assert "made by: prepare_recording subject=subj01; must be rerun with it: 2 jobs (evaluate, make_page)" in text
    assert text.endswith("snakemake --cores all --forcerun recording")
    flip("scores.parquet")
    assert lines(jobs).endswith("--forcerun recording scores.parquet")


def test_a_file_that_has_gone_from_a_folder_is_damage(jobs):
    Path("stimuli/values.npy").unlink()
    assert "stimuli/values.npy: is missing, although it was written" in lines(jobs)
    assert verify(jobs).damaged[0].job == 0


def test_what_has_no_record_or_a_damaged_one_is_said(jobs):
    record_of(Path("page.html")).unlink()
    record_of(Path("stimuli")).write_text("{")
    text = lines(jobs)
    assert "page.html: has no record of its checksum, and was not compared" in text
    assert "stimuli/checksums.json: is damaged" in text and "3 outputs compared, 1 damaged" in text


def test_downloads_are_compared_with_their_lock(jobs, tmp_path):
    file = tmp_path / "nsd/betas/session01.hdf5"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"betas" * 1000)
    lockfile.write(tmp_path / "nsd", "betas/session01.hdf5", file, "bucket", "", sha256(file))
    acquire = [Made("acquire", "acquire session=1", [str(file)], [])]
    assert "1 outputs compared, 0 damaged" in lines(acquire)
    flip(file)
    assert "session01.hdf5: differs from what was downloaded" in lines(acquire)


def test_what_was_made_from_several_jobs_is_counted_once_and_without_them(jobs):
    assert made_from(jobs, [0]) == [1, 2, 3, 4] and made_from(jobs, [2, 3]) == [4] and made_from(jobs, [4]) == []


def test_a_study_is_named_by_its_file_or_by_its_name(tmp_path):
    assert study_files(["demo"]) == []
    (paper,) = study_files(["paper"])
    assert Path(paper).samefile(Path(__file__).parents[2] / "config/paper.yaml")
    (tmp_path / "own.yaml").write_text("study: own")
    assert study_files([str(tmp_path / "own.yaml")]) == [str(tmp_path / "own.yaml")]
    with pytest.raises(UserError, match=r"papre\.yaml: no such file; name a study of .*config"):
        study_files(["papre"])
