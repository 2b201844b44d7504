"""What Python on macOS lacks is not needed. (Imitated on Linux, by taking it away.)"""

import ast
import os

import numpy as np
import pytest

from fmri2img.artifacts.arrays import ArrayWriter, new_array, read_array
from fmri2img.datasets import lockfile
from fmri2img.paths import SCRIPTS

# Functions of os that the documentation gives for Linux and not for macOS.
LINUX_ONLY = {
    "copy_file_range", "eventfd", "fdatasync", "getxattr", "listxattr", "memfd_create", "pidfd_open", "posix_fadvise",
    "posix_fallocate", "removexattr", "sched_getaffinity", "sched_setaffinity", "setxattr", "splice", "unshare",
}  # fmt: skip
# file -> what it uses only where it is there; probe_node.py runs on the nodes of a cluster.
GUARDED = {
    "fmri2img/artifacts/arrays.py": {"posix_fallocate"},
    "fmri2img/datasets/lockfile.py": {"getxattr", "setxattr"},
    "probe_node.py": {"sched_getaffinity"},
}


@pytest.fixture
def macos(monkeypatch):
    for name in LINUX_ONLY & set(dir(os)):
        monkeypatch.delattr(os, name)


def used(path) -> set[str]:
    """Functions of os that a file names as attributes, and that macOS lacks."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and node.attr in LINUX_ONLY}


def test_functions_that_macos_lacks_are_used_only_where_a_test_takes_them_away():
    found = {path.relative_to(SCRIPTS).as_posix(): used(path) for path in SCRIPTS.rglob("*.py")}
    assert {name: names for name, names in found.items() if names} == GUARDED


def test_large_arrays_are_written_without_reserving_their_space(macos, tmp_path):
    array = new_array(tmp_path / "a.npy", np.float32, (3, 2))
    array[1] = 5
    array.flush()
    writer = ArrayWriter(tmp_path / "b.npy", np.float32, (3, 2))
    writer.write(np.ones((3, 2), np.float32))
    writer.close()
    assert read_array(tmp_path / "a.npy").tolist() == [[0, 0], [5, 5], [0, 0]]
    assert read_array(tmp_path / "b.npy").tolist() == [[1, 1]] * 3


def test_a_download_is_known_again_without_a_mark(macos, tmp_path):
    (tmp_path / "betas").write_bytes(b"x")
    lockfile.write(tmp_path, "betas", tmp_path / "betas", "bucket", "tag", "sha")
    assert lockfile.is_own(tmp_path, "betas")
    (tmp_path / "betas").write_bytes(b"another")
    assert not lockfile.is_own(tmp_path, "betas")
