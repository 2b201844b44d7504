"""Stimuli: the images that were seen, their very pixels, and COCO's words for them."""

import json

import h5py
import numpy as np
import pytest
from nsd_tree import IMAGES, Tree, edit_cell
from prepared import STIMULUS_INFO, stimuli

from fmri2img.datasets.nsd.stimuli import describe_images, image_blocks
from fmri2img.errors import UserError


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def bricks(tree):
    return tree.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"


@pytest.mark.parametrize("subjects", [("subj01",), ("subj02",), ("subj01", "subj02")])
def test_images_that_the_subjects_saw_and_no_other(tree, subjects, tmp_path):
    seen = sorted(set().union(*(tree.ids(subject).tolist() for subject in subjects)))
    opened = stimuli(tree, tmp_path, subjects)
    assert opened.ids.tolist() == seen and len(seen) < IMAGES
    np.testing.assert_array_equal(opened.images, tree.pixels[seen])
    assert opened.table["shared"].tolist() == [image in tree.shared for image in seen]


def test_captions_and_categories_belong_to_the_image(tree, tmp_path):
    for row in stimuli(tree, tmp_path).table.itertuples():
        assert row.coco_id == 1000 + 7 * row.image_id
        assert list(row.captions) == tree.captions[row.image_id]
        assert list(row.categories) == tree.categories[row.image_id]


def test_blocks_follow_each_other(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 2, 3, 3), dtype=np.uint8)
    with h5py.File(tmp_path / "s.hdf5", "w") as file:
        file.create_dataset("imgBrick", data=pixels, chunks=(7, 1, 3, 3))
    ids = np.sort(np.random.default_rng(1).permutation(300)[:201])
    blocks = list(image_blocks(tmp_path / "s.hdf5", ids))
    assert max(map(len, blocks)) <= 64
    np.testing.assert_array_equal(np.concatenate(blocks), pixels[ids])


def test_stimulus_file_with_too_few_images(tree, tmp_path):
    with h5py.File(bricks(tree), "w") as file:
        file["imgBrick"] = tree.pixels[:20]
    with pytest.raises(UserError, match=r"holds 20 images"):
        stimuli(tree, tmp_path)
    assert not (tmp_path / "stimuli").exists()


def test_stimulus_file_that_holds_something_else(tree, tmp_path):
    with h5py.File(bricks(tree), "w") as file:
        file.create_group("imgBrick")
    with pytest.raises(UserError, match=r"no dataset imgBrick of uint8"):
        stimuli(tree, tmp_path)


def test_truncated_stimulus_file(tree, tmp_path):
    bricks(tree).write_bytes(bricks(tree).read_bytes()[:-100])
    with pytest.raises(UserError, match=r"nsd_stimuli.hdf5: not a complete HDF5 file"):
        stimuli(tree, tmp_path)


def test_caption_missing(tree, tmp_path):
    path = tree.root / "annotations/captions_val2017.json"
    seen = next(image for image in tree.ids("subj01") if image % 5 == 0)
    content = json.loads(path.read_text())
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != 1000 + 7 * seen]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"captions_val2017.json: no caption for COCO image {1000 + 7 * seen}"):
        stimuli(tree, tmp_path)


def test_half_an_annotation_file(tree, tmp_path):
    path = tree.root / "annotations/instances_train2017.json"
    path.write_text(path.read_text()[:200])
    with pytest.raises(UserError, match=r"instances_train2017.json: not a complete COCO annotation file"):
        stimuli(tree, tmp_path)


def edit(path, change):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


DAMAGE = {
    "a list": ("captions", lambda content: [content]),
    "captions without annotations": ("captions", lambda content: {"images": []}),
    "a caption of no image": ("captions", lambda content: content["annotations"][0].pop("image_id") and None),
    "a caption without text": ("captions", lambda content: content["annotations"][0].update(caption=None)),
    "annotations that are none": ("captions", lambda content: {"annotations": ["a caption"]}),
    "instances without categories": ("instances", lambda content: content.pop("categories") and None),
    "a category without name": ("instances", lambda content: content["categories"][0].pop("name") and None),
    "an unknown category": ("instances", lambda content: content["categories"].clear()),
    "an object of no category": ("instances", lambda content: content["annotations"][0].pop("category_id") and None),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_annotations_that_are_not_cocos(tree, tmp_path, damage):
    what, change = DAMAGE[damage]
    path = tree.root / f"annotations/{what}_train2017.json"
    edit(path, change)
    with pytest.raises(UserError, match="not a complete COCO annotation file") as error:
        stimuli(tree, tmp_path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("cocoId", "", "not an nsd_stim_info_merged.csv"),
        ("cocoSplit", "", "unknown cocoSplit 'nan'"),
        ("cocoSplit", "test2017", "unknown cocoSplit 'test2017'"),
    ],
)
def test_images_of_which_the_csv_does_not_tell_the_source(tree, tmp_path, column, value, message):
    edit_cell(tree.root / STIMULUS_INFO, int(tree.ids("subj01")[0]), column, value)
    with pytest.raises(UserError, match=message):
        stimuli(tree, tmp_path)


def test_an_image_that_the_csv_has_twice(tree):
    path = tree.root / STIMULUS_INFO
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[5]]) + "\n")
    with pytest.raises(UserError, match="an nsdId appears twice"):
        describe_images(path, {}, {}, np.array([1, 2]))
