"""LAION-fMRI: its files as others write them, its published splits, and what the simulator writes."""

import json
import os
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from configurations import merged
from tests.helpers import laion_files as files

from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.test_images import TestImages
from fmri2img.datasets.inventory import DOWNLOADED, LINKED, PLACED
from fmri2img.datasets.laion_fmri import layout, simulator
from fmri2img.datasets.laion_fmri.betas import read_masked_session, read_session_trials
from fmri2img.datasets.laion_fmri.embeddings import read_embeddings, read_names
from fmri2img.datasets.laion_fmri.names import read_name, seen_by
from fmri2img.datasets.laion_fmri.recording import inverse_repeats, read_trials, write_recording
from fmri2img.datasets.laion_fmri.regions import list_regions, masks_in
from fmri2img.datasets.laion_fmri.scripts.mask_session import mask_session
from fmri2img.datasets.laion_fmri.settings import Settings, Simulation
from fmri2img.datasets.laion_fmri.splits import PublishedSplit, fingerprint, published, read_split, split_of
from fmri2img.datasets.laion_fmri.stimuli import describe_images, picture_blocks, read_captions
from fmri2img.datasets.laion_fmri.volumes import Regions, ncsnr_of, read_ncsnr, read_volume
from fmri2img.errors import UserError
from fmri2img.study import Study

SUBJECT = "sub-03"
OPTIONS = {"mask": layout.GENERAL, "normalise": "session", "statistics": "all", "noise_ceiling": "12rep"}


@pytest.fixture
def tree(tmp_path) -> Path:
    return files.write(tmp_path / "tree")


@pytest.fixture
def regions(tree) -> Regions:
    return Regions(list_regions(SUBJECT, tree), tree)


@pytest.fixture
def image_ids(tree) -> dict[str, int]:
    return {name: number for number, name in enumerate(read_names(tree / layout.embeddings("CLIP")))}


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source", "owner", "repeats", "concept"),
    [
        ("shared_12rep_LAION_cluster_1003_i0.jpg", "LAION", None, 12, None),
        ("shared_12rep_THINGS+_kmeans_222_spring_roll.jpg", "THINGS", None, 12, "spring roll"),
        ("shared_4rep_NSD_special1000_655.jpg", "NSD", None, 4, None),
        ("shared_4rep_OOD_illusion-natural_giant-dog.jpg", "OOD_illusion-natural", None, 4, None),
        ("shared_4rep_OOD_shape_color_simple_shapes_14-simple.jpg", "OOD_shape", None, 4, None),
        ("unique_LAION_fillup_cluster_546_i2_p02.jpg", "LAION", "sub-06", 4, None),
        ("unique_THINGS+_bat1_p05.jpg", "THINGS", "sub-07", 4, "bat"),
        ("unique_THINGS_oil_lamp_p04.jpg", "THINGS", "sub-03", 4, "oil lamp"),
    ],
)
def test_a_name_says_source_owner_and_repeats(name, source, owner, repeats, concept):
    read = read_name(name)
    assert (read.source, read.owner, read.repeats, read.concept) == (source, owner, repeats, concept)


@pytest.mark.parametrize(
    "name",
    ["nsd00001.png", "unique_LAION_new_cluster_1_i2.jpg", "unique_THINGS_cat_p09.jpg", "shared_4rep_OOD_fog_1.jpg"],
)
def test_another_name_is_refused(name):
    with pytest.raises(UserError, match=f"'{name}' is not the name of an image of LAION-fMRI"):
        read_name(name)


# ---- tables and volumes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [False, True], ids=["BIDS entities", "numbers"])
def test_trials_are_read_in_the_order_of_the_volumes(tmp_path, plain):
    trials = read_session_trials(files.write(tmp_path, plain) / layout.trials(SUBJECT, 1), 1)
    assert trials["name"].tolist() == [files.IMAGES[k] for k in files.SHOWN[1]]
    assert trials["run"].tolist() == [1, 1, 1, 2, 2, 2] and trials["beta_index"].tolist() == list(range(6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows[:-1], rows[-1] | {"beta_index": 7}], "beta_index does not count the 6 trials from 0"),
        (lambda rows: [row | {"session": "ses-02"} for row in rows], "has trials of session 2, expected 1"),
        (lambda rows: [{k: v for k, v in row.items() if k != "label"} for row in rows], "no column label"),
        (lambda rows: [row | {"run": "first"} for row in rows], "not a table of trials"),
    ],
)
def test_a_table_that_does_not_number_its_trials_is_refused(tmp_path, change, message):
    path = files.put(tmp_path, "trials.tsv", files.table(change(files.trial_rows(1)), "\t"))
    with pytest.raises(UserError, match=message):
        read_session_trials(path, 1)


def test_betas_are_masked_in_c_order_and_keep_nan(tree, regions):
    masked = read_masked_session(tree / layout.betas(SUBJECT, 1), regions.mask(layout.GENERAL), 6)
    expected = files.betas(1)[files.mask() > 0].T
    np.testing.assert_array_equal(masked, expected)
    assert masked.dtype == np.float32 and np.isnan(masked).any(axis=0).sum() == 2


def test_a_truncated_session_is_not_taken_for_a_shorter_one(tree, regions):
    path = tree / layout.betas(SUBJECT, 1)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"statmap\.nii\.gz: not a complete NIfTI file"):
        read_masked_session(path, regions.mask(layout.GENERAL), 6)


def test_betas_that_do_not_fit_are_refused(tree, regions):
    path, mask = tree / layout.betas(SUBJECT, 1), regions.mask(layout.GENERAL)
    with pytest.raises(UserError, match="6 trials, but the session's table lists 5"):
        read_masked_session(path, mask, 5)
    elsewhere = np.diag([1.778, 1.778, 1.778, 1])
    elsewhere[0, 3] = 30
    path.write_bytes(files.nifti(files.betas(1), elsewhere))
    with pytest.raises(UserError, match="or lies elsewhere"):
        read_masked_session(path, mask, 6)
    path.write_bytes(files.nifti(np.zeros((6, 7, 5, 6), np.float32)))
    with pytest.raises(UserError, match=r"grid \(6, 7, 5\) is not that of .*laion-general"):
        read_masked_session(path, mask, 6)


def test_regions_are_found_in_both_of_their_places(tree):
    now = list((tree / "derivatives/rois/sub-03").rglob("*"))
    keys = [path.relative_to(tree).as_posix() for path in now if path.is_file()]
    found = masks_in(SUBJECT, keys)
    assert sorted(found) == ["FFA-1", "V1v", "laion-general"] and all("res-1pt8" in key for key in found.values())
    # As the authors' package downloads them, without hyphens, and as they were in May 2026.
    packaged = [key.replace("FFA-1", "FFA1").replace("laion-general", "laiongeneral") for key in keys]
    assert sorted(masks_in(SUBJECT, packaged)) == sorted(found)
    before = [f"derivatives/atlases/sub-03/rois/{name}.nii.gz" for name in ("laion-general", "visual")]
    assert masks_in(SUBJECT, before) == {"laion-general": before[0], "visual": before[1]}
    assert masks_in(SUBJECT, [*before, *keys])["laion-general"].startswith("derivatives/rois/")
    assert masks_in("sub-05", keys) == {}


def test_a_tree_without_the_mask_names_both_places(tmp_path):
    with pytest.raises(UserError, match=r"rois/sub-03 nor .*atlases/sub-03/rois has a mask of laion-general"):
        list_regions(SUBJECT, tmp_path)


def test_a_region_is_a_column_within_the_mask(regions):
    mask = regions.mask(layout.GENERAL)
    columns = regions.columns(mask)
    assert list(columns)[:1] == [layout.GENERAL] and set(columns) == {*layout.PUBLISHED, *layout.UNIONS}
    assert columns["laion-general"].all() and columns["FFA-1"].sum() == 3
    np.testing.assert_array_equal(columns["FFA"], columns["FFA-1"])  # this subject has no FFA-2
    assert not columns["V1v"].any() and not columns["V1"].any()  # outside of the mask
    assert regions.mask("FFA").values.sum() == regions.mask("FFA-1").values.sum() == 3
    with pytest.raises(
        UserError, match=r"'laion_fmri.betas.mask': 'laion-genral' is not a region; did you mean 'laion-g"
    ):
        regions.mask("laion-genral")


def test_a_mask_of_a_whole_region_stands_for_its_parts(tree, regions):
    key = "derivatives/rois/sub-03/own/sub-03_space-T1w_res-1pt8_label-FFA_mask.nii.gz"
    whole = regions.mask(layout.GENERAL).values.astype("u1")
    files.put(tree, key, files.nifti(whole))
    regions.keys["FFA"] = key
    assert regions.mask("FFA").values.sum() == whole.sum() > 3
    columns = regions.columns(regions.mask(layout.GENERAL))
    assert columns["FFA"].all() and columns["FFA-1"].sum() == 3


def test_noise_ceilings_give_the_ncsnr_that_made_them():
    ncsnr = np.array([0.0, 0.2, 1.0, 3.0])
    for repeats in (4, 12):
        percent = 100 * ncsnr**2 / (ncsnr**2 + 1 / repeats)
        np.testing.assert_allclose(ncsnr_of(percent, 1 / repeats), ncsnr, atol=1e-6)
    # Unequal repeats: the mean of 1/n, as in NSD.
    percent = 100 * 0.49 / (0.49 + np.mean([1 / 4, 1 / 4, 1 / 12]))
    names = ["unique_LAION_new_cluster_1_i1_p04.jpg", "shared_4rep_NSD_special100_98.jpg", files.IMAGES[0]]
    assert ncsnr_of(np.array([percent]), inverse_repeats("Allrep", names))[0] == pytest.approx(0.7)
    assert inverse_repeats("4rep", names) == 1 / 4 and inverse_repeats("12rep", names) == 1 / 12


def test_a_ceiling_is_in_percent_and_its_nan_is_no_signal(tree, regions):
    mask, path = regions.mask(layout.GENERAL), tree / layout.noise_ceiling(SUBJECT, "12rep")
    ncsnr, unknown = read_ncsnr(path, mask, 1 / 12)
    expected = files.ceiling()[files.mask() > 0]
    assert unknown == 1 and ncsnr[np.isnan(expected)] == 0 and np.isfinite(ncsnr).all()
    share = np.nan_to_num(expected) / 100
    np.testing.assert_allclose(ncsnr, np.sqrt(share / (1 - share) / 12), rtol=1e-5)
    for wrong in (files.ceiling() / 100, files.ceiling() * 3):
        path.write_bytes(files.nifti(wrong))
        with pytest.raises(UserError, match="are not percentages"):
            read_ncsnr(path, mask, 1 / 12)


# ---- stimuli ---------------------------------------------------------------------------------------------------------


def test_people_s_captions_are_used_the_best_first(tree):
    captions = read_captions(tree / layout.CAPTIONS)
    assert captions[files.IMAGES[0]] == [f"human {rank}, {files.IMAGES[0]}" for rank in (1, 3, 10)]


def test_an_image_is_described_by_its_name(tree, image_ids):
    names = files.IMAGES[:6]
    table = describe_images(names, image_ids, read_captions(tree / layout.CAPTIONS))
    assert table["image_id"].tolist() == sorted(image_ids[name] for name in names)
    row = table.set_index("name").loc[files.IMAGES[3]]
    assert row["source"] == "OOD_illusion-classic" and row["shared"] and row["categories"] == []
    assert table.set_index("name").loc[files.IMAGES[5], "categories"] == ["oil lamp"]
    with pytest.raises(UserError, match=rf"no caption of {files.IMAGES[4]} by people \(1 of 6"):
        describe_images(names, image_ids, read_captions(tree / layout.CAPTIONS) | {files.IMAGES[4]: []})


def test_pictures_are_found_by_name_and_shown_on_grey(tree):
    names = [files.IMAGES[k] for k in (3, 0, 5)]
    (block,) = picture_blocks(tree / layout.PICTURES, tree / layout.METADATA, names, 12)
    np.testing.assert_array_equal(block[1], files.pixels(0))
    np.testing.assert_array_equal(block[2], files.pixels(5))
    assert (block[0][:, 6:] == 128).all()
    half = 128 + (files.pixels(3)[:, :6].astype(int) - 128) * 128 / 255
    assert np.abs(block[0][:, :6] - half).max() <= 1


def test_pictures_of_another_release_are_refused(tree):
    listed = (tree / layout.METADATA).read_text().splitlines()
    (tree / layout.METADATA).write_text("\n".join(listed[:-1]) + "\n")
    with pytest.raises(UserError, match=r"7 pictures, but .*metadata\.csv lists 6"):
        next(picture_blocks(tree / layout.PICTURES, tree / layout.METADATA, files.IMAGES[:1], 12))


def test_embeddings_are_joined_by_name(tree, image_ids):
    names = [files.IMAGES[k] for k in (0, 5)]
    vectors = read_embeddings(tree / layout.embeddings("CLIP"), names)
    stored = (np.arange(21).reshape(7, 3) % 7).astype(np.float16)
    np.testing.assert_array_equal(vectors, stored[[1, 6]])  # rows of the file, which has an order of its own
    assert list(image_ids) == sorted(files.IMAGES)
    with pytest.raises(UserError, match=rf"the embedding of {files.IMAGES[6]} is not valid"):
        read_embeddings(tree / layout.embeddings("DINOv2"), files.IMAGES)
    with pytest.raises(UserError, match=r"lacks image nobody\.jpg"):
        read_embeddings(tree / layout.embeddings("CLIP"), ["nobody.jpg"])


# ---- the recording ---------------------------------------------------------------------------------------------------


def test_a_recording_is_z_scored_without_the_voxels_that_lack_values(tree, regions, image_ids, tmp_path):
    trials = read_trials({n: str(tree / layout.trials(SUBJECT, n)) for n in files.SHOWN}, image_ids)
    assert trials["repeat"].tolist() == [0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1]
    masked = {}
    for session in files.SHOWN:
        masked[session] = str(tmp_path / f"session{session}.npy")
        given = (str(tree / layout.betas(SUBJECT, session)), str(tree / layout.trials(SUBJECT, session)))
        mask_session(*given, regions, layout.GENERAL, session, masked[session])
    split = Split("ood", "", {"ood": [image_ids[files.IMAGES[3]]]}, [image_ids[files.IMAGES[2]]])
    ceiling = str(tree / layout.noise_ceiling(SUBJECT, "12rep"))
    write_recording(SUBJECT, masked, trials, split, regions, ceiling, 1 / 12, OPTIONS, {}, tmp_path / "recording")
    recording = Recording.open(tmp_path / "recording")
    assert recording.metadata["voxels_left_out"] == {"not_finite": 2, "constant": 0}
    assert recording.trials.loc[recording.trials["part"] == "unused", "image_id"].nunique() == 1
    inside = files.mask() > 0
    kept = np.argwhere(inside)[[not np.isnan(files.betas(1)[x, y, z]).any() for x, y, z in np.argwhere(inside)]]
    np.testing.assert_array_equal(recording.voxels[["x", "y", "z"]], kept)
    for session, rows in ((1, slice(0, 6)), (2, slice(6, 11))):
        raw = np.stack([files.betas(session)[x, y, z] for x, y, z in kept], axis=1)
        np.testing.assert_allclose(
            recording.betas[rows], (raw - raw.mean(0)) / raw.std(0, ddof=1), rtol=1e-4, atol=1e-5
        )


def test_an_unknown_image_is_named(tree):
    with pytest.raises(
        UserError, match=rf"shows {files.IMAGES[0].replace('.', '.')}, which is not an image of the dataset"
    ):
        read_trials({1: str(tree / layout.trials(SUBJECT, 1))}, {name: 0 for name in files.IMAGES[1:]})


# ---- splits ----------------------------------------------------------------------------------------------------------

POOL = [name for name in files.IMAGES[:6] if "OOD" not in name]
EVERY = {name: number for number, name in enumerate(sorted(files.IMAGES))}


def test_the_published_splits_are_pinned():
    current = [(pool, name) for pool, name, replaced in published().values() if not replaced]
    assert len(current) == len(set(current)) == 6 * 12
    assert {pool for pool, _ in current} == {layout.SHARED, *layout.SUBJECTS}
    replaced = [(pool, name) for pool, name, why in published().values() if why.startswith("duplicates")]
    assert len(replaced) == 25 and all(name.startswith("random_") for _, name in replaced)


def test_a_fingerprint_is_of_what_a_split_says():
    assert fingerprint(["b", "a"], ["c"]) == fingerprint(["a", "b"], ["c"])
    assert fingerprint(["a"], ["b", "c"]) != fingerprint(["a", "b"], ["c"])


def test_the_current_split_is_read_and_a_replaced_or_unknown_one_refused(tmp_path, monkeypatch):
    known = {
        fingerprint(POOL[:-1], POOL[-1:]): (SUBJECT, "random_0", ""),
        fingerprint(POOL[:-2], POOL[-2:]): (SUBJECT, "random_0", "duplicates of an image were on both sides"),
    }
    monkeypatch.setattr("fmri2img.datasets.laion_fmri.splits.published", lambda: known)
    path = files.put(tmp_path, "random_0.json", files.split_file("random_0", POOL[-1:], POOL))
    assert read_split(path, SUBJECT, "random_0", True).test == POOL[-1:]
    with pytest.raises(UserError, match="is split random_0 of sub-03, expected random_0 of sub-01"):
        read_split(path, "sub-01", "random_0", True)
    path.write_text(files.split_file("random_0", POOL[-2:], POOL))
    with pytest.raises(
        UserError, match=r"before the authors replaced it \(duplicates of an image were on both sides\)"
    ):
        read_split(path, SUBJECT, "random_0", True)
    link = tmp_path / "linked.json"
    link.symlink_to(path)
    with pytest.raises(
        UserError, match=rf"{path}: is split .* delete it"
    ):  # the user's own, which would be linked again
        read_split(link, SUBJECT, "random_0", True)
    path.write_text(files.split_file("random_0", POOL[:1], POOL))
    with pytest.raises(UserError, match="not a split that the authors published"):
        read_split(path, SUBJECT, "random_0", True)
    assert read_split(path, SUBJECT, "random_0", False).test == POOL[:1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (files.split_file("tau", POOL[-1:], POOL), "expected 4 and 1 of random_0"),
        (files.split_file("random_0", POOL[-1:], POOL, n_test=2), "expected 4 and 2 of random_0"),
        (files.split_file("random_0", POOL[-1:], POOL, variants=[]), "not a split of LAION-fMRI"),
        (
            files.split_file(
                "random_0", POOL[-1:], POOL, variants=[{"variant_id": 0, "train_ids": POOL, "test_ids": POOL[-1:]}]
            ),
            f"{POOL[-1]} is among the training and the test images",
        ),
    ],
)
def test_a_damaged_split_is_refused(tmp_path, text, message):
    with pytest.raises(UserError, match=message.replace("+", r"\+")):
        read_split(files.put(tmp_path, "random_0.json", text), SUBJECT, "random_0", False)


def test_each_subject_is_tested_by_its_own_list():
    """A shared image that one subject is tested on trains another one."""
    shared, own = files.IMAGES[:3], {SUBJECT: files.IMAGES[4:6], "sub-01": files.IMAGES[6:]}
    pools = {
        SUBJECT: PublishedSplit([shared[0], *own[SUBJECT]], shared[1:]),
        "sub-01": PublishedSplit([*shared[1:], *own["sub-01"]], [shared[0]]),
    }
    split = split_of("tau", pools, EVERY, "subject")
    ids = np.array([EVERY[name] for name in files.IMAGES])
    first, second = split.of(SUBJECT), split.of("sub-01")
    assert first.assign(ids[[0, 1, 3]], np.ones(3)).tolist() == ["train", "tau", "unused"]
    assert second.assign(ids[[0, 1, 3]], np.ones(3)).tolist() == ["tau", "train", "unused"]
    assert split.test_ids == sorted(ids[:3]) and split.of("all") is split  # what is made for all sees no one's tests
    assert len({split.sha256, first.sha256, second.sha256}) == 3
    seen = TestImages.of("sub-01", split, ids, np.ones(len(ids)))
    assert seen.test_sets["tau"].tolist() == [ids[0]] and seen.split_sha256 == second.sha256


def test_the_shared_pool_leaves_the_other_images_out(tmp_path):
    split = split_of("ood", {layout.SHARED: PublishedSplit(files.IMAGES[:3], [files.IMAGES[3]])}, EVERY, layout.SHARED)
    assert split.subjects == {} and split.of(SUBJECT) is split
    assert split.unused_ids == sorted(EVERY[name] for name in files.IMAGES[4:])


def test_a_split_of_other_images_is_refused():
    with pytest.raises(UserError, match=rf"split tau of sub-03: lacks image {files.IMAGES[4]} \(1 of its images"):
        split_of("tau", {SUBJECT: PublishedSplit(POOL[:3], POOL[4:])}, EVERY, "subject")


def test_a_split_of_each_subject_is_stored_and_checked(tmp_path):
    own = {subject: Split("s", "", {"s": [number]}, [9]) for number, subject in enumerate(("a", "b"))}
    split = Split.for_subjects("s", "of each", own)
    split.save(tmp_path / "s.json")
    again = Split.open(tmp_path / "s.json")
    assert again == split and again.of("b").test_ids == [1] and again.test_ids == [0, 1] and again.unused_ids == [9]
    record = json.loads((tmp_path / "s.json").read_text())
    record["subjects"]["b"]["test_sets"][0]["image_ids"] = [2]
    (tmp_path / "edited.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="do not match its sha256"):
        Split.open(tmp_path / "edited.json")


# ---- the simulator ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("laion")
    simulator.simulate(root, Simulation(seed=1, subjects=2, unique=20, image_size=32))
    return root


def test_the_simulator_writes_the_published_names_columns_and_types(simulated):
    betas = nibabel.load(simulated / layout.betas("sub-03", 2))
    trials = pd.read_csv(simulated / layout.trials("sub-03", 2), sep="\t")
    assert list(trials) == ["session", "run", "beta_index", "label"] and trials["session"].unique().tolist() == [
        "ses-02"
    ]
    assert betas.shape == (11, 13, 9, len(trials)) and betas.get_data_dtype() == np.float32
    with h5py.File(simulated / layout.embeddings("SigLIP2")) as file:
        assert file["embedding"].dtype == np.float16 and set(file) == {"embedding", "image_ids", "valid"}
    metadata = pd.read_csv(simulated / layout.METADATA)
    assert list(metadata) == ["image_name", "dataset", "participant", "unique_or_shared", "n_reps"]
    captions = pd.read_csv(simulated / layout.CAPTIONS)
    counts = captions[captions["source"] == "human"].groupby("image_name").size()
    assert set(counts[counts.index.str.startswith("shared")]) == {5} and set(
        counts[~counts.index.str.startswith("sh")]
    ) == {3}
    ai = captions.loc[captions["source"] == "ai", "image_name"]
    assert len(ai) and not ai.str.contains("OOD|unique").any()


def test_simulated_images_are_repeated_as_planned_except_one(simulated):
    names = read_names(simulated / layout.embeddings("CLIP"))
    shown = pd.concat([pd.read_csv(simulated / layout.trials("sub-01", n), sep="\t") for n in (1, 2, 3)])
    counts = shown["label"].value_counts()
    planned = pd.Series({name: read_name(name).repeats for name in seen_by(names, "sub-01")})
    short = planned - counts.reindex(planned.index)
    assert short.sum() == 1 and short.max() == 1
    assert {read_name(name).source for name in names} == {
        "LAION", "THINGS", "NSD", *(f"OOD_{kind}" for kind in layout.OOD_TYPES)
    }  # fmt: skip


def test_every_simulated_split_is_one_of_its_pool(simulated):
    names = read_names(simulated / layout.embeddings("CLIP"))
    ids = {name: number for number, name in enumerate(names)}
    for pool in (layout.SHARED, "sub-03"):
        for name in ("tau", "ood", "random_3", "cluster_k5_4"):
            found = read_split(simulated / layout.split(pool, name), pool, name, False)
            split_of(name, {pool: found}, ids, layout.SHARED if pool == layout.SHARED else "subject")


def test_the_simulated_ceilings_agree_with_one_another(simulated):
    regions = Regions(list_regions("sub-01", simulated), simulated)
    mask = regions.mask(layout.GENERAL)
    names = seen_by(read_names(simulated / layout.embeddings("CLIP")), "sub-01")
    found = [
        read_ncsnr(simulated / layout.noise_ceiling("sub-01", kind), mask, inverse_repeats(kind, names))[0]
        for kind in layout.CEILING_REPEATS
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)
    np.testing.assert_allclose(found[0], found[2], rtol=2e-2)  # one image is a repeat short
    assert 0.4 < np.median(found[0][found[0] > 0]) < 0.9
    brain = read_volume(simulated / layout.r2mean("sub-01")).values > 0
    assert (brain | ~mask.values).all() and brain.sum() > mask.values.sum()


def test_the_same_seed_gives_the_same_files(simulated, tmp_path):
    simulator.simulate(tmp_path, Simulation(seed=1, subjects=2, unique=20, image_size=32))
    for path in sorted(simulated.rglob("*")):
        if path.is_file() and not path.name.startswith(".") and path.name != Path(layout.region_list("sub-01")).name:
            assert (tmp_path / path.relative_to(simulated)).read_bytes() == path.read_bytes(), path


# ---- settings --------------------------------------------------------------------------------------------------------


def settings(**changes) -> dict:
    return {"source": "bucket", "root": "data/laion"} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sessions": {"sub-02": 1}}, "sub-02 is not one of sub-01, sub-03"),
        ({"sessions": {"sub-01": 31}}, "'laion_fmri.sessions.sub-01'.*30"),
        ({"source": "simulated"}, "'laion_fmri.simulation': missing"),
        ({"source": "simulated", "simulation": {"seed": 0}, "bucket": {"copy": "x"}}, "reads no copy"),
        ({"source": "simulated", "simulation": {"seed": 0}, "sessions": {"sub-01": 4}}, "more than there are"),
        ({"source": "simulated", "simulation": {"seed": 0, "dims": [9, 9, 9]}}, "three different numbers"),
    ],
)
def test_wrong_settings_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        Settings.read(settings(**changes), key="laion_fmri")


# ---- the dataset of a study ------------------------------------------------------------------------------------------


def laion(tmp_path, methods=("ridge",), split="tau", **changes) -> Study:
    config = merged("laion.yaml")
    config |= {"subjects": ["sub-03"], "methods": [*methods], "metrics": ["retrieval_image"], "split": split}
    config["laion_fmri"] |= {"root": str(tmp_path / "root")} | changes
    config["mindeye2"]["pretraining"]["subjects"] = "all"
    return Study(config)


def test_a_split_of_each_subject_is_refused_where_a_network_trains_on_others(tmp_path):
    trained = ("mindeye2_unrefined",)
    assert laion(tmp_path, trained, split="ood").recorded == list(layout.SUBJECTS)
    assert laion(tmp_path, trained, pool="shared").dataset.is_one_split("tau")
    with pytest.raises(
        UserError, match=r"'methods': mindeye2_unrefined is pretrained on other subjects, and split tau"
    ):
        laion(tmp_path, trained)
    assert laion(tmp_path, ("mindeye2_scratch_unrefined",)).recorded == ["sub-03"]


def test_the_form_of_the_pictures_is_named_and_everything_else_goes_without(tmp_path):
    study = laion(tmp_path)
    with pytest.raises(
        UserError, match=rf"laion_fmri\.pictures.*{layout.PICTURES}.*not public; request it at https://"
    ):
        study.dataset.check_terms()
    (pictures,) = [one for one in study.dataset.inventory(study) if one.what == "pictures"]
    assert (pictures.way, pictures.missing) == (PLACED, [tmp_path / "root" / layout.PICTURES])
    files.put(tmp_path, f"root/{layout.PICTURES}", b"")
    study.dataset.check_terms()


def test_what_a_study_reads_is_listed_with_its_size(tmp_path):
    copy = files.write(tmp_path / "copy")
    study = laion(tmp_path, sessions={"sub-03": 2}, bucket={"copy": str(copy)})
    listed = {(one.what, one.way): one for one in study.dataset.inventory(study)}
    assert listed["betas of sub-03, sessions 1-2", LINKED].gigabytes == pytest.approx(2.6)
    assert [one.origin for (what, way), one in listed.items() if way == DOWNLOADED] == [
        "https://raw.githubusercontent.com/ViCCo-Group/LAION-fMRI/main"
    ]
    files_of_all = [path for one in listed.values() for path in one.files]
    assert not any("ses-03" in path.name for path in files_of_all) and len(files_of_all) == len(set(files_of_all))


def test_a_copy_that_is_another_folder_is_not_taken_for_an_empty_one(tmp_path):
    copy = files.write(tmp_path / "copy")
    with pytest.raises(UserError, match=r"holds none of the dataset's files; did you mean .*/copy\?"):
        laion(tmp_path, bucket={"copy": str(copy / "derivatives")})
    (tmp_path / "elsewhere" / "a" / "b" / "c").mkdir(parents=True)
    with pytest.raises(UserError, match=r"laion_fmri\.bucket\.copy.*holds no files of LAION-fMRI"):
        laion(tmp_path, bucket={"copy": str(tmp_path / "elsewhere/a/b/c")})


def test_a_mask_that_is_replaced_in_the_copy_is_noticed(tmp_path):
    copy = files.write(tmp_path / "copy")
    dataset = laion(tmp_path, bucket={"copy": str(copy)}).dataset
    masks = dataset.region_masks("sub-03")
    before = dataset.found(masks)
    os.utime(copy / Path(masks[0]).relative_to(tmp_path / "root"), ns=(1, 1))
    assert len(masks) == 3 and before is not None and dataset.found(masks) != before
    assert laion(tmp_path).dataset.found([dataset.tree(layout.CAPTIONS)]) is None
