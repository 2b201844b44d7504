"""docs/your-own-scans.md, followed word by word: a folder becomes a study, and faults are named as the page says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
import yaml

from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import Stimuli

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "your-own-scans.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```\w+\n# file: (\S+)\n(.*?)```", PAGE, re.S))
SAID = re.search(r"```text\n(Found:.*?)```", PAGE, re.S)[1]
FAULTS = dict(re.findall(r"^\| (.+?) \| `(.*)` \|$", PAGE.partition("## 7.")[2], re.M))  # fault -> what is said
BETAS = "derivatives/glmsingle/sub-01/ses-01/TYPED_FITHRF_GLMDENOISE_RR.hdf5"
MASK, REGION = "derivatives/masks/sub-01_mask.nii.gz", "derivatives/masks/rois/sub-01_V1.nii.gz"


def events(scans: Path, run: int = 1) -> Path:
    return scans / f"sub-01/ses-01/func/sub-01_ses-01_task-images_run-{run}_events.tsv"


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """`make` in a working directory outside of the repository."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["make", "PYTHON_ENV=", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Path:
    """A working directory with the page's files and the scans of its script."""
    folder = tmp_path_factory.mktemp("lab")
    for name in ("scripts", "Makefile"):
        (folder / name).symlink_to(REPOSITORY / name)
    for name, content in FILES.items():
        (folder / name).write_text(content, encoding="utf-8")
    subprocess.run([sys.executable, "make_scans.py"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def checked(lab) -> subprocess.CompletedProcess:
    return make(lab, "dataset", "PATH=scans")


@pytest.fixture(scope="module")
def results(lab, checked) -> Path:
    """The first of the commands that `make dataset` prints."""
    command = re.search(r"^  \S*snakemake (.*)$", checked.stdout, re.M)[1].split()
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), *command]
    quick = ["methods=[ridge,ridge_shuffled_brain]", "metrics=[pixcorr,retrieval_brain]", "statistics={resamples: 100}"]
    quick = ["--config", *quick, "generation={steps: 2}"]
    run = subprocess.run([*command, *quick, "--", "make_tables"], cwd=lab, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    return lab / "results" / "scans"


def test_the_page_shows_what_is_printed(checked):
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.startswith(SAID)


def test_the_study_that_is_written_identifies_pictures_from_the_brain(results):
    board = pd.read_csv(results / "tables/leaderboard.csv").pivot(index="method", columns="metric", values="mean")
    assert board.loc["ridge", "retrieval_brain"] > board.loc["ridge_shuffled_brain", "retrieval_brain"] + 0.2


def test_trials_betas_and_regions_are_those_of_the_files(lab, results):
    scans, recording = lab / "scans", Recording.open(results / "recordings/sub-01")
    tables = [pd.read_csv(events(scans, run), sep="\t", keep_default_na=False) for run in range(1, 5)]
    shown = pd.concat(tables)["stim_file"].loc[lambda names: names != "n/a"].str.removesuffix(".png")
    names = Stimuli.open(results / "stimuli").table.set_index("image_id")["name"]
    trials = recording.trials
    assert names[trials["image_id"]].tolist() == shown.tolist()
    counts = shown.value_counts()
    assert {names[one] for one in recording.test_ids("held_out")} == set(counts.index[counts == 3])

    with h5py.File(scans / BETAS) as file:
        volume = file["betasmd"][()]
    brain = nibabel.load(scans / MASK).get_fdata() == 1
    expected = volume[brain].T.astype(np.float64)  # (trials, voxels), voxels in C order
    train = (trials["part"] == "train").to_numpy()
    z = (expected - expected[train].mean(axis=0)) / expected[train].std(axis=0, ddof=1)
    np.testing.assert_allclose(recording.betas, z, rtol=1e-4, atol=1e-5)
    voxels = recording.voxels
    assert (voxels[["x", "y", "z"]].to_numpy() == np.argwhere(brain)).all()
    assert voxels["V1"].equals(voxels["z"] < 3) and (voxels["ncsnr"] > 0).mean() > 0.9


def test_a_mask_can_change_without_a_new_look_at_the_pictures(lab, results):
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "-n", "--quiet", "host"]
    config = "own_scans={voxels: {mask: derivatives/masks/rois/sub-01_V1.nii.gz}}"
    arguments = ["--configfile", "scans.yaml", "--config", config, "--", "make_tables"]
    run = subprocess.run([*command, *arguments], cwd=lab, capture_output=True, text=True)
    rules = set(re.findall(r"^rule (\w+):|^(\w+) +\d+$", run.stdout, re.M))
    listed = {name for pair in rules for name in pair if name}
    assert "own_scans_recording" in listed and "own_scans_stimuli" not in listed, run.stdout + run.stderr


# ---- faults ----------------------------------------------------------------------------------------------------------


def replace_betas(scans: Path, change, name: str = BETAS, key: str = "betasmd") -> None:
    with h5py.File(scans / BETAS) as file:
        betas = file["betasmd"][()]
    (scans / BETAS).unlink()
    if name.endswith(".npy"):
        np.save(scans / name, change(betas))
    else:
        with h5py.File(scans / name, "w") as file:
            file[key] = change(betas)


def save_volume(path: Path, change) -> None:
    values = change(nibabel.load(path).get_fdata())
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)


def edit(path: Path, change) -> None:
    path.write_text(change(path.read_text()))


def empty_beta(betas: np.ndarray) -> np.ndarray:
    betas[..., 11] = np.nan
    return betas


def lone_voxel(volume: np.ndarray) -> np.ndarray:
    volume[:] = 0.0
    volume[0, 0, 0] = 1
    return volume


def copy_of_a_picture(scans: Path) -> None:
    """A picture that is trained on is a copy of one that is held out."""
    shutil.copy(scans / "stimuli/scene_05.png", scans / "stimuli/copy_of_5.png")
    for run in range(1, 5):
        edit(events(scans, run), lambda text: text.replace("scene_20.png", "copy_of_5.png"))


PLANTED = {
    "the last events of a table are lost": lambda scans: edit(
        events(scans, 4), lambda text: "\n".join(text.rstrip("\n").split("\n")[:-2]) + "\n"
    ),
    "a picture was deleted": lambda scans: (scans / "stimuli/scene_07.png").unlink(),
    "a decimal comma in an onset": lambda scans: edit(events(scans), lambda text: text.replace("4.0\t3", "4,0\t3", 1)),
    "a beta is NaN in every voxel": lambda scans: replace_betas(scans, empty_beta),
    "the mask has another grid": lambda scans: save_volume(scans / MASK, lambda mask: mask.transpose(1, 0, 2)),
    "the mask holds probabilities": lambda scans: save_volume(scans / MASK, lambda mask: mask * 0.7),
    "the region lies outside of the mask": lambda scans: save_volume(scans / REGION, lone_voxel),
    "a tested picture is also there under another name": copy_of_a_picture,
    "the betas are GLMsingle's pickled `.npy`": lambda scans: replace_betas(
        scans, lambda betas: {"betasmd": betas}, BETAS.replace("hdf5", "npy")
    ),
    "betas of TYPEA, one for all events": lambda scans: replace_betas(scans, lambda betas: betas[..., :1]),
    "every volume of a picture is marked in the design": lambda scans: replace_betas(
        scans, lambda betas: np.concatenate([betas, betas], axis=3)
    ),
    "betas are those of another row": lambda scans: replace_betas(scans, lambda betas: np.roll(betas, 1, axis=3)),
    "a run was added twice": lambda scans: edit(events(scans), lambda text: text + text.partition("\n")[2]),
    "a picture is damaged": lambda scans: (scans / "stimuli/scene_03.png").write_bytes(b"\x89PNG\r\n\x1a\n no more"),
}


def test_every_fault_of_the_page_is_planted():
    assert PLANTED.keys() == FAULTS.keys()


@pytest.fixture
def spoiled(lab, tmp_path) -> Path:
    shutil.copytree(lab / "scans", tmp_path / "scans")
    return tmp_path / "scans"


@pytest.fixture
def said(monkeypatch, capsys, tmp_path):
    """What `make dataset` says of a folder, without the start of a process; its status must be 1."""
    import add_dataset

    monkeypatch.chdir(tmp_path)

    def of(folder: Path) -> list[str]:
        assert add_dataset.add(folder, None, None) == 1 and not list(tmp_path.glob("*.yaml"))
        return capsys.readouterr().out.partition("To mend:\n")[2].partition("\n\n")[0].splitlines()

    return of


@pytest.mark.parametrize("fault", PLANTED)
def test_a_fault_is_named_as_the_page_says(fault, spoiled, said):
    PLANTED[fault](spoiled)
    lines = said(spoiled)
    expected = FAULTS[fault]
    assert any(expected in line for line in lines), lines
    assert all(";" in line and line.startswith("- ") for line in lines)  # each with its remedy


def test_all_faults_are_named_at_once(spoiled, said):
    together = ["a picture was deleted", "the mask holds probabilities", "a run was added twice"]
    for fault in together:
        PLANTED[fault](spoiled)
    lines = "\n".join(said(spoiled))
    assert all(FAULTS[fault] in lines for fault in together)


def test_what_is_stated_is_not_guessed(lab):
    made = make(lab, "dataset", "FROM=scans", "CONFIG=layout.yaml")
    assert made.returncode == 2 and "scans.yaml: is there, and differs" in made.stderr
    (lab / "scans.yaml").rename(lab / "first.yaml")
    try:
        assert make(lab, "dataset", "FROM=scans", "CONFIG=layout.yaml").returncode == 0
        section = yaml.safe_load((lab / "scans.yaml").read_text())["own_scans"]
        assert section["title"] == "Our lab, 3T" and section["held_out"] == {"rule": "repeated", "repeats": 3}
    finally:
        (lab / "first.yaml").replace(lab / "scans.yaml")


def test_without_a_folder_nothing_is_searched(lab):
    made = make(lab, "dataset")
    assert made.returncode == 2 and "no folder is given; write `make dataset PATH=folder`" in made.stderr


# ---- the make variable PATH ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["scans", "~/my scans", "/data/o'neil"])
def test_make_dataset_takes_the_folder_as_path_and_finds_its_programs(tmp_path, folder):
    """A python of the environment's PATH, not of make's, is told the folder."""
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin/python"
    stub.write_text('#!/bin/sh\nprintf "%s|" "$@"\necho\nprintf "%s" "$PATH"\n')
    stub.chmod(0o755)
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    command = ["/usr/bin/make", "PYTHON_ENV=", "dataset", f"PATH={folder}"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    said, _, path = run.stdout.partition("\n")
    assert said == f"scripts/add_dataset.py|{folder}|" and run.returncode == 0, run.stderr
    assert path == f"{tmp_path}/.venv/bin:{environment['PATH']}"
