"""A lab's own scans: forms of betas, order of events, names of pictures, what is held out, layouts of foreign labs."""

from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import savemat

from add_dataset import add, study_name
from fmri2img.datasets.own_scans import layout
from fmri2img.datasets.own_scans.betas import open_betas
from fmri2img.datasets.own_scans.describe import describe, pattern_of
from fmri2img.datasets.own_scans.events import in_order, read_table
from fmri2img.datasets.own_scans.held_out import held_out
from fmri2img.datasets.own_scans.order import fit_of_order
from fmri2img.datasets.own_scans.pictures import Compared, Folder
from fmri2img.datasets.own_scans.recording import write_recording
from fmri2img.datasets.own_scans.settings import HeldOut, Settings
from fmri2img.datasets.own_scans.stimuli import write_stimuli
from fmri2img.datasets.own_scans.voxels import places_of
from fmri2img.datasets.pictures import PAD, read_picture
from fmri2img.datasets.scenes import draw, sample_scene
from fmri2img.errors import UserError

GRID, TRIALS = (4, 5, 3), 7
RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(*GRID, TRIALS)).astype(np.float32)
MASK = RNG.random(GRID) < 0.5
EXPECTED = VALUES[MASK].T  # (trials, voxels)


# ---- forms of betas --------------------------------------------------------------------------------------------------


def write_npy(path: Path, values: np.ndarray) -> Path:
    np.save(path.with_suffix(".npy"), values)
    return path.with_suffix(".npy")


def write_hdf5(path: Path, values: np.ndarray, key: str = "betasmd", **options) -> Path:
    with h5py.File(path.with_suffix(".hdf5"), "w") as file:
        file.create_dataset(key, data=values, **options)
    return path.with_suffix(".hdf5")


def write_matlab73(path: Path, values: np.ndarray) -> Path:
    """As MATLAB writes -v7.3: axes in reverse order, a class, and its own header before the HDF5 file."""
    file = path.with_suffix(".mat")
    with h5py.File(file, "w", userblock_size=512) as content:
        content.create_dataset("modelmd", data=values.transpose(), chunks=True).attrs["MATLAB_class"] = np.bytes_(
            "single"
        )
    with open(file, "r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return file


def write_matlab5(path: Path, values: np.ndarray) -> Path:
    savemat(path.with_suffix(".mat"), {"modelmd": values})
    return path.with_suffix(".mat")


def write_nifti(path: Path, values: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), f"{path}.nii.gz")
    return Path(f"{path}.nii.gz")


FORMS = {
    "npy": lambda path: write_npy(path, VALUES),
    "npy in Fortran order": lambda path: write_npy(path, np.asfortranarray(VALUES)),
    "npy, trials first": lambda path: write_npy(path, np.moveaxis(VALUES, 3, 0)),
    "npy, trials first, in Fortran order": lambda path: write_npy(path, np.asfortranarray(np.moveaxis(VALUES, 3, 0))),
    "npy of integers": lambda path: write_npy(path, np.round(300 * VALUES).astype(np.int16)),
    "HDF5 of Python": lambda path: write_hdf5(path, VALUES),
    "HDF5 in chunks": lambda path: write_hdf5(path, VALUES, chunks=(3, 2, 2, 4), compression="gzip"),
    "MATLAB 7.3": lambda path: write_matlab73(path, VALUES),
    "MATLAB 5": lambda path: write_matlab5(path, VALUES),
    "NIfTI": lambda path: write_nifti(path, VALUES),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("block", [2**28, 100])
def test_every_form_of_betas_gives_the_same_numbers(form, block, tmp_path, monkeypatch):
    monkeypatch.setattr("fmri2img.datasets.own_scans.betas.BLOCK_BYTES", block)
    with open_betas(FORMS[form](tmp_path / "betas"), None) as betas:
        assert betas.grid(TRIALS) == GRID
        found = betas.read(TRIALS, MASK)
        assert found.dtype == np.float32
    tolerance = {"rtol": 0, "atol": 0.5} if "integers" in form else {"rtol": 1e-6}
    np.testing.assert_allclose(found, EXPECTED * (300 if "integers" in form else 1), **tolerance)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_npy(path, EXPECTED.T),
        lambda path: write_npy(path, np.asfortranarray(EXPECTED.T)),
        lambda path: write_npy(path, EXPECTED),
        lambda path: write_npy(path, np.asfortranarray(EXPECTED)),
        lambda path: write_npy(path, EXPECTED.T[:, None, None, :]),  # as GLMsingle gives data (voxels, time) back
        lambda path: write_matlab73(path, EXPECTED.T),
        lambda path: write_matlab73(path, EXPECTED.T[:, None, None, :]),
    ],
)
def test_betas_of_the_voxels_of_a_mask_are_read_as_they_are(write, tmp_path):
    with open_betas(write(tmp_path / "betas"), None) as betas:
        assert betas.grid(TRIALS) == (MASK.sum(),)
        np.testing.assert_array_equal(betas.read(TRIALS, None), EXPECTED)


def test_voxels_listed_by_matlab_are_put_where_they_are():
    order = np.array(
        [place for place in zip(*(axis.T.ravel() for axis in np.indices(GRID)), strict=True) if MASK[place]]
    )
    places, shape = places_of(MASK, (int(MASK.sum()),), "F")
    assert shape == GRID and (places == order).all()
    assert (places_of(MASK, (int(MASK.sum()),), "C")[0] == np.argwhere(MASK)).all()


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("TYPED_FITHRF_GLMDENOISE_RR.npy", {"betasmd": Bomb()}, allow_pickle=True)
    with (
        pytest.raises(UserError, match=r"RR\.npy: is pickled, and would run code when it is read; .*numpy\.save"),
        open_betas(Path("TYPED_FITHRF_GLMDENOISE_RR.npy"), None),
    ):
        pass
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda path: write_hdf5(path, VALUES, "results"),
            r"has no array betasmd, .* \(it has results\); name the one",
        ),
        (lambda path: write_npy(path, np.array(["a"])), r"betas are <U1, not numbers"),
        (lambda path: path.with_suffix(".txt"), r"betas\.txt: not \.npy, .* or \.nii\.gz"),
        (lambda path: path.with_suffix(".npy"), r"betas\.npy: no such file; put it there"),
    ],
)
def test_what_is_no_array_of_betas_is_refused_in_one_line(write, message, tmp_path):
    with pytest.raises(UserError, match=message) as error, open_betas(write(tmp_path / "betas"), None):
        pass
    assert "\n" not in str(error.value)


# ---- events ----------------------------------------------------------------------------------------------------------


def settings(root: Path, **changes) -> Settings:
    section = {
        "root": str(root),
        "sessions": {"S1": 1},
        "betas": {"files": "{subject}_betas.npy"},
        "events": {"files": "{subject}_events.csv", "picture": "stimulus"},
        "pictures": {"folder": "pics", "size": 32},
        "held_out": {"rule": "repeated", "repeats": 2},
    }
    return Settings.read(section | changes, key="own_scans")


def test_trials_are_in_the_order_of_sessions_runs_and_onsets_with_numbers_as_numbers(tmp_path):
    rows = ["stimulus,onset,session,run", "c,8,2,10", "d,2,2,10", "a,1,2,2", "b,1,2,2b", "first,5,1,1", "n/a,9,1,1"]
    (tmp_path / "S1_events.csv").write_bytes("\ufeff".encode() + "\r\n".join(rows).encode())
    (found,) = layout.find(tmp_path, "{subject}_events.csv", "S1")
    events = in_order(read_table(found, settings(tmp_path)))
    assert events["value"].tolist() == ["first", "n/a", "a", "b", "d", "c"]
    assert events["session"].tolist() == [1, 1, 2, 2, 2, 2] and events["run"].tolist() == [1, 1, 1, 2, 3, 3]
    assert events["blank"].tolist() == [False, True, False, False, False, False]


def test_labels_in_paths_are_found_in_their_order(tmp_path):
    for session, run in (("day2", "run10"), ("day2", "run9"), ("day10", "run1")):
        path = tmp_path / f"S1/{session}/S1_{run}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "S1/day2/._S1_run9.tsv").touch()
    found = layout.find(tmp_path, "{subject}/{session}/{subject}_{run}.tsv", "S1")
    assert [(one.session, one.run) for one in found] == [("day2", "run9"), ("day2", "run10"), ("day10", "run1")]
    assert layout.subjects(tmp_path, "{subject}/{session}/{subject}_{run}.tsv") == ["S1"]
    assert layout.find(tmp_path, "{subject}/*/*.tsv", "S2") == []


@pytest.mark.parametrize("pattern", ["{sub}/x.npy", "{}/x", "/data/x.npy", "../x.npy", "{subject/x"])
def test_a_pattern_with_another_placeholder_or_outside_of_the_root_is_refused(pattern, tmp_path):
    with pytest.raises(UserError, match=r"key 'own_scans\.betas\.files': .*; (correct it|write the path)"):
        settings(tmp_path, betas={"files": pattern})


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        (
            "sub-01/ses-02/func/sub-01_ses-02_run-3_events.tsv",
            "{subject}/{session}/func/{subject}_{session}_{run}_events.tsv",
        ),
        ("S01/day2/run1_events.csv", "{subject}/{session}/{run}_events.csv"),
        ("Subject3_session1_betas.npy", "{subject}_{session}_betas.npy"),
        ("glm/P7/TYPED_FITHRF.hdf5", "glm/{subject}/TYPED_FITHRF.hdf5"),
        ("stats/betas.npy", "stats/betas.npy"),
    ],
)
def test_labels_of_bids_and_of_others_are_recognised(path, pattern):
    assert pattern_of(path) == pattern


# ---- pictures --------------------------------------------------------------------------------------------------------


def picture(path: Path, pixels: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels, **options).save(path)


@pytest.fixture
def folder(tmp_path) -> Folder:
    for name in ("animals/cat.png", "animals/dog.jpg", "things/cat.png", "0012.png"):
        picture(tmp_path / "stimuli" / name, np.full((8, 8, 3), 9, np.uint8))
    return Folder(tmp_path / "stimuli")


@pytest.mark.parametrize(
    "value", ["animals/dog.jpg", "dog.jpg", "dog", "DOG.JPG", "stimuli/animals/dog", r"C:\exp\animals\dog.jpg"]
)
def test_a_picture_may_be_named_with_or_without_folders_and_suffix(folder, value):
    assert folder.named(value) == "animals/dog" and folder.source("animals/dog") == "animals"


def test_numbers_may_have_lost_their_zeros(folder):
    assert folder.named("12") == "0012" and folder.source("0012") == "stimuli"


def test_a_name_of_two_pictures_and_a_name_of_none_are_refused_with_what_helps(folder):
    with pytest.raises(UserError, match=r"'cat' may be animals/cat or things/cat; write the folder too"):
        folder.named("cat")
    with pytest.raises(UserError, match=r"has no picture 'dgo\.jpg' \(did you mean 'dog\.jpg'\?\)"):
        folder.named("dgo.jpg")


def test_transparent_grey_and_deep_pictures_become_what_was_seen(tmp_path):
    rgba = np.zeros((10, 10, 4), np.uint8)
    rgba[:, :5] = (200, 10, 30, 255)
    rgba[:, 5:] = (255, 255, 255, 0)  # white, and invisible
    picture(tmp_path / "rgba.png", rgba)
    seen = read_picture(tmp_path / "rgba.png", 10)
    assert (seen[:, :5] == (200, 10, 30)).all() and (seen[:, 5:] == 128).all()
    assert (read_picture(tmp_path / "rgba.png", 10, background=0)[:, 5:] == 0).all()
    picture(tmp_path / "deep.png", np.linspace(0, 65535, 100).astype(np.uint16).reshape(10, 10))
    deep = read_picture(tmp_path / "deep.png", 10)
    assert deep[0, 0, 0] == 0 and deep[-1, -1, 0] == 255 and abs(int(deep[5, 0, 0]) - 129) < 2
    picture(tmp_path / "wide.png", np.full((10, 20), 77, np.uint8))
    assert (read_picture(tmp_path / "wide.png", 20) == 77).all()
    padded = read_picture(tmp_path / "wide.png", 20, PAD)
    assert (padded[5:15] == 77).all() and (padded[:5] == 128).all() and (padded[15:] == 128).all()


def test_the_same_picture_is_found_under_two_names_and_after_compression(tmp_path):
    scene = draw(sample_scene(np.random.default_rng(1)), 64)
    Image.fromarray(scene).save(tmp_path / "packed.jpg", quality=75)
    compared = Compared(["a", "b", "c", "d"])
    for pixels in (scene, scene.copy(), read_picture(tmp_path / "packed.jpg", 64), scene[::-1]):
        compared.add(pixels)
    assert compared.same() == [["a", "b"]]
    assert compared.alike({"a"}) == [("a", "c")]


# ---- what is held out ------------------------------------------------------------------------------------------------


def test_held_out_pictures_follow_the_rule(tmp_path, folder):
    seen = {
        "S1": pd.Series(["animals/cat", "animals/cat", "0012", "animals/dog"]),
        "S2": pd.Series(["0012", "0012", "things/cat"]),
    }
    rule = HeldOut(rule="repeated", repeats=2)
    assert held_out(tmp_path, rule, folder, seen) == {"held_out": ["0012", "animals/cat"]}
    (tmp_path / "test.txt").write_text("picture\ndog.jpg\n12\n")
    listed = HeldOut(rule="listed", lists={"mine": "test.txt"})
    assert held_out(tmp_path, listed, folder, seen) == {"mine": ["0012", "animals/dog"]}
    some = HeldOut(rule="random", share=0.5, seed=3)
    assert held_out(tmp_path, some, folder, seen) == held_out(tmp_path, some, folder, dict(reversed(seen.items())))
    with pytest.raises(UserError, match=r"1 of its pictures were shown, and 2 are needed; change own_scans\.held_out"):
        held_out(tmp_path, HeldOut(rule="repeated", repeats=2), folder, {"S1": seen["S1"]})
    with pytest.raises(UserError, match=r"all 4 pictures are tested, so none is left to train on"):
        held_out(tmp_path, HeldOut(rule="random", share=1.0), folder, seen)


@pytest.mark.parametrize("runs", [1, 4])
def test_the_order_of_events_that_fits_the_betas_is_found(runs):
    rng = np.random.default_rng(0)
    pictures = rng.permutation([*range(60), *range(30)])
    betas = 0.4 * rng.normal(size=(60, 300))[pictures] + rng.normal(size=(90, 300))
    blocks = np.arange(90) * runs // 90
    for shift in (0, 1, -2):
        fits = fit_of_order(np.roll(betas, shift, axis=0), pictures, blocks)
        assert max(fits, key=fits.__getitem__) == shift and fits[shift] > 5
        assert all(abs(fit) < 4 for other, fit in fits.items() if other != shift)
    noise = [fit_of_order(rng.normal(size=(90, 50)), pictures, blocks, seed)[0] for seed in range(40)]
    assert abs(np.mean(noise)) < 0.6 and 0.6 < np.std(noise) < 1.5  # standard deviations of chance
    assert fit_of_order(betas[:60], np.arange(60), blocks[:60]) == {}


# ---- a folder of another lab -----------------------------------------------------------------------------------------


@pytest.fixture
def foreign(tmp_path) -> Path:
    """Two subjects, one of them with two sessions, in one csv each; betas with blanks, (voxels, trials); no mask."""
    root, rng = tmp_path / "Lab data", np.random.default_rng(2)
    for number in range(20):
        picture(root / f"pics/{number}.png", rng.integers(0, 255, (20, 30, 3), np.uint8))
    for subject, sessions in (("S1", 2), ("S2", 1)):
        rows, n_events = ["session,run,onset,stimulus"], 0
        for session in range(1, sessions + 1):
            shown = [*map(str, rng.permutation(20)), "0", "1", "blank", "2"]
            rows += [f"{session},1,{3 * place},{name}" for place, name in enumerate(shown)]
            n_events += len(shown)
        (root / f"{subject}_events.csv").write_text("\n".join(rows))
        np.save(root / f"{subject}_betas.npy", rng.normal(size=(40, n_events)))
    return root


def test_another_labs_folder_is_understood(foreign, tmp_path):
    found = describe(foreign, {"held_out": {"rule": "random", "share": 0.2}})
    assert found.problems == [] and found.section["sessions"] == {"S1": 2, "S2": 1}
    assert found.section["events"] == {"files": "{subject}_events.csv", "picture": "stimulus"}
    assert found.section["betas"] == {"files": "{subject}_betas.npy", "of": "events"}
    assert found.section["pictures"] == {"folder": "pics"}
    assert (
        found.facts[0].startswith("S1: 2 sessions, 2 runs, 46 trials of 20 pictures (") and "2 blanks" in found.facts[0]
    )
    assert any("20 of 20 pictures are not square" in note for note in found.notes)
    assert found.section["sizes"]["session_trials"] == 23 and found.study["sessions"] == [1, "all"]

    section = Settings.read(found.section, key="own_scans")
    split = write_stimuli(section, ["S1"], tmp_path / "stimuli")
    write_recording("S1", section, Folder(foreign / "pics"), split, tmp_path / "S1")
    betas = np.load(foreign / "S1_betas.npy")
    table = pd.read_csv(foreign / "S1_events.csv", dtype=str)
    kept = (table["stimulus"] != "blank").to_numpy()
    z = np.load(tmp_path / "S1/betas.npy")
    assert z.shape == (46, 40)
    for voxel in (0, 39):
        assert np.corrcoef(z[:23, voxel], betas[voxel, kept][:23])[0, 1] > 0.999


@pytest.mark.parametrize(
    ("folder", "name"),
    [("My Lab 3T", "my_lab_3t"), ("scans", "scans"), ("_2026-", "2026"), ("脑", "scans"), (64 * "a", 54 * "a")],
)
def test_a_folder_of_any_name_gives_a_study_its_name(folder, name):
    assert study_name(Path(folder)) == name


def test_a_study_that_would_not_run_is_not_left_behind(foreign, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="'Lab' is not made of lowercase letters"):
        add(foreign, None, Path("Lab.yaml"))
    assert not list(tmp_path.glob("*.yaml"))
    assert add(foreign, None, None) == 0 and [path.name for path in tmp_path.glob("*.yaml*")] == ["lab_data.yaml"]


def test_betas_that_are_there_twice_are_not_picked_from(foreign):
    np.save(foreign / "S1_betas_2.npy", np.load(foreign / "S1_betas.npy"))
    found = describe(foreign, {"betas": {"files": "{subject}_betas*.npy"}})
    assert any("S1_betas.npy: and S1_betas_2.npy are both betas of the same trials" in line for line in found.problems)
    found = describe(foreign, {})
    assert found.problems == [
        "betas have several forms of paths ({subject}_betas.npy, {subject}_betas_2.npy); name the one to read in "
        "own_scans.betas.files"
    ]


def test_sessions_that_are_not_used_are_not_counted(foreign):
    found = describe(foreign, {"sessions": {"S1": 1}, "held_out": {"rule": "random", "share": 0.2}})
    assert found.problems == [] and "16 pictures are trained on (" in found.facts[-1]
    assert found.section["sizes"]["session_trials"] == 23


def test_a_source_of_pictures_is_a_folder(foreign):
    found = describe(foreign, {"pictures": {"folder": "pics", "sources": {"pic": ["laion2b"], "pics": []}}})
    assert [line for line in found.problems if "'pic' is not a folder of" in line and "did you mean 'pics'?" in line]


def test_sessions_and_regions_without_a_fitting_file_are_named(foreign):
    found = describe(foreign, {"sessions": {"S1": 3}, "voxels": {"regions": {"V1": "{subject}_V1.npy"}}})
    assert any("own_scans.sessions: 3 of S1, but its tables of events have 2" in line for line in found.problems)
    assert any("S1_V1.npy: no such file; put it there, or correct own_scans.voxels" in line for line in found.problems)


def test_pictures_shown_once_leave_noise_ceilings_unknown(foreign):
    for subject in ("S1", "S2"):
        rows = ["session,run,onset,stimulus", *(f"1,1,{3 * number},{number}.png" for number in range(20))]
        (foreign / f"{subject}_events.csv").write_text("\n".join(rows))
        np.save(foreign / f"{subject}_betas.npy", RNG.normal(size=(40, 20)))
    found = describe(foreign, {})
    assert found.problems == [] and found.section["held_out"] == {"rule": "random", "share": 0.1, "seed": 0}
    assert any(
        "0 pictures were shown more than once, so noise ceilings (ncsnr) are not known" in n for n in found.notes
    )
    assert "repeat_ceiling" not in found.study["methods"]
    assert not any("normalised" in metric for metric in found.study["metrics"])
