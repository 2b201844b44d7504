"""What was written is what is read: every artifact has a record of its files, and no damage passes for data."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

from fmri2img import integrity
from fmri2img.artifacts.arrays import read_array
from fmri2img.artifacts.atomic import atomic_directory, atomic_file
from fmri2img.artifacts.tables import read_json, read_table, write_json
from fmri2img.errors import UserError
from fmri2img.tensors import read_checkpoint, read_tensors
from fmri2img.weights import read_arrays

LARGE = np.arange(2**18, dtype=np.float64)  # 2 MB, which is not hashed when it is opened


def artifact(path: Path) -> Path:
    """A folder with a file of each format, one of them large and one in an inner artifact."""
    with atomic_directory(path) as folder:
        np.save(folder / "array.npy", LARGE)
        pd.DataFrame({"image_id": [1, 2]}).to_parquet(folder / "table.parquet")
        write_json(folder / "metadata.json", {"a": 1})
        with atomic_directory(folder / "inner") as inner:
            save_file({"weights": np.ones(4)}, inner / "weights.safetensors")
    return path


def read(path: Path) -> None:
    """Open all files of `artifact`."""
    read_array(path / "array.npy")
    read_table(path / "table.parquet")
    read_json(path / "metadata.json")
    read_arrays(path / "inner/weights.safetensors", ["weights"])
    read_tensors(path / "inner/weights.safetensors")


def flip(path: Path, place: int) -> None:
    """Change one byte and keep the size."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


FILES = ["array.npy", "inner/weights.safetensors", "metadata.json", "table.parquet"]


def test_the_record_of_a_folder_has_size_and_hash_of_each_file_as_sha256sum_gives_them(tmp_path):
    path = artifact(tmp_path / "a")
    files = json.loads((path / "checksums.json").read_text())["files"]
    assert sorted(files) == FILES
    for name, one in files.items():
        assert one["bytes"] == os.path.getsize(path / name)
        assert os.popen(f"sha256sum '{path / name}'").read().split()[0] == one["sha256"]
    read(path)
    assert list(integrity.damage(path)) == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["appended", "cut", "empty", "zeros"])
def test_a_file_of_another_size_or_a_small_one_of_other_content_is_refused_when_it_is_opened(tmp_path, name, damage):
    path = artifact(tmp_path / "a")
    content = (path / name).read_bytes()
    damaged = {"appended": content + b"\0", "cut": content[:-1], "empty": b"", "zeros": bytes(len(content))}
    (path / name).write_bytes(damaged[damage])
    with pytest.raises(
        UserError, match=rf"^{re.escape(str(path / name))}: .*; delete .* and run `snakemake` again$"
    ) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_the_remedy_names_what_a_rule_wrote_since_snakemake_does_not_look_into_folders(tmp_path):
    folder = artifact(tmp_path / "a")
    assert integrity.again(folder / "betas.npy") == f"delete {folder} and run `snakemake` again"
    assert integrity.again(folder / "gone.npy") == integrity.again(folder) == integrity.again(folder / integrity.RECORD)
    with atomic_file(tmp_path / "scores.parquet") as file:
        file.write_bytes(b"scores")
    single = tmp_path / "scores.parquet"
    assert (
        integrity.again(single)
        == integrity.again(integrity.record_of(single))
        == f"delete {single} and run `snakemake` again"
    )
    assert integrity.again(tmp_path / "nowhere.json") == "run `snakemake` again to make it"


def test_one_flipped_bit_in_a_large_array_is_found_by_its_hash(tmp_path):
    path = artifact(tmp_path / "a")
    flip(path / "array.npy", 10**6)
    read(path)
    (found,) = integrity.damage(path)
    assert found.startswith(f"{path / 'array.npy'}: is damaged") and "not the content" in found


def test_single_files_have_records_and_keep_them_when_they_are_written_again(tmp_path):
    path = tmp_path / "scores.parquet"
    for value in (1, 2):
        with atomic_file(path) as temporary:
            pd.DataFrame({"value": [value]}).to_parquet(temporary)
        assert list(integrity.damage(path)) == []
    flip(path, 10)
    with pytest.raises(UserError, match=r"scores\.parquet: is damaged"):
        read_table(path)
    path.unlink()
    assert list(integrity.damage(path)) == [f"{path}: is missing, although it was written"]


def test_files_of_others_have_no_record_and_are_read_as_they_are(tmp_path):
    np.save(tmp_path / "own.npy", LARGE)
    assert len(read_array(tmp_path / "own.npy")) == len(LARGE)
    with pytest.raises(FileNotFoundError):
        list(integrity.damage(tmp_path / "own.npy"))


@pytest.mark.parametrize(
    "content", ["", "[]", '{"files": {"array.npy": 3}}', '{"files": {"array.npy": {"bytes": "x"}}}']
)
def test_a_damaged_record_is_said_in_one_line(tmp_path, content):
    path = artifact(tmp_path / "a")
    (path / "checksums.json").write_text(content)
    with pytest.raises(UserError, match=r"checksums\.json: is damaged; delete "):
        read(path)
    with pytest.raises(UserError, match=r"checksums\.json: is damaged; delete "):
        integrity.check(path / "checksums.json")  # as what lists all files of a study opens it


def test_a_copied_artifact_keeps_its_record(tmp_path):
    path = artifact(tmp_path / "a")
    flip(path / "array.npy", 10**6)
    with atomic_directory(tmp_path / "b") as folder:
        os.system(f"cp -r '{path}'/. '{folder}'")
    assert len(list(integrity.damage(tmp_path / "b"))) == 1


class Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_what_holds_code_is_refused_before_it_runs(tmp_path):
    planted = Planted(tmp_path / "ran")
    torch.save({"weight": torch.ones(2), "more": planted}, tmp_path / "a.pt")
    np.save(tmp_path / "a.npy", np.array([planted], dtype=object), allow_pickle=True)
    for read_it, path in ((lambda p: read_checkpoint(p, "again"), "a.pt"), (read_array, "a.npy")):
        with pytest.raises(UserError, match=rf"{path}: holds Python objects .* can run code; where you trust the file"):
            read_it(tmp_path / path)
    assert not (tmp_path / "ran").exists()
