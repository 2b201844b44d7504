"""The plan of a study, from its job graph."""

from fmri2img.paths import REPOSITORY
from fmri2img.planning import Measured, plan, planned_jobs
from fmri2img.settings.files import read_files
from fmri2img.study import Study
from plan_study import readme_table


def test_the_readme_shows_the_plan_of_the_paper_and_every_rate_of_it_is_stated(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    files = ["config/paper.yaml"]
    table = plan(planned_jobs(files), Measured({}, {}))
    assert set(table["unit"][table["source"] == "guessed"]) == set()
    assert table["submission"].nunique() < 1500
    assert readme_table(Study(read_files(files)), table) in (REPOSITORY / "README.md").read_text("utf-8"), (
        "run python scripts/plan_study.py --readme"
    )
