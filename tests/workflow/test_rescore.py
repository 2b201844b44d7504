"""Submissions through the workflow: MindEye2's published tensors, tiny and from disk, and a submission to a study."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from designs import DISCLOSURE
from PIL import Image

import validate_submission

REPOSITORY = Path(__file__).resolve().parents[2]
IDS = np.array([3, 8, 20, 21, 40, 77, 90, 91])
MODEL = "final_subj01_pretrained_40sess_24bs"


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "--directory", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)


def test_rescoring_trains_and_draws_nothing(tmp_path):
    result = run(tmp_path, "-n", "--quiet", "rules", "--configfile", "config/rescore.yaml")
    assert result.returncode == 0, result.stdout + result.stderr
    counts = {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", result.stdout + result.stderr, re.M)}
    # 3 submissions, 4 subjects, 2 budgets. Fetched: 8 folders of tensors, the images, 5 metric networks, 1 encoder.
    wanted = {
        "import_submission": 24,
        "embed_test_images": 5,
        "evaluate": 3,
        "acquire_backbone": 15,
        "embed_stimuli": 1,
        "make_tables": 1,
    }
    assert {rule: counts.get(rule) for rule in wanted} == wanted
    unwanted = "train|pretrain|finetune|fit_|decode|reconstruct|refine|acquire$|acquire_betas|mask_|prepare_"
    assert not [rule for rule in counts if re.match(unwanted, rule)]


def write_published(models: Path) -> None:
    """Tiny tensors under the names and in the layout of the published ones: pictures are noisy copies of the truth."""
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.random((len(IDS), 3, 32, 32), np.float32))
    noisy = torch.from_numpy(rng.random((len(IDS), 3, 32, 32), np.float32)) * 0.3 + truth * 0.7
    known, made = models / "mindeye2_test_images", models / "mindeye2_evals_subj01_40sess" / "evals" / MODEL
    (known / "evals").mkdir(parents=True)
    made.mkdir(parents=True)
    torch.save(truth, known / "evals" / "all_images.pt")
    torch.save(np.array(["a dog"] * len(IDS)), known / "evals" / "all_captions.pt")
    np.save(known / "shared1000.npy", np.isin(np.arange(73_000), IDS))
    for part in ("enhancedrecons", "recons"):
        torch.save(noisy, made / f"{MODEL}_all_{part}.pt")
    torch.save(truth.flip(0), made / f"{MODEL}_all_blurryrecons.pt")
    torch.save(np.array(["a dog on a sofa"] * len(IDS)), made / f"{MODEL}_all_predcaptions.pt")
    torch.save(torch.from_numpy(rng.normal(size=(len(IDS), 4, 2))).half(), made / f"{MODEL}_all_clipvoxels.pt")


def test_published_tensors_go_through_to_the_report_and_table_1(tmp_path):
    write_published(tmp_path / "models")
    small = {
        "subjects": ["subj01"],
        "sessions": ["all"],
        "metrics": ["pixcorr", "ssim", "identification_demo_clip"],
        "statistics": {"resamples": 100},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small))
    configs = ["--configfile", "config/rescore.yaml", str(tmp_path / "small.yaml")]
    result = run(tmp_path, "default", "paper_tables", *configs, "--cores", "1")
    assert result.returncode == 0, result.stdout + result.stderr
    results = tmp_path / "results" / "rescore"
    table = pd.read_csv(results / "tables" / "main_all.csv").set_index(["method", "metric"])["mean"]
    assert table["mindeye2_published_unrefined", "pixcorr"] > 0.8
    assert table["mindeye2_published_unrefined", "pixcorr"] > table["mindeye2_published", "pixcorr"] + 0.05
    assert abs(table["mindeye2_published_lowlevel", "pixcorr"]) < 0.2
    paper = pd.read_csv(results / "paper" / "table07.csv")
    assert (paper.loc[paper["metric"] == "pixcorr", "ours"].dropna() > 0).any()


def submitted_pictures(folder: Path, names: list[str], **record) -> Path:
    """A submission with one picture of each name."""
    (folder / "pictures").mkdir(parents=True)
    for n, name in enumerate(names):
        Image.fromarray(np.full((16, 16, 3), 20 * n, np.uint8)).save(folder / "pictures" / f"{name}.png")
    prediction = {"subject": "subj01", "sessions": "all", "seed": 0, "images": "pictures", **record}
    entry = {"title": "Ours", "disclosure": DISCLOSURE, "predictions": [prediction]}
    (folder / "submission.yaml").write_text(yaml.safe_dump(entry))
    return folder


def test_make_submission_makes_what_it_checks_and_says_what_numbers_are(tmp_path, capsys, monkeypatch):
    write_published(tmp_path / "models")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({"subjects": ["subj01"], "sessions": ["all"]}))
    monkeypatch.chdir(tmp_path)
    configs = ["--configfile", str(REPOSITORY / "config/rescore.yaml"), "small.yaml", "--check-only"]
    rows = [str(row) for row in range(len(IDS))]

    def checked(name: str, **record) -> tuple[int, str]:
        folder = submitted_pictures(tmp_path / name, rows, **record)
        monkeypatch.setattr(sys, "argv", ["validate_submission.py", str(folder), *configs])
        status, printed = validate_submission.main(), capsys.readouterr()
        return status, printed.out + printed.err

    status, said = checked("right", ids="ascending")
    assert status == 0 and f"complete, {len(IDS)} test images" in said
    monkeypatch.setattr(validate_submission, "make", lambda *_: None)  # its test images are there
    status, said = checked("wrong")
    assert status == 1 and "they look like numbers of rows: write `ids: ascending`" in said
