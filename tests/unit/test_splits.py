"""Splits: which images are held out, the same whoever makes them, and held out whole."""

import hashlib
import json

import numpy as np
import pytest
from nsd_tree import PER_SESSION, Tree
from prepared import DESIGN
from records import unrecorded

from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.artifacts.splits import Split
from fmri2img.datasets.nsd.design import Design, read_design
from fmri2img.datasets.nsd.scripts.make_splits import shared982, shared1000
from fmri2img.errors import UserError
from make_cluster_split import cluster_split


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


@pytest.fixture
def design(tree):
    return read_design(tree.root / DESIGN)


def test_shared1000_holds_out_every_shared_image(tree, design):
    split = shared1000(design)
    assert split.test_ids == tree.shared.tolist() and split.unused_ids == [] and split.max_sessions is None


@pytest.mark.parametrize("sessions", [1, 2, 3])
def test_shared982_holds_out_what_was_shown_by_then(tree, design, sessions):
    split = shared982(design, sessions)
    shown = set(tree.images[1, tree.order[: sessions * PER_SESSION]])
    assert split.test_ids == sorted(set(tree.shared) & shown)
    assert sorted(split.test_ids + split.unused_ids) == tree.shared.tolist()
    assert split.max_sessions == sessions


def test_shared982_labels_of_images_shown_later_and_of_later_sessions():
    # 10 trials a session; places 0..2 are shared, and place 2 comes in session 3 only.
    order = np.array([0, 1, 3, 4, 5, 6, 7, 8, 9, 0] + [1, 3, 4, 5, 6, 7, 8, 9, 0, 1] + [2] * 5 + [3, 4, 5, 6, 7])
    design = Design(order, np.arange(100, 110)[None], np.array([100, 101, 102]), np.array([10, 10, 10]))
    split = shared982(design, 2)
    assert (split.test_ids, split.unused_ids) == ([100, 101], [102])
    labels = split.assign(100 + order, np.repeat([1, 2, 3], 10))
    assert (labels[20:] == "unused").all()
    assert (labels[:20] == np.where(order[:20] < 2, "shared982", "train")).all()


def test_shared982_of_an_experiment_that_ends_earlier_tests_on_all(design):
    split = shared982(design, 4)
    assert split.test_ids == shared1000(design).test_ids == shared982(design, 3).test_ids and not split.unused_ids


def test_file_carries_ids_and_their_hash(design, tmp_path):
    shared1000(design).save(tmp_path / "s.json")
    record = json.loads((tmp_path / "s.json").read_text())
    ids = b"".join(int(i).to_bytes(8, "little") for i in sorted(record["test_sets"][0]["image_ids"]))
    assert record["sha256"] == hashlib.sha256(ids).hexdigest()
    assert Split.open(tmp_path / "s.json") == shared1000(design)
    record["test_sets"][0]["image_ids"].pop()
    unrecorded(tmp_path / "s.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="do not match its sha256"):
        Split.open(tmp_path / "s.json")


@pytest.fixture
def embeddings(tmp_path):
    """Four tight clusters of 40, 30, 20 and 10 images on the unit sphere, their ids interleaved."""
    rng = np.random.default_rng(3)
    truth = rng.permutation(np.repeat(np.arange(4), [40, 30, 20, 10]))
    ids = np.sort(rng.permutation(1000)[:100])
    points = np.eye(8)[truth] + 0.05 * rng.normal(size=(100, 8))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    tokens = np.zeros((100, 1, 2), np.float16)
    save_embeddings(tmp_path / "e", ids, [(tokens, points.astype(np.float32))], {})
    return Embeddings.open(tmp_path / "e"), {k: ids[truth == k].tolist() for k in range(4)}


def test_each_semantic_cluster_is_held_out_whole(embeddings):
    opened, members = embeddings
    for k in range(4):
        split = cluster_split(opened, clusters=4, seed=0, held_out=k)
        assert split.test_ids == members[k]
        assert split.unused_ids == [] and split.max_sessions is None and split.name == f"cluster{k}"
        labels = split.assign(opened.ids, np.ones(100))
        assert set(opened.ids[labels == split.name]) == set(members[k])
        assert (labels == "train").sum() == 100 - len(members[k])


def test_clusters_do_not_change_from_run_to_run(embeddings):
    opened, _ = embeddings
    first, second = (cluster_split(opened, clusters=7, seed=5, held_out=2) for _ in range(2))
    assert first == second


def test_cluster_that_is_not_there(embeddings):
    with pytest.raises(UserError, match=r"split: cluster4 requested, but cluster_split.clusters is 4"):
        cluster_split(embeddings[0], clusters=4, seed=0, held_out=4)


def test_encoder_without_pooled_vector(tmp_path):
    save_embeddings(tmp_path / "e", np.arange(5), np.zeros((5, 2, 3), np.float32), {})
    with pytest.raises(UserError, match=r"no pooled.npy"):
        cluster_split(Embeddings.open(tmp_path / "e"), clusters=2, seed=0, held_out=0)
