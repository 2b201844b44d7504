"""Files that were downloaded are compared with their locks when something is made of them."""

import io
import zipfile
from pathlib import Path

import h5py
import nibabel
import pytest
from nsd_tree import Tree, save_volume
from prepared import record, stimuli
from servers import BUCKET, faulty_server

from fmri2img.datasets import lockfile
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.acquisition import ANNOTATIONS, Source, acquire, acquire_annotations
from fmri2img.datasets.nsd.scripts.list_test_images import list_test_images
from fmri2img.datasets.nsd.scripts.make_splits import make_splits
from fmri2img.errors import UserError

CHANGED = r"differs from what was downloaded \(damaged or edited\); delete it to download it again"


@pytest.fixture
def tree(tmp_path) -> Tree:
    """A tree whose every file was downloaded."""
    tree = Tree(tmp_path / "original")
    keys = [path.relative_to(tree.root).as_posix() for path in sorted(tree.root.rglob("*")) if path.is_file()]
    objects = {f"/{BUCKET}/{key}": (tree.root / key).read_bytes() for key in keys}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for key in ANNOTATIONS:
            archive.writestr(key, objects.pop(f"/{BUCKET}/{key}"))
    objects["/coco.zip"] = packed.getvalue()
    tree.root = tmp_path / "tree"
    with faulty_server(objects=objects) as server:
        source = Source(terms_accepted=True, endpoint=server.url, coco_url=f"{server.url}/coco.zip")
        for key in keys:
            if key not in ANNOTATIONS:
                acquire(key, tree.root, source)
        acquire_annotations(tree.root, source)
    return tree


def flip(path: Path, behind: bytes) -> None:
    """Invert the last bit of the byte that follows `behind`: a digit or a letter becomes another one."""
    content = bytearray(path.read_bytes())
    content[content.index(behind) + len(behind)] ^= 1
    path.write_bytes(content)


def relabel(path: Path) -> None:
    """A complete volume with one label changed."""
    labels = nibabel.load(path).get_fdata().astype("int16")
    labels[0, 0, 0] += 1
    save_volume(path, labels)


def repaint(path: Path) -> None:
    """A pixel of the last image, which no subject saw."""
    with h5py.File(path, "r+") as file:
        file["imgBrick"][-1, 0, 0, 0] ^= 1


def test_what_was_downloaded_is_used(tree, tmp_path):
    stimuli(tree, tmp_path / "results")
    record(tree, tmp_path / "results")


@pytest.mark.parametrize(
    ("key", "damage"),
    [
        (layout.responses("subj01"), lambda path: flip(path, b"\t700.")),
        (layout.roi("subj01", "floc-faces"), relabel),
        (layout.valid("subj01", 2), relabel),
        (layout.STIMULUS_INFO, lambda path: flip(path, b"train2017,\"(0.")),
    ],
)  # fmt: skip
def test_a_recording_is_not_made_of_a_file_that_changed(tree, tmp_path, key, damage):
    damage(tree.root / key)
    with pytest.raises(UserError, match=CHANGED) as error:
        record(tree, tmp_path / "results")
    assert str(error.value).startswith(str(tree.root / key))
    assert not (tmp_path / "results/recordings/subj01").exists()


@pytest.mark.parametrize(
    ("key", "damage"),
    [
        (layout.STIMULI, repaint),
        (layout.COCO_CAPTIONS["val2017"], lambda path: flip(path, b'"caption": " c')),
        (layout.COCO_INSTANCES["train2017"], lambda path: flip(path, b'"name": "z')),
        (layout.responses("subj02"), lambda path: flip(path, b"\t700.")),
    ],
)
def test_stimuli_are_not_made_of_a_file_that_changed(tree, tmp_path, key, damage):
    damage(tree.root / key)
    with pytest.raises(UserError, match=CHANGED) as error:
        stimuli(tree, tmp_path / "results")
    assert str(error.value).startswith(str(tree.root / key))
    assert not (tmp_path / "results/stimuli").exists()
    lockfile.record_path(tree.root, key).unlink()  # a file of the user's own
    stimuli(tree, tmp_path / "results")


def test_splits_are_not_made_of_a_design_that_changed(tree):
    design = tree.root / layout.EXPERIMENT_DESIGN
    assert [split.name for split in make_splits(design, 2)] == ["shared1000", "shared982"]
    design.write_bytes(design.read_bytes() + bytes(8))  # MATLAB's reader takes no notice
    with pytest.raises(UserError, match=CHANGED):
        make_splits(design, 2)


def test_test_images_are_not_listed_from_trials_that_changed(tree, tmp_path):
    keys = layout.responses("subj01"), layout.EXPERIMENT_DESIGN, layout.STIMULUS_INFO
    files = [tree.root / key for key in keys]
    shared, _ = make_splits(files[1], 2)
    shared.save(tmp_path / "split.json")
    assert len(list_test_images("subj01", 2, tmp_path / "split.json", *files).ids)
    flip(files[0], b"\t700.")
    with pytest.raises(UserError, match=CHANGED):
        list_test_images("subj01", 2, tmp_path / "split.json", *files)
