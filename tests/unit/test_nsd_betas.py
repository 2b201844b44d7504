"""A session of betas inside a mask: which numbers come out, in which order, and what damage is reported."""

import importlib.util
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from nsd_tree import DIMS, PER_SESSION, Tree, edit_cell, save_volume
from prepared import responses

from fmri2img.datasets.nsd.betas import count_trials, read_masked_session
from fmri2img.datasets.nsd.scripts.mask_session import mask_session
from fmri2img.datasets.nsd.volumes import read_mask
from fmri2img.errors import UserError


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


@pytest.mark.parametrize("subject", DIMS)
def test_every_number_of_the_mask_in_c_order_over_x_y_z(tree, subject, tmp_path):
    general = tree.labels[subject]["nsdgeneral"]
    expected = [
        tree.betas[subject][PER_SESSION : 2 * PER_SESSION, x, y, z]
        for x in range(general.shape[0])
        for y in range(general.shape[1])
        for z in range(general.shape[2])
        if general[x, y, z] == 1
    ]
    output = tmp_path / "session02.npy"
    mask_session(tree.betas_file(subject, 2), tree.roi(subject), tree.root / responses(subject), 2, output)
    masked = np.load(output)
    assert masked.dtype == np.int16
    np.testing.assert_array_equal(masked, np.stack(expected, axis=1))


def test_same_numbers_as_nibabel_and_plain_h5py(tmp_path):
    source = Path(__file__).parents[1] / "benchmarks" / "read_session.py"
    spec = importlib.util.spec_from_file_location("read_session", source)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.write_session(tmp_path, trials=6, dims=(7, 9, 5), voxels=40)
    mask = np.load(tmp_path / "mask.npy")
    own = benchmark.by_planes(tmp_path / "betas.hdf5", mask, 6)
    assert own.shape == (6, 40) and own.any(axis=0).all()
    for read, name in (benchmark.get_fdata, "betas.nii.gz"), (benchmark.whole_hdf5, "betas.hdf5"):
        np.testing.assert_array_equal(own, read(tmp_path / name, mask, 6))


def test_one_voxel_mask_and_contiguous_storage(tree):
    mask = np.zeros(DIMS["subj01"], bool)
    mask[6, 0, 4] = True
    path = tree.betas_file("subj01", 1)
    values = tree.betas["subj01"][:PER_SESSION]
    with h5py.File(path, "w") as file:
        file["betas"] = values.transpose(0, 3, 2, 1)
    np.testing.assert_array_equal(read_masked_session(path, mask, PER_SESSION)[:, 0], values[:, 6, 0, 4])


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def in_nifti(tree, session, dtype="<i2", scale=1, stored=None):
    """A session as NIfTI, (X, Y, Z, trials), and its HDF5 file. stored: type in the file, with a scale factor."""
    path = tree.betas_file("subj01", session)
    values = tree.betas["subj01"][PER_SESSION * (session - 1) : PER_SESSION * session].transpose(1, 2, 3, 0)
    image = nibabel.Nifti1Image((values / scale).astype(dtype), np.eye(4))
    image.set_data_dtype(stored or dtype)
    nibabel.save(image, path.with_suffix(".nii.gz"))
    return path.with_suffix(".nii.gz"), path


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", ">f4", "<f8"])
def test_nifti_holds_the_numbers_of_hdf5(tree, dtype):
    mask = read_mask(tree.roi("subj01"))
    nifti, hdf5 = in_nifti(tree, 2, dtype)
    found = read_masked_session(nifti, mask, PER_SESSION)
    assert found.dtype == (np.int16 if "i" in dtype else np.float32)
    np.testing.assert_array_equal(found, read_masked_session(hdf5, mask, PER_SESSION))


def test_a_scale_factor_of_nifti_makes_floats(tree):
    mask = read_mask(tree.roi("subj01"))
    nifti, hdf5 = in_nifti(tree, 1, np.float32, 300, np.int16)
    stored = nibabel.load(nifti).dataobj
    assert stored.dtype == np.int16 and stored.slope != 1
    found = read_masked_session(nifti, mask, PER_SESSION)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, read_masked_session(hdf5, mask, PER_SESSION) / 300, atol=2 * stored.slope)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncate, "not a complete NIfTI file"),
        (lambda path: path.write_bytes(b"<Error>"), "not a complete NIfTI file"),
        (lambda path: path.unlink(), "no such file"),
        (lambda path: save_volume(path, np.zeros((*DIMS["subj01"], 23), np.int16)), "23 trials, but .* lists 24"),
        (lambda path: save_volume(path, np.zeros((*DIMS["subj02"], 24), np.int16)), "do not match the mask"),
        (lambda path: save_volume(path, np.zeros(DIMS["subj01"], np.int16)), "do not match the mask"),
        (lambda path: save_volume(path, np.zeros((*DIMS["subj01"], 24), np.uint8)), "betas are uint8, expected int16"),
    ],
)
def test_damaged_nifti_betas_are_named(tree, spoil, message):
    path, _ = in_nifti(tree, 1)
    spoil(path)
    with pytest.raises(UserError, match=message) as error:
        read_masked_session(path, read_mask(tree.roi("subj01")), PER_SESSION)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_what_to_do_about_a_file_of_the_users_own_is_not_to_delete_a_link(tree, tmp_path):
    linked = tmp_path / "tree" / "responses.tsv"
    linked.parent.mkdir()
    own = tree.root / responses("subj01")
    own.write_text("SUBJECT\n")
    linked.symlink_to(own)
    with pytest.raises(UserError, match=f"it is a link to {own}: correct or replace that file, then run again"):
        count_trials(linked)
    with pytest.raises(UserError, match=r"delete it and rerun, .*if it is your own, correct or replace it"):
        count_trials(own)


def test_trials_are_counted_by_session(tree):
    assert count_trials(tree.root / responses("subj01")) == {1: 24, 2: 24, 3: 24}


def test_blank_lines_of_the_responses_do_not_count(tree):
    path = tree.root / responses("subj01")
    path.write_text(path.read_text().replace("\n", "\n\n", 2) + "\n\n")
    assert count_trials(path) == {1: 24, 2: 24, 3: 24}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_text(path.read_text() + "1\n"), "line 74: no session number"),
        (lambda path: edit_cell(path, 9, "SESSION", "NaN"), "line 11: no session number .*NaN"),
        (lambda path: edit_cell(path, 9, "SESSION", "inf"), "line 11: no session number .*infinity"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\xff\xfe\x00\n"), "no session number .*decode"),
        (lambda path: path.write_bytes(b"\x1f\x8b\x08\x00\xff"), "no session number .*decode"),
        (lambda path: path.write_text(""), "no column SESSION"),
        (lambda path: path.unlink(), "no such file"),
    ],
)
def test_damaged_responses_are_reported_before_a_session_is_masked(tree, tmp_path, spoil, message):
    path = tree.root / responses("subj01")
    spoil(path)
    with pytest.raises(UserError, match=message) as error:
        mask_session(tree.betas_file("subj01", 1), tree.roi("subj01"), path, 1, tmp_path / "session01.npy")
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def rewrite(path, change):
    with h5py.File(path) as file:
        values = file["betas"][:]
    with h5py.File(path, "w") as file:
        change(file, values)


DAMAGE = {
    "truncated": (truncate, "not a complete HDF5 file"),
    "not HDF5": (lambda path: path.write_text("<Error>AccessDenied</Error>"), "not a complete HDF5 file"),
    "missing": (lambda path: path.unlink(), "no such file"),
    "no betas": (lambda path: rewrite(path, lambda f, v: f.update(beta=v)), "no dataset 'betas' .*beta"),
    "integers": (
        lambda path: rewrite(path, lambda f, v: f.update(betas=v.astype("<i4"))),
        "int32, expected int16",
    ),
    "unsigned": (lambda path: rewrite(path, lambda f, v: f.update(betas=v.astype("<u2"))), "uint16, expected int16"),
    "transposed": (lambda path: rewrite(path, lambda f, v: f.update(betas=v.transpose(0, 3, 2, 1))), "do not match"),
    "trials last": (lambda path: rewrite(path, lambda f, v: f.update(betas=v.transpose(3, 2, 1, 0))), "do not match"),
    "one trial less": (lambda path: rewrite(path, lambda f, v: f.update(betas=v[1:])), "23 trials, but .* lists 24"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_session_is_reported_by_name_and_leaves_no_file(tree, damage, tmp_path):
    spoil, message = DAMAGE[damage]
    path, output = tree.betas_file("subj01", 1), tmp_path / "out" / "session01.npy"
    spoil(path)
    with pytest.raises(UserError, match=message) as error:
        mask_session(path, tree.roi("subj01"), tree.root / responses("subj01"), 1, output)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    assert not output.exists() and not list(tmp_path.glob("out/.*"))


def test_data_cut_off_behind_an_intact_header(tree):
    # A download that stopped where the index of chunks was whole: HDF5 sees it only by the length of the file.
    path, n = tree.betas_file("subj01", 1), PER_SESSION
    mask = read_mask(tree.roi("subj01"))
    content = path.read_bytes()
    for size in (len(content) - 1, len(content) - 48 * 5, len(content) // 2, 100, 0):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match="not a complete HDF5 file"):
            read_masked_session(path, mask, n)


def test_mask_of_another_subject(tree):
    with pytest.raises(UserError, match="do not match the mask"):
        read_masked_session(tree.betas_file("subj01", 1), read_mask(tree.roi("subj02")), PER_SESSION)


def test_session_that_responses_do_not_list(tree, tmp_path):
    with pytest.raises(UserError, match="lists no trial of session 4"):
        mask_session(
            tree.betas_file("subj01", 3), tree.roi("subj01"), tree.root / responses("subj01"), 4, tmp_path / "o.npy"
        )


def test_empty_mask(tree):
    save_volume(tree.roi("subj01"), np.where(tree.labels["subj01"]["nsdgeneral"] == 1, 0, -1).astype(np.int16))
    with pytest.raises(UserError, match="has no voxel with a label above 0"):
        read_mask(tree.roi("subj01"))
