"""A file of a user's that is replaced is another file, whatever its time."""

import os

import pytest

from fmri2img.user_files import found


@pytest.fixture
def files(tmp_path):
    (tmp_path / "pictures").mkdir()
    for name in ("ids.csv", "pictures/1.png", "pictures/2.png"):
        (tmp_path / name).write_text("content")
    return tmp_path


def at(file, seconds):
    os.utime(file, (seconds, seconds))


def test_the_same_files_are_found_the_same(files):
    assert found([files / "ids.csv", files / "pictures"]) == found([files / "ids.csv", files / "pictures"])


def test_an_older_file_in_its_place_is_noticed(files):
    before = found([files / "ids.csv"])
    (files / "ids.csv").write_text("changed")  # as long as before
    at(files / "ids.csv", 10)
    assert found([files / "ids.csv"]) != before


def test_a_change_within_the_same_second_is_noticed(files):
    at(files / "pictures/2.png", 100)
    before = found([files / "pictures"])
    (files / "pictures/2.png").write_text("other content")
    at(files / "pictures/2.png", 100)
    assert found([files / "pictures"]) != before


@pytest.mark.parametrize("change", [lambda f: f.unlink(), lambda f: f.rename(f.with_name("3.png"))])
def test_a_picture_that_is_removed_or_renamed_is_noticed(files, change):
    before = found([files / "pictures"])
    change(files / "pictures/1.png")
    assert found([files / "pictures"]) != before
