"""A user's own copy of NSD: where it is, what of it is there, and what a run says before it begins."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from configurations import changed, merged
from nsd_tree import Tree, save_betas, save_volume

from fmri2img.datasets import lockfile
from fmri2img.datasets.acquisition import link
from fmri2img.datasets.inventory import announced
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.acquisition import why_requested
from fmri2img.datasets.nsd.acquisition_plan import ranges
from fmri2img.datasets.nsd.settings import Bucket
from fmri2img.errors import UserError
from fmri2img.study import Study

HEADER = "SUBJECT\tSESSION\tRUN\tTRIAL\t73KID\n"


def add(copy: Path, *keys: str) -> Path:
    for key in keys:
        path = copy / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return copy


def write_responses(copy: Path, subject: str, sessions: int) -> None:
    path = add(copy, layout.responses(subject)) / layout.responses(subject)
    path.write_text(HEADER + "".join(f"{subject[-1]}\t{n}\t12\t62\t{n}\n" for n in range(1, sessions + 1)))


def keys_of(study: Study, subject: str = "") -> list[str]:
    return [key for key in study.dataset.keys(study) if subject in key]


def paper(tmp_path: Path, **nsd) -> dict:
    """The paper's study with ridge alone on subject 1, and a copy."""
    config = merged("paper.yaml") | {"subjects": ["subj01"], "methods": ["ridge"], "sessions": ["all"], "budgets": {}}
    config["bottleneck"] = config["bottleneck"] | {"methods": ["ridge"]}
    nsd = {"root": str(tmp_path / "tree"), "copy": str(tmp_path / "copy")} | nsd
    config["nsd"] = config["nsd"] | {key: value for key, value in nsd.items() if key not in ("copy", "mask", "labels")}
    config["nsd"]["bucket"] = config["nsd"]["bucket"] | {"copy": nsd["copy"]}
    config["nsd"]["betas"] = {key: nsd[key] for key in ("mask", "labels") if key in nsd}
    return config


# Where it is


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("copi", r"there is no folder .*/copi; did you mean .*/copy\?"),
        (
            "copy/nsddata",
            r".*/copy/nsddata holds none of the dataset's files; did you mean .*/copy\?",
        ),
        ("copy/nsddata/experiments/nsd", r"holds none of .*did you mean .*/copy\?"),
        (".", r"holds none of .*did you mean .*/copy\?"),
        ("elsewhere/data", r"there is no folder .*/elsewhere/data; correct the path, or set the key to null"),
        ("empty", r"/empty holds none of .*; correct the path, or set the key to null"),
        ("other", r"/other holds none of .*; correct the path"),
    ],
)
def test_a_wrong_path_of_the_copy_is_not_taken_for_an_empty_copy(tmp_path, written, message):
    home = tmp_path / "home"
    add(home / "copy", layout.EXPERIMENT_DESIGN)
    alone = tmp_path / "alone"
    add(alone / "other", "nsddata/ppdata/subj01/func1pt8mm/._brainmask.nii.gz", "nsddata/README")
    (alone / "empty").mkdir()
    folder = (alone if written in ("empty", "other") else home) / written
    with pytest.raises(UserError, match=rf"key 'nsd\.bucket\.copy': .*{message}") as error:
        Study(paper(tmp_path, copy=str(folder)))
    assert "\n" not in str(error.value)


def test_a_copy_of_betas_alone_is_a_copy_in_either_form(tmp_path):
    for form in layout.BETA_FORMS:
        copy = add(tmp_path / form, layout.betas("subj01", "b3", 7, form))
        assert Study(paper(tmp_path, copy=str(copy))).predictions()


def test_a_copy_that_the_source_does_not_read_is_not_passed_over(tmp_path):
    with pytest.raises(UserError, match=r"nsd\.bucket\.copy': is set, but source is 'simulated', which reads no copy"):
        Study(changed(nsd__bucket={"copy": str(add(tmp_path / "copy", layout.STIMULI))}))


PATH_KEYS = {
    "nsd.root": lambda path: changed(nsd__root=path),
    "nsd.bucket.copy": lambda path: changed(nsd__bucket={"copy": path}),
    "plugins.0": lambda path: changed(plugins=[path]),
    "site": lambda path: changed(site=path),
    "submissions.mine": lambda path: changed(submissions={"mine": {"path": path}}),
    "god.root": lambda path: changed(dataset="god", god={"source": "copy", "root": path}),
    "hcp.root": lambda path: changed(pools=["hcp"], hcp={"source": "copy", "root": path}),
    "own_scans.root": lambda path: changed(dataset="own_scans", own_scans={"root": path}),
    "bold5000.root": lambda path: changed(dataset="bold5000", bold5000={"source": "copy", "root": path}),
}


@pytest.mark.parametrize("key", PATH_KEYS)
def test_an_unknown_variable_or_user_in_a_path_is_named_with_its_key(key):
    for written, message in (
        ("$NOT_SET_HERE/x", "the environment variable NOT_SET_HERE is not set"),
        ("/data/${NOT_SET_HERE}", "the environment variable NOT_SET_HERE is not set"),
        ("~nobody-of-this-name/x", "there is no user nobody-of-this-name"),
    ):
        with pytest.raises(UserError, match=rf"key '{key}': .*{message}"):
            Study(PATH_KEYS[key](written))


def test_tilde_and_variables_are_filled_in_as_a_shell_does(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NSD", "~/copy")
    add(tmp_path / "copy", layout.STIMULUS_INFO)
    for written in ("~/copy", "$HOME/copy", "${HOME}/copy", "$NSD", str(tmp_path / "copy")):
        study = Study(paper(tmp_path, copy=written, root="~/work"))
        assert study.config["nsd"]["bucket"]["copy"] == str(tmp_path / "copy")
        assert study.dataset.root == tmp_path / "work"
    assert Study(study.config).config == study.config  # as results/<study>/config.yaml is read again


# What of it is there


def test_a_copy_of_an_old_release_needs_its_number_of_sessions(tmp_path):
    write_responses(tmp_path / "copy", "subj01", 37)
    with pytest.raises(UserError, match=r"nsd\.sessions': .*responses.tsv ends with session 37, but 40 .*`subj01: 37`"):
        Study(paper(tmp_path))
    study = Study(paper(tmp_path, sessions={"subj01": 37}))
    assert study.used_sessions("subj01") == list(range(1, 38)) and study.available_sessions["subj02"] == 40
    assert study.budgets("subj01") == [37]
    of_split = paper(tmp_path) | {"split": "shared982"}
    assert Study(of_split).available_sessions["subj01"] == 37


def test_sessions_of_subjects_that_networks_are_pretrained_on_are_checked_too(tmp_path):
    config = paper(tmp_path) | {"methods": ["mindeye2_unrefined"]}
    for subject in ("subj01", "subj02"):
        write_responses(tmp_path / "copy", subject, 40)
    write_responses(tmp_path / "copy", "subj05", 37)
    with pytest.raises(UserError, match=r"nsd\.sessions': .*subj05.* ends with session 37"):
        Study(config)


@pytest.mark.parametrize(
    ("sessions", "source", "message"),
    [
        ({"subj03": 33}, "bucket", r"nsd\.sessions\.subj03': 33 is more than the 32 sessions of subj03; lower it"),
        ({"subj01": 9}, "simulated", r"nsd\.sessions\.subj01': 9 is more than the 8 sessions of subj01"),
        ({"subj07": 1}, "simulated", r"nsd\.sessions': subj07 is not simulated; add it to simulation.subjects"),
        ({"subj01": 0}, "bucket", r"nsd\.sessions\.subj01': 0 is out of range; it must be at least 1"),
        ({"sub 1": 1}, "bucket", r"nsd\.sessions.*'sub 1' is not made of letters"),
    ],
)
def test_impossible_numbers_of_sessions(tmp_path, sessions, source, message):
    add(tmp_path / "copy", layout.STIMULI)
    config = paper(tmp_path, sessions=sessions) if source == "bucket" else changed(nsd__sessions=sessions)
    with pytest.raises(UserError, match=message):
        Study(config)


def test_a_study_of_simulated_data_may_use_fewer_sessions():
    study = Study(changed(nsd__sessions={"subj01": 2}, subjects=["subj01"], sessions=[1, "all"]))
    assert study.budgets("subj01") == [1, 2]


def test_a_subject_of_ones_own_is_read_from_the_copy_alone(tmp_path):
    config = paper(tmp_path, sessions={"sub-01": 2}) | {"subjects": ["sub-01"]}
    with pytest.raises(UserError, match=r"encoding.model': gnet_multisubject only covers .* of nsd, not sub-01"):
        Study(config)
    config["encoding"] = config["encoding"] | {"model": "banded_ridge"}
    write_responses(tmp_path / "copy", "sub-01", 2)
    with pytest.raises(UserError, match=r"sub-01 is not a subject of NSD, and .*/copy lacks nsddata_betas/.*ncsnr"):
        Study(config)
    for key in keys_of(Study(paper(tmp_path, copy=None)), "subj01"):
        own = key.replace("subj01", "sub-01")
        if "session" not in own or own.split("session")[1][:2] in ("01", "02"):
            add(tmp_path / "copy", own.replace(".hdf5", ".nii.gz"))
    study = Study(config)
    assert study.budgets("sub-01") == [2] and study.dataset.betas("sub-01", 2).endswith("session02.nii.gz")
    with pytest.raises(UserError, match=r"no data for sub-02; available: .*sub-01; .* your own in nsd.sessions"):
        Study(config | {"subjects": ["sub-02"]})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda path: path.symlink_to("annex/objects/MD5E-1"),
            "is a link to a file that is not there; fetch",
        ),
        (lambda path: path.mkdir(), "is not a file; fetch or replace it, or remove it"),
    ],
)
def test_what_only_looks_like_no_file_is_not_downloaded_without_a_word(tmp_path, spoil, message):
    add(tmp_path / "copy", layout.STIMULI)
    path = tmp_path / "copy" / layout.responses("subj01")
    path.parent.mkdir(parents=True)
    spoil(path)
    with pytest.raises(UserError, match=f"responses.tsv: {message}"):
        Study(paper(tmp_path))
    with pytest.raises(UserError, match=f"responses.tsv: {message}"):
        link(layout.responses("subj01"), tmp_path / "tree", str(tmp_path / "copy"))


# What becomes of it


def replace(path: Path, text: str) -> None:
    """By a file that is older than everything that was made of it."""
    path.unlink()
    path.write_text(text)
    os.utime(path, (1, 1))


def test_an_older_file_in_the_place_of_a_linked_one_is_noticed_and_a_download_is_not_a_users_file(tmp_path):
    keys = [layout.responses("subj01"), layout.roi("subj01", "nsdgeneral"), layout.betas("subj01", "b3", 1)]
    write_responses(tmp_path / "copy", "subj01", 40)
    dataset = Study(paper(tmp_path)).dataset
    paths = [dataset.tree(key) for key in keys]
    before = dataset.found(paths)
    link(keys[0], dataset.root, str(tmp_path / "copy"))
    assert before is not None and dataset.found(paths) == before and dataset.found(paths[1:]) is None
    replace(tmp_path / "copy" / keys[0], "another")
    assert dataset.found(paths) != before

    own = add(dataset.root, keys[1]) / keys[1]  # put there by hand
    assert dataset.found(paths[1:]) is not None
    lockfile.write(dataset.root, keys[1], own, "bucket", "", "0" * 64)
    assert dataset.found(paths[1:]) is None
    assert Study(merged()).dataset.found(["data/simulated/x"]) is None


def test_betas_may_go_from_the_copy_once_they_are_masked(tmp_path):
    key = layout.betas("subj01", "b3", 1)
    save_betas(add(tmp_path / "copy", layout.STIMULI, key) / key, np.zeros((2, 3, 4, 5), np.int16))
    dataset = Study(paper(tmp_path)).dataset
    before = dataset.found([dataset.tree(key)])
    link(key, dataset.root, str(tmp_path / "copy"))
    for path in (dataset.root / key, tmp_path / "copy" / key):  # as Snakemake does once they are masked; as users do
        path.unlink()
        assert dataset.found([dataset.tree(key)]) == before is not None
    replace(add(tmp_path / "copy", key) / key, "other betas")
    assert dataset.found([dataset.tree(key)]) != before


@pytest.fixture
def scanned(tmp_path):
    """A copy with all volumes of a subject of the user's own, and its study."""
    tree = Tree(tmp_path / "copy")
    for name in ("ppdata", "../nsddata_betas/ppdata"):
        folder = tmp_path / "copy/nsddata" / name
        (folder / "subj02").rename(folder / "sub-01")
    roi = tree.root / "nsddata/ppdata/sub-01/func1pt8mm/roi"
    for name in ("attended", "../brainmask"):
        shutil.copy(roi / "nsdgeneral.nii.gz", roi / f"{name}.nii.gz")
    config = paper(tmp_path, sessions={"sub-01": 2}, mask="attended") | {"subjects": ["sub-01"]}
    return roi, Study(config | {"metrics": ["pixcorr"]})


def test_a_mask_in_another_grid_is_found_before_the_first_job(scanned):
    roi, study = scanned
    study.dataset.check_files(study)
    save_volume(roi / "attended.nii.gz", np.ones((6, 8, 9), np.int16))
    wrong = r"attended\.nii\.gz: 6 x 8 x 9 voxels, but .* has 6 x 8 x 10; .* or choose another nsd\.betas\.mask"
    with pytest.raises(UserError, match=wrong):
        study.dataset.check_files(study)


def test_betas_in_another_grid_are_found_before_the_first_job(scanned):
    roi, study = scanned
    betas = study.dataset.copied / layout.betas("sub-01", "b3", 2)
    save_betas(betas, np.zeros((24, 7, 8, 10), np.int16))
    with pytest.raises(UserError, match=r"betas_session02\.hdf5: 7 x 8 x 10 voxels, but .* has 6 x 8 x 10; take all"):
        study.dataset.check_files(study)
    (roi / "streams.nii.gz").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"streams\.nii\.gz: not a complete NIfTI file"):
        study.dataset.check_files(study)


# The mask


def test_a_region_of_ones_own_is_asked_of_every_subject_that_is_read(tmp_path):
    config = paper(tmp_path, mask="attended") | {"methods": ["mindeye2_unrefined"]}
    add(tmp_path / "copy", layout.STIMULI, layout.roi("subj01", "attended"))
    with pytest.raises(UserError, match=r"betas\.mask': 'attended' is neither .*/copy/.*subj02/.*roi/attended.nii.gz"):
        Study(config)
    add(tmp_path / "copy", *(layout.roi(subject, "attended") for subject in layout.SESSIONS))
    assert Study(config).predictions()


@pytest.mark.parametrize(
    ("mask", "file", "labels"),
    [
        ("nsdgeneral", "nsdgeneral", ()),
        ("HCP_MMP1", "HCP_MMP1", ()),
        ("lh.streams", "lh.streams", ()),
        ("V1", "prf-visualrois", (1, 2)),
        ("rh.FFA", "rh.floc-faces", (2, 3)),
        ("attended", "attended", ()),
    ],
)
def test_a_mask_is_a_region_file_or_a_region(mask, file, labels):
    assert layout.mask_of(mask) == (file, labels)


def test_labels_are_of_a_region_file(tmp_path):
    add(tmp_path / "copy", layout.STIMULI)
    assert Study(paper(tmp_path, mask="HCP_MMP1", labels=[1, 4])).predictions()
    with pytest.raises(UserError, match=r"betas\.labels': are of a region file, but mask is the region V1"):
        Study(paper(tmp_path, mask="V1", labels=[1]))


# What a run says


def lines(study: Study, made: list[str]) -> list[str]:
    return announced("NSD", study.dataset.inventory(study), made)


def test_a_run_says_what_is_linked_and_what_is_downloaded(tmp_path):
    study = Study(paper(tmp_path, copy=None))
    dataset, keys = study.dataset, keys_of(study)
    bucket, archive = lines(study, [dataset.tree(key) for key in keys])
    assert (
        f"NSD: {len(keys) - 4} files are downloaded from s3://natural-scenes-dataset (key nsd.bucket.bucket)" in bucket
    )
    assert f"about {40 * 1.1 + 39.5:.1f} GB: betas of subj01, sessions 1-40; the stimuli; " in bucket
    assert "(key nsd.bucket.coco_url), about 0.2 GB: COCO's annotations." in archive

    copied = [key for key in keys if "session39" not in key and "session07" not in key and "annotations" not in key]
    write_responses(add(tmp_path / "copy", *copied), "subj01", 40)
    study = Study(paper(tmp_path))
    linked, fetched, _ = lines(study, [study.dataset.tree(key) for key in keys] + ["results/paper/tables/a.csv"])
    assert f"{len(copied)} files are linked from {tmp_path / 'copy'} (key nsd.bucket.copy)" in linked
    assert "4 files are downloaded" in fetched and "betas of subj01, sessions 7, 39; 2 small files" in fetched
    assert lines(study, []) == [] and lines(Study(merged()), ["data/simulated/x"]) == []


def test_a_failed_download_says_why_the_file_was_requested_and_which_keys_decide():
    key = layout.betas("subj01", "b3", 38)
    without = why_requested(key, Bucket())
    assert "no copy of NSD is named in nsd.bucket.copy" in without and "natural-scenes-dataset" in without
    copied = why_requested(key, Bucket(copy=os.sep))
    assert "it is not in / (nsd.bucket.copy)" in copied and "state them in nsd.sessions" in copied
    assert "nsd.sessions" not in why_requested(layout.STIMULI, Bucket(copy=os.sep))


def test_ranges_of_numbers():
    assert ranges([3, 1, 2, 7, 9, 10]) == "1-3, 7, 9-10" and ranges([]) == ""
