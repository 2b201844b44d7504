"""docs/replicate-on-laion-fmri.md: its check runs on the simulated data, and its other commands are understood."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from snakemake.cli import get_argument_parser, parse_config
from snakemake.utils import update_config

from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.scores import read_scores
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.datasets.laion_fmri import layout
from fmri2img.paths import REPOSITORY
from fmri2img.settings.files import as_in_files, read_files
from fmri2img.study import Study

PAGE = (REPOSITORY / "docs" / "replicate-on-laion-fmri.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines()]
SIMULATED = ["config/laion_simulated.yaml"]


def snakemake(folder: Path, files: list[str], *arguments: str) -> subprocess.CompletedProcess:
    configured = ["--configfile", *(str(REPOSITORY / file) for file in files)]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), *configured, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> tuple[Path, str]:
    """The working directory of `make laion-check` on the simulated data, and what it printed."""
    folder = tmp_path_factory.mktemp("laion")
    files = [str(REPOSITORY / file) for file in ("config/laion_check.yaml", *SIMULATED)]
    command = [sys.executable, str(REPOSITORY / "scripts" / "run_study.py"), *files]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder, run.stdout


def test_make_laion_check_is_that_command():
    shown = subprocess.run(
        ["make", "-n", "laion-check", "STUDY=b.yaml"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert shown.stdout.splitlines()[-1] == "python scripts/run_study.py config/laion_check.yaml b.yaml"


def test_the_check_prints_retrieval_with_its_p(checked):
    _, printed = checked
    (line,) = [line for line in printed.splitlines() if line.startswith("  Ridge: 10-way image retrieval")]
    score, chance, p = map(float, re.search(r"([\d.]+) \[.*by chance ([\d.]+), p = ([\d.]+)$", line).groups())
    assert score > 30 and 7 < chance < 13 and p < 0.01
    shuffled = re.search(r"Ridge, shuffled brain: 10-way .* p = ([\d.]+)$", printed, re.M)
    assert float(shuffled[1]) > 0.05
    assert "Downloaded: nothing" in printed and "Ridge, caption of the nearest training image less Random" in printed


def test_tested_are_the_images_of_the_published_split_that_the_session_showed(checked):
    """Recomputed from the files of the dataset."""
    folder, printed = checked
    data, results = folder / "data/laion_simulated", folder / "results/laion_check"
    (variant,) = json.loads((data / layout.split("sub-01", "tau")).read_text())["variants"]
    shown = set(pd.read_csv(data / layout.trials("sub-01", 1), sep="\t")["label"])
    names = Stimuli.open(results / "stimuli").table.set_index("image_id")["name"]
    prediction = Prediction.open(results / "predictions/ridge/sub-01/1sessions/seed0/tau")
    assert set(names[prediction.ids]) == shown & set(variant["test_ids"])
    assert f"1 session, {len(prediction.ids)} test images of tau" in printed
    assert prediction.disclosure.training_trials < len(pd.read_csv(data / layout.trials("sub-01", 1), sep="\t"))


def test_the_check_reads_no_picture(checked):
    folder, _ = checked
    assert Stimuli.open(folder / "results/laion_check/stimuli").pictures is None
    pictures = folder / "data/laion_simulated" / layout.PICTURES
    log = "".join(path.read_text() for path in (folder / "logs").rglob("*.log"))
    assert str(pictures.relative_to(folder)) not in log
    scores = read_scores(sorted((folder / "results/laion_check/scores").glob("*.parquet")))
    assert set(scores["metric"]) == set(yaml.safe_load((REPOSITORY / "config/laion_check.yaml").read_text())["metrics"])


def test_what_does_not_depend_on_the_split_is_linked_from_another_study(checked):
    """As the page says: no session is masked again, and no embeddings are made again."""
    folder, _ = checked
    (copied,) = [shlex.split(line) for line in COMMANDS if line.startswith("cp -al")]
    results, other = folder / "results", folder / "results/other"
    for path in copied[2:-1]:
        if (found := results / "laion_check" / Path(path).name).is_dir():
            shutil.copytree(found, other / found.name, copy_function=lambda a, b: Path(b).hardlink_to(a))
    run = snakemake(folder, ["config/laion_check.yaml", *SIMULATED], "-n", "--config", "study=other", "split=random_0")
    assert run.returncode == 0, run.stdout + run.stderr
    planned = set(re.findall(r"^(\w+) +\d+$", run.stdout, re.M))
    assert {"laion_split", "laion_recording", "fit_linear"} <= planned
    assert not planned & {"laion_mask_session", "laion_embeddings", "laion_stimuli", "laion_simulate"}, planned


def study_of(command: str) -> Study:
    """The study that a command of the page would run."""
    parsed = get_argument_parser().parse_args(shlex.split(command)[1:])
    config = read_files([REPOSITORY / str(file) for file in parsed.configfile])
    update_config(config, as_in_files(parse_config(parsed.config or [])))
    return Study(config)


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("snakemake")])
def test_a_command_of_the_page_is_a_study(command):
    study = study_of(command)
    ablations = ("vdvae_only", "without_vdvae", "without_text", "without_vision")
    assert {"brain_diffuser", *(f"brain_diffuser_{one}" for one in ablations)} < set(study.methods)
    assert study.settings.statistics.permutations >= 1000 and "brain_diffuser.regions" in study.analyses
    if "replication_evc" in command:
        assert {one["regions"][0] for one in study.regressions("brain_diffuser")} == {"laion-EVC"}
    if "as_published" in command:
        assert {one["calibration"] for one in study.regressions("brain_diffuser")} == {"test_batch"}


def test_the_study_of_the_page_runs_dry(tmp_path):
    files = ["config/laion.yaml", "config/replication_laion.yaml"]
    run = snakemake(tmp_path, files, "-n")
    assert run.returncode == 0, run.stdout + run.stderr
    drawn = int(re.search(r"^draw +(\d+)$", run.stdout, re.M)[1])
    assert drawn == 5 * 5  # five subjects, the decoder and its four ablations


def test_files_and_targets_that_the_page_names_are_there():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for line in COMMANDS:
        program, target, *_ = [*shlex.split(line), ""]
        assert program in ("make", "snakemake", "mkdir", "cp")
        assert program != "make" or re.search(rf"^{target}:", makefile, re.M)
    for name in re.findall(r"(?:config|docs|tests)/[\w/.]+\.(?:yaml|md|py)", PAGE):
        assert (REPOSITORY / name).is_file(), name
    assert str(Path("data/laion") / layout.PICTURES) in PAGE and layout.FORM in PAGE
