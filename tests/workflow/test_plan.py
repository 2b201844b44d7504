"""The plan of a study, from its job graph."""

from fmri2img.paths import REPOSITORY
from fmri2img.planning import Measured, plan, planned_jobs
from plan_study import readme_table


def test_the_readme_shows_the_plan_of_the_paper_and_every_rate_of_it_is_stated(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    table = plan(planned_jobs(["config/paper.yaml"]), Measured({}, {}))
    assert set(table["unit"][table["source"] == "guessed"]) == set()
    assert table["submission"].nunique() < 1500
    assert readme_table(["config/paper.yaml"]) in (REPOSITORY / "README.md").read_text("utf-8"), (
        "run python scripts/plan_study.py --readme"
    )
