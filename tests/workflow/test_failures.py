"""A study in which methods fail: everything else is reported with the gaps and their reasons; then it is mended."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
STUDY = {
    "study": "planted",
    "plugins": ["doomed", "fragile"],
    "subjects": ["subj01", "subj02"],
    "methods": ["doomed", "fragile", "fragile_shuffled_brain", "true_tokens"],
    "metrics": ["pixcorr", "identification_demo_clip"],
}
FAILING = """

def failing(given):
    import os
    import signal
    from pathlib import Path

    from fmri2img.errors import UserError

    if Path("broken").exists() and given.cell.subject in {subjects}:
        {fault}
    return nearest_responses(given)
"""
FAULTS = {
    # As the kernel does when memory runs out.
    "doomed": {"subjects": ["subj01", "subj02"], "fault": "os.kill(os.getpid(), signal.SIGKILL)"},
    "fragile": {"subjects": ["subj02"], "fault": "raise UserError('responses: a planted fault')"},
}


def write_study(folder: Path) -> None:
    """Copies of the documentation's method that fail while there is a file `broken`."""
    for name, fault in FAULTS.items():
        shutil.copytree(REPOSITORY / "docs/examples/nearest_responses", folder / name)
        record = yaml.safe_load((folder / name / "method.yaml").read_text())
        record |= {"title": name.capitalize(), "made_by": record["made_by"] | {"function": "decode:failing"}}
        record["configured_by"] = [name if key == "nearest_responses" else key for key in record["configured_by"]]
        (folder / name / "method.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
        with open(folder / name / "decode.py", "a") as file:
            file.write(FAILING.format(**fault))
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    for name in ("config", "resources"):
        (folder / name).symlink_to(REPOSITORY / name)


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "2"]
    command += [
        "--directory",
        str(folder),
        "--configfile",
        "config/tiny.yaml",
        "study.yaml",
        "--keep-going",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("failed")
    write_study(folder)
    (folder / "broken").touch()
    return folder, snakemake(folder)


def test_the_rest_is_reported_and_the_run_still_fails(failed):
    folder, run = failed
    said = run.stdout + run.stderr
    assert run.returncode == 1 and "Reported without it: results/planted/page.html" in said, said[-4000:]
    assert "responses: a planted fault (logs/planted/make_decoded/fragile/subj02/" in said
    assert "without an error message" in said  # what was killed could not say why
    gaps = pd.read_csv(folder / "results/planted/tables/gaps.csv").set_index("method")
    assert gaps["what"].to_dict() == {"doomed": "all", "fragile": "subj02", "fragile_shuffled_brain": "subj02"}
    assert "planted fault" in gaps.loc["fragile", "reason"]


def test_tables_hold_what_there_is(failed):
    tables = failed[0] / "results/planted/tables"
    cells = pd.read_csv(tables / "main_all.csv").set_index(["method", "metric"])["mean"]
    assert cells["true_tokens"].notna().all() and cells[["doomed", "fragile"]].isna().all()
    subjects = pd.read_csv(tables / "subjects_all.csv").set_index(["method", "subject", "metric"])["mean"]
    assert subjects["fragile", "subj01"].notna().all() and subjects["fragile", "subj02"].isna().all()
    claims = pd.read_csv(tables / "claims.csv")
    untested = claims[~claims["tested"]]
    assert len(untested) and untested["finding"].str.contains("not tested: ").all()


def test_page_card_and_crate_show_the_gap(failed):
    results = failed[0] / "results/planted"
    page = (results / "page.html").read_text()
    assert "Incomplete" in page and '"doomed":"failed: it ended without' in page and "lacks subj02" in page
    assert "a planted fault" in (results / "cards/fragile.html").read_text()
    run = next(e for e in json.loads((results / "ro-crate-metadata.json").read_text())["@graph"] if e["@id"] == "#run")
    assert run["actionStatus"].endswith("FailedActionStatus") and "Doomed (all)" in run["error"]


def test_every_job_of_the_report_recorded_its_versions(failed):
    tables = failed[0] / "results/planted/tables"
    jobs = pd.read_csv(tables / "jobs.csv")
    assert jobs["ended"].notna().all() and jobs["versions"].str.contains("numpy").all() and len(jobs) > 20
    facts = pd.read_csv(tables / "provenance.csv").set_index(["section", "item"])["value"]
    assert ("jobs", "without a record") not in facts and facts["jobs", "number"] == str(len(jobs))


def test_once_mended_no_gap_is_left_and_nothing_is_made_twice(failed):
    folder, _ = failed
    results = folder / "results/planted"
    kept = results / "predictions/fragile/subj01"
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*.json")}
    (folder / "broken").unlink()
    run = snakemake(folder)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    assert before and {path: path.stat().st_mtime_ns for path in kept.rglob("*.json")} == before
    assert pd.read_csv(results / "tables/gaps.csv").empty and not (folder / "logs/planted/gaps.json").exists()
    assert "Incomplete" not in (results / "page.html").read_text()
    assert pd.read_csv(results / "tables/main_all.csv")["mean"].notna().all()
    assert "planted fault" not in (results / "cards/fragile.html").read_text()
    assert pd.read_csv(results / "tables/claims.csv")["tested"].all()
    assert "CompletedActionStatus" in (results / "ro-crate-metadata.json").read_text()
    assert "Nothing to be done" in snakemake(folder).stderr
