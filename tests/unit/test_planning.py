"""Plans: rates, measured before assumed; sums by rule; the longest chain of submissions."""

import pandas as pd
import pytest
from configurations import merged

from fmri2img import planning
from fmri2img.errors import UserError
from fmri2img.planning import Measured, PlannedJob, by_rule, longest_chain, plan
from fmri2img.study import Study
from fmri2img.work import Work, work_of


def planned(what, submission, unit, amount, needs=(), gpus=0, mem_mb=1000, minutes=60, threads=2) -> PlannedJob:
    return PlannedJob(what, submission, gpus, threads, mem_mb, minutes, unit, amount, list(needs), None)


@pytest.fixture
def jobs(monkeypatch) -> list[PlannedJob]:
    """Two trainings; of one follow a decoding and a drawing in one submission, then a table on the login node."""
    monkeypatch.setattr(planning, "assumed_rates", lambda: {"default": 60, "net: step": 2.0, "train: sample": 0.5})
    return [
        planned("train a", 0, "train: sample", 7200, gpus=1, mem_mb=9000),
        planned("train a", 1, "train: sample", 14400, gpus=1),
        planned("decode a", 2, "decode: job", 1, [0], gpus=1),
        planned("draw a", 2, "net: step", 1800, [2], gpus=1),
        planned("new", 3, "unheard: of", 5, minutes=120),
        planned("table", None, "table: job", 1, [1, 3]),
    ]


def test_measured_rates_come_before_assumed_ones_and_these_before_guesses(jobs):
    table = plan(jobs, Measured({"train: sample": 0.25}, {}))
    assert table["seconds"].tolist() == [1800, 3600, 60, 3600, 0.25 * 7200, 60]
    assert table["source"].tolist() == ["measured", "measured", "assumed", "assumed", "guessed", "assumed"]


def test_rows_count_shared_submissions_once_and_hours_by_what_runs(jobs):
    rows = by_rule(plan(jobs, Measured({}, {})), {"train a": 8000}).set_index("what")
    assert rows["submissions"].to_dict() == {"train a": 2, "decode a": 1, "draw a": 0, "new": 1, "table": 0}
    assert rows.loc["train a", ["jobs", "gpu_hours", "longest", "gb", "peak_gb"]].tolist() == [2, 3.0, 2.0, 9.0, 8.0]
    assert rows.loc["new", "cpu_hours"] == 2 * 0.5 and rows.loc["new", "gpu_hours"] == 0


def test_the_longest_chain_adds_the_jobs_of_a_submission(jobs):
    """The shorter training with what follows takes 1 + 1 + 1/60 hours, the longer one alone 2."""
    chain, hours = longest_chain(plan(jobs, Measured({}, {})))
    assert chain == ["train a", "decode a", "table"] and hours == pytest.approx(2 + 2 / 60)


def test_work_grows_with_what_a_job_depends_on():
    config = merged("paper.yaml")
    study = Study(merged("paper.yaml"))
    halved = Study(config | {"shards": {"embed": 2, "draw": 4}, "generation": config["generation"] | {"steps": 19}})
    drawn = {"method": "mindeye2_unrefined", "subject": "subj01", "sessions": "40", "seed": "0"}
    assert work_of("draw", study, drawn) == Work("sdxl_unclip: step of a picture", 38_000)
    assert work_of("draw", halved, drawn).amount == 38_000 / 2 / 4
    refined = drawn | {"method": "mindeye2_refined"}
    assert work_of("draw", study, refined) == Work("sdxl_base: step of a picture", 12_000)
    assert work_of("embed_stimuli", halved, {"encoder": "openclip_bigg"}).amount == 73_000 / 2
    long, short = (
        work_of("train", study, {"decoder": "mindeye2", "subject": "subj01", "sessions": sessions, "seed": "0"})
        for sessions in ("40", "1")
    )
    assert long.unit == "mindeye2: sample of finetuning" and long.amount == 40 * short.amount == 150 * 40 * 750
    assert work_of("make_page", study, {}) == Work("make_page: job", 1)


def test_benchmark_files_of_a_finished_study_give_rates(tmp_path, monkeypatch):
    """20 s for 10 units and 40 s for 20; the folder without benchmarks is left out."""
    files = []
    for number, (seconds, mb) in enumerate([(20, 900), (40, 1200)]):
        files.append(tmp_path / f"{number}.tsv")
        pd.DataFrame({"s": [seconds], "max_rss": [mb]}).to_csv(files[-1], sep="\t", index=False)
    units = [10.0, 20.0]
    found = [planned("draw a", 0, "net: step", n)._replace(benchmark=str(f)) for n, f in zip(units, files, strict=True)]
    monkeypatch.setattr(planning, "planned_jobs", lambda configfiles: found)
    (tmp_path / "done/benchmarks").mkdir(parents=True)
    (tmp_path / "done/config.yaml").write_text("")
    (tmp_path / "begun").mkdir()
    measured = planning.measured_rates([tmp_path / "done", tmp_path / "begun"])
    assert measured == Measured({"net: step": 2.0}, {"draw a": 1200})


def test_a_wrong_configuration_ends_in_one_line(tmp_path):
    (tmp_path / "wrong.yaml").write_text("subjects: [subj99]")
    with pytest.raises(UserError, match="key 'subjects': no data for subj99"):
        planning.planned_jobs([str(tmp_path / "wrong.yaml")])
