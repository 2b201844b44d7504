"""docs/adding-a-method.md, followed to the letter: a decoder outside the repository gets its row in every table."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from folders import method_folder

from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.scores import read_scores

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "adding-a-method.md"
MINE, FLOOR = "nearest_responses", "nearest_responses_shuffled_brain"


def write_files(folder: Path) -> list[str]:
    """Write every file that the page prints. Returns their names."""
    blocks = re.findall(r"^```\w+\n# file: (\S+)\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    for name, text in blocks:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [name for name, _ in blocks]


def state_of_the_repository() -> str:
    command = ["git", "status", "--porcelain"]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True).stdout


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    assert write_files(folder) == [
        "nearest_responses/method.yaml",
        "nearest_responses/decode.py",
        "nearest_responses/settings.py",
        "study.yaml",
    ]
    return folder


RULE = """
rule count_trials:
    input:
        expand("<results>/recordings/{subject}", subject=config["subjects"]),
    output:
        directory("<results>/analyses/counted/trials"),
    log:
        "<logs>/count_trials.log",
    params:
        code=code_of("fmri2img.methods.counted.scripts.count"),
    script:
        "scripts/count.py"
"""
SCRIPT = """
import matplotlib.pyplot as plt
import pandas as pd

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.recording import Recording
from fmri2img.reporting.style import save_figure


def main(snakemake):
    recordings = [Recording.open(path) for path in snakemake.input]
    table = pd.DataFrame({"subject": snakemake.config["subjects"], "trials": [len(r.trials) for r in recordings]})
    with atomic_directory(snakemake.output[0]) as folder:
        table.to_csv(folder / "table.csv", index=False)
        figure, axes = plt.subplots()
        axes.bar(table["subject"], table["trials"])
        save_figure(figure, folder / "figure", formats=("svg",))


if __name__ == "__main__":
    job.run(main)
"""


def write_analysis(folder: Path) -> None:
    """A folder that declares an analysis, with the rule and the script that make it."""
    analyses = {"trials": {"title": "Trials of each subject", "sentence": "Bars of <trials>."}}
    method_folder(folder, analyses=analyses)
    (folder / "method.smk").write_text(RULE)
    (folder / "scripts").mkdir()
    (folder / "scripts" / "count.py").write_text(SCRIPT)


@pytest.fixture(scope="module")
def study(written):
    """The page's study on the tiny data, and an analysis from a second folder."""
    write_analysis(written / "counted")
    file = written / "study.yaml"
    text = file.read_text().replace("plugins: [nearest_responses]", "plugins: [nearest_responses, counted]")
    file.write_text(f"{text}analyses: [counted.trials]\n")
    for name in ("config", "resources"):
        (written / name).symlink_to(REPOSITORY / name)
    before = state_of_the_repository()
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "2"]
    command += ["--directory", str(written), "--show-failed-logs"]
    command += ["--configfile", "config/tiny.yaml", str(written / "study.yaml")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=written)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-6000:]
    assert state_of_the_repository() == before
    return written / "results" / "with_mine"


def test_the_decoder_has_its_row_in_the_leaderboard_next_to_ours(study):
    board = pd.read_csv(study / "tables" / "leaderboard.csv")
    assert {"ridge", MINE, FLOOR, "true_tokens"} <= set(board["method"])
    page = (study / "page.html").read_text()
    assert "Nearest responses" in page and "The mean image tokens" in (study / f"cards/{MINE}.html").read_text()


def test_an_analysis_of_a_folder_is_on_the_page_in_the_report_and_in_the_crate(study):
    page = (study / "page.html").read_text()
    table = pd.read_csv(study / "analyses/counted/trials/table.csv")
    section = page[page.index('id="analyses"') : page.index('id="compute"')]
    assert "Trials of each subject" in section and 'alt="Bars of &lt;trials&gt;."' in section
    assert "data:image/svg+xml;base64," in section and f">{table['trials'][0]}<" in section
    report = (study / "analyses/counted.trials.html").read_text()
    assert "data:image/svg+xml;base64," in report and f">{table['trials'][0]}<" in report
    assert "analyses/counted/trials" in (study / "ro-crate-metadata.json").read_text()


def test_it_is_scored_on_the_same_images_by_the_same_metrics_and_beats_its_floor(study):
    scores = read_scores([study / f"scores/{name}.parquet" for name in ("ridge", MINE, FLOOR)])
    images = scores.groupby(["method", "metric"])["image_id"].apply(lambda ids: tuple(sorted(ids)))
    for metric in ("identification_demo_clip", "retrieval_image_10way", "pixcorr"):
        assert images["ridge", metric] == images[MINE, metric] == images[FLOOR, metric]
    means = scores.groupby(["method", "metric"])["value"].mean()
    assert means[MINE, "retrieval_image_10way"] > means[FLOOR, "retrieval_image_10way"] + 0.05


def test_one_prediction_serves_all_seeds_of_a_method_that_is_not_random(study):
    (path,) = (study / "predictions" / MINE).glob("*/*/*/*/ids.npy")
    prediction = Prediction.open(path.parent)
    assert (prediction.metadata["seed"], prediction.metadata["subject"]) == ("all", "subj01")
    assert prediction.disclosure.origin == "port" and prediction.disclosure.training_subjects == ["subj01"]


def test_a_changed_file_of_the_folder_reruns_its_jobs_alone(study, written):
    decode = written / MINE / "decode.py"
    text = decode.read_text()
    decode.write_text(text.replace("[:, : given", "[:, 1 : given"))
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(REPOSITORY / "Snakefile"),
        "-n",
        "--quiet",
        "rules",
    ]
    command += ["--directory", str(written), "--configfile", "config/tiny.yaml", str(written / "study.yaml")]
    try:
        printed = subprocess.run(command, capture_output=True, text=True, cwd=written)
    finally:
        decode.write_text(text)
    counts = dict(re.findall(r"^(\w+) +(\d+)$", printed.stdout + printed.stderr, re.M))
    assert counts["make_decoded"] == "1" and counts["draw"] == "1" and counts["evaluate"] == "2"
    assert "fit_linear" not in counts and "embed_stimuli" not in counts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("title"), "method.yaml: key 'title': missing"),
        (lambda r: r.update(drawin="unclip"), "method.yaml: key 'drawin': unknown; did you mean 'drawing'?"),
        (lambda r: r.update(floors=["nobody"]), "key 'floors': 'nobody' is not a control of other methods"),
        (lambda r: r["made_by"].update(function="decode:nobody"), "decode has no 'nobody', which method.yaml names"),
    ],
)
def test_the_check_of_a_folder_says_what_is_wrong(written, tmp_path, change, message):
    folder = tmp_path / MINE
    shutil.copytree(written / MINE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    record = yaml.safe_load((folder / "method.yaml").read_text())
    change(record)
    (folder / "method.yaml").write_text(yaml.safe_dump(record))
    command = [sys.executable, str(REPOSITORY / "scripts/check_method.py"), str(folder)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert message in result.stdout and "Traceback" not in result.stdout + result.stderr


def test_a_folder_that_is_no_method_is_refused_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-m", "snakemake", "-n", "--config", f"plugins=[{tmp_path / 'empty'}]"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert result.returncode != 0 and "Traceback" not in result.stdout + result.stderr
    assert "holds neither method.yaml nor dataset.yaml" in result.stdout + result.stderr


def test_the_folder_to_copy_is_the_one_that_the_page_prints(written):
    copied = REPOSITORY / "docs" / "examples" / MINE
    for name in ("method.yaml", "decode.py", "settings.py"):
        assert (copied / name).read_text() == (written / MINE / name).read_text()
