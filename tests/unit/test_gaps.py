"""What fails in a study: which files cannot be made for it, why, and how reports show it."""

import os
import sys
from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace

import pytest
from planted_page import planted_parts, planted_scores

from fmri2img import failures
from fmri2img.artifacts.cells import Cell
from fmri2img.gaps import VARIABLE, Failure, Gaps, missing_scores
from fmri2img.reporting import claims, gaps, leaderboard
from fmri2img.reporting.estimates import estimates
from fmri2img.reporting.page.build import page
from fmri2img.reporting.summary import check_lines, claim_headings, gap_lines

NAN = Failure("finetune", "finetune (subj02)", "loss is nan at step 1", "logs/finetune/subj02.log")
MEMORY = Failure("draw", "draw (subj01, seed 1)", "the Slurm job ran out of memory", "")


class Named(dict):
    """Snakemake's list of files, by name."""

    def __iter__(self):
        return (file for files in self.values() for file in files)


class Job:
    """A job of the rule of this name, which makes one file."""

    def __init__(self, name: str, may_lack: tuple[str, ...] = (), **inputs: list[str]) -> None:
        self.output, self.input, self.params = [f"{name}.out"], Named(inputs), {"may_lack": list(may_lack)}
        self.rule, self.log, self.wildcards_dict, self.jobid = SimpleNamespace(name=name), [], {}, len(name)

    def is_group(self) -> bool:
        return False


@pytest.fixture
def dag():
    """A training, its pictures, their copies, the scores of its method, and a figure of the copies."""
    made = {
        name: Job(name, **inputs)
        for name, inputs in {
            "train": {},
            "draw": {"decoder": ["train.out"]},
            "copy": {"picture": ["draw.out"]},
            "evaluate": {
                "predictions": ["draw.out", "other.out"],
                "features": ["embed.out"],
                "may_lack": ["predictions"],
            },
            "figure": {"pictures": ["copy.out"], "brain": ["train.out"], "may_lack": ["pictures"]},
        }.items()
    }
    depending = defaultdict(dict)
    for reader in made.values():
        for file in reader.input:
            if file.removesuffix(".out") in made:
                depending[made[file.removesuffix(".out")]].setdefault(reader, set()).add(file)
    return SimpleNamespace(depending=depending, needrun_jobs=lambda: list(made.values())), made


def test_what_depends_on_a_failure_is_lost_unless_its_rule_can_do_without(dag):
    dag, jobs = dag
    assert set(failures._lost(dag, [jobs["train"]])) == {"train.out", "draw.out", "copy.out", "figure.out"}
    assert set(failures._lost(dag, [jobs["copy"]])) == {"copy.out"}
    assert set(failures._lost(dag, [jobs["evaluate"]])) == {"evaluate.out"}


@pytest.fixture
def ended(dag, monkeypatch, tmp_path, caplog):
    """A function that ends a run in which `train` failed; returns how often the rest was run, and what was said."""
    dag, jobs = dag
    monkeypatch.setattr(sys, "argv", ["snakemake", "--cores", "1"])
    monkeypatch.setattr(failures.logger, "propagate", True)

    def end(scored, run_again=lambda *_: 0, targets=(), **scheduler):
        calls = []
        monkeypatch.setattr(failures, "_run_again", lambda *given: calls.append(given) or run_again(*given))
        state = {"failed": {jobs["train"]}, "running": set(), "open_jobs": [], "_user_kill": None} | scheduler
        workflow = SimpleNamespace(
            scheduler=SimpleNamespace(**state), dag_settings=SimpleNamespace(targets=targets), rundir=".", dag=dag,
            rules=[job.rule for job in jobs.values()],
        )  # fmt: skip
        caplog.clear()
        failures.report_the_rest(workflow, Gaps(), failures.Watch(), tmp_path / "gaps.json", scored, "evaluate.out")
        return len(calls), " ".join(record.getMessage() for record in caplog.records)

    return end


def test_the_rest_is_reported_once_all_that_can_be_made_is_made(ended, monkeypatch):
    calls, said = ended(lambda: ["other"])
    assert calls == 1 and "Missing: train: " in said and "Reported without it: evaluate.out" in said
    assert ended(lambda: ["other"], targets=["evaluate"])[0] == 1
    for stopped in ({"open_jobs": [1]}, {"running": {1}}, {"_user_kill": "graceful"}, {"failed": set()}):
        assert ended(lambda: ["other"], **stopped)[0] == 0
    assert ended(lambda: ["other"], targets=["scores/ridge.parquet"])[0] == 0
    monkeypatch.setenv(VARIABLE, "gaps.json")
    assert ended(lambda: ["other"])[0] == 0  # this is the second run


def test_nothing_to_score_is_said_in_one_line(ended):
    calls, said = ended(lambda: [])
    assert calls == 0 and said.startswith("Nothing can be scored, so there is no report")


def test_a_report_that_fails_is_tried_without_its_part_and_then_given_up(ended):
    def fails(directory, gaps, log):
        """As the second run does: what failed in it is added to the file, at first."""
        found = Gaps.read(gaps)
        if len(found.failures) < 3:
            found.add(replace(NAN, reason=f"reason {len(found.failures)}"), ["figure.out"])
            found.save(gaps)
        return 1

    calls, said = ended(lambda: ["other"], fails)
    assert calls == 3 and "The rest could not be reported; see" in said


@pytest.mark.parametrize(
    ("log", "said", "told"),
    [
        ("Step 1\nError: no value at step 1\nleft over\n", "", "no value at step 1"),
        ("Error (process 3): no value\n", "", "no value"),
        ("Traceback (most recent call last):\nMemoryError\nFailed: no memory\n", "", "no memory"),
        ("Traceback (most recent call last):\n  x = 1\nValueError: bad shape\n", "", "ValueError: bad shape"),
        ("torch.OutOfMemoryError: CUDA out of memory\n", "", "torch.OutOfMemoryError: CUDA out of memory"),
        ("Error 404 is no error\nstep 3\n", "", "it ended without an error message, as a job does that is killed"),
        ("", "SLURM-job '7' failed, SLURM status is: 'OUT_OF_MEMORY'. Reason", "the Slurm job ran out of memory"),
        ("step 3\n", "SLURM-job '7' failed, SLURM status is: 'CANCELLED'.", "the Slurm job was cancelled"),
        ("Interrupted: a checkpoint is kept\n", "SLURM status is: 'TIMEOUT'", "interrupted: a checkpoint is kept (the"),
        ("Error: no value\n", "SLURM-job '7' failed, SLURM status is: 'FAILED'.", "no value"),
        ("", "status is: 'FAILED'. slurmstepd: error: Detected 1 oom_kill event", "the Slurm job ran out of memory"),
        ("", "error: *** JOB 9 ON n01 CANCELLED AT 2030-01-01 DUE TO TIME LIMIT ***", "the Slurm job reached its"),
        ("", "error: *** JOB 9 ON n01 CANCELLED AT 2030-01-01T00:00:00 ***", "the Slurm job was cancelled"),
    ],
)  # fmt: skip
def test_the_reason_is_what_the_log_ends_with_or_what_slurm_said(tmp_path, log, said, told):
    path = tmp_path / "job.log"
    path.write_text(log)
    assert failures.reason([path, tmp_path / "none.log"], said, since=0).startswith(told)


def test_a_log_of_an_earlier_run_gives_no_reason(tmp_path):
    path = tmp_path / "job.log"
    path.write_text("Error: of last week\n")
    os.utime(path, (1_000, 1_000))
    assert failures.reason([path], "", since=2_000).startswith("it ended without an error message")


def test_the_second_run_forces_nothing():
    given = ["--cores", "2", "-F", "--forcerun", "evaluate", "draw", "--configfile", "a.yaml", "b.yaml", "-R=x", "all"]
    assert failures.without_forcing(given) == ["--cores", "2", "--configfile", "a.yaml", "b.yaml"]
    assert failures.without_forcing(["all", "--forceall", "-n"]) == ["all", "-n"]


def test_the_terminal_tells_each_reason_once_and_not_all_of_many():
    alike = [replace(NAN, job=f"finetune (subj{n:02d})") for n in range(144)]
    (line,) = failures.summary(alike, "gaps.json")
    assert line == f"Missing: {alike[0]}, and 143 more alike"
    many = failures.summary([replace(NAN, reason=f"reason {n}") for n in range(30)], "gaps.json")
    assert len(many) == 11 and many[-1] == "and 20 more, in gaps.json"


def test_gaps_are_read_in_the_run_that_is_started_with_them_alone(tmp_path, monkeypatch):
    found = Gaps()
    found.add(NAN, ["a", "b"])
    found.add(MEMORY, ["b"])
    found.save(tmp_path / "logs" / "gaps.json")
    assert Gaps.of_this_run().missing == {}
    monkeypatch.setenv(VARIABLE, str(tmp_path / "logs" / "gaps.json"))
    assert Gaps.of_this_run() == found and Gaps.of_this_run().causes(["b", "c"]) == [NAN, MEMORY]


BUDGETS = {"subj01": 8, "subj02": 6}
CELLS = [Cell(subject, sessions, seed, "test") for subject, sessions in BUDGETS.items() for seed in (0, 1)]


def lacking(*lost: tuple[Failure, list[str]]) -> list[dict]:
    """Records of method `first`, whose predictions are named SUBJECT/SEED, and of `second`, which lacks nothing."""
    found = Gaps()
    for failure, files in lost:
        found.add(failure, files)
    cells = {"first": CELLS, "second": CELLS}
    return missing_scores(found, cells, lambda method, cell: [f"{method}/{cell.subject}/{cell.seed}", method])


def test_what_is_missing_is_named_by_what_sets_it_apart():
    whole, subject, seed, one = (
        lacking((NAN, files))
        for files in (
            ["first"],
            ["first/subj02/0", "first/subj02/1"],
            ["first/subj01/1", "first/subj02/1"],
            ["first/subj02/1"],
        )
    )
    texts = [[record["what"] for record in records] for records in (whole, subject, seed, one)]
    assert texts == [["all"], ["subj02"], ["seed 1"], ["subj02, seed 1"]]
    assert [record[0]["n_scored"] for record in (whole, subject, one)] == [0, 2, 3]
    two = lacking((NAN, ["first/subj02/0", "first/subj02/1"]), (MEMORY, ["first/subj01/1"]))
    assert [(record["what"], record["reason"], record["n_scored"]) for record in two] == [
        ("subj01, seed 1", MEMORY.reason, 1), ("subj02", NAN.reason, 1),
    ]  # fmt: skip


def test_jobs_that_failed_alike_are_told_once():
    other = replace(NAN, job="finetune (subj01)", log="logs/finetune/subj01.log")
    (record,) = lacking((NAN, ["first/subj02/0", "first/subj02/1"]), (other, ["first/subj01/0", "first/subj01/1"]))
    assert (record["what"], record["n_jobs"], record["log"]) == ("all", 2, other.log)


# Reports


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return planted_parts(tmp_path_factory.mktemp("planted"))


def without(parts, *methods):
    gone = parts.board["method"].isin(methods)
    numbers = ["mean", "low", "high", "rank", "group", "p_first", "normalised", "normalised_low", "normalised_high"]
    return replace(parts, board=parts.board.assign(**{name: parts.board[name].mask(gone) for name in numbers}))


def test_the_page_shows_a_gap_and_its_reason_where_the_row_would_be(planted):
    parts, design = planted
    failed = design.with_gaps(lacking((NAN, ["first"])))
    html = page(without(parts, "first"), failed)
    top = html[: html.index('id="leaderboard"')]
    assert "Incomplete" in top and "First (all)" in top and NAN.reason in top and NAN.log in top
    assert "1 of them lacks scores" in top
    assert f'"first":"failed: {NAN.reason}"' in html and f"failed: {NAN.reason} ({NAN.job}; {NAN.log})" in html
    assert "Incomplete" not in page(parts, design)


def test_tables_and_terminal_name_what_is_missing(planted):
    _, design = planted
    records = lacking((NAN, ["first/subj02/0", "first/subj02/1"]))
    failed, rows = design.with_gaps(records), gaps.gap_rows(records)
    text = gaps.gap_table(rows, failed).markdown()
    assert "First" in text and "subj02" in text and NAN.reason in text and NAN.log in text
    lines = " ".join(line.plain for line in gap_lines(failed))
    assert "First (subj02)" in lines and f"{NAN.job}: {NAN.reason} ({NAN.log})" in lines
    assert gap_lines(design) == [] and "Nothing is missing" in gaps.gap_table(gaps.gap_rows([]), design).markdown()


def test_a_reason_that_many_methods_share_names_a_few_of_them(planted):
    _, design = planted
    record = lacking((NAN, ["first"]))[0]
    methods = {f"m{n}": design.methods["first"] | {"title": f"Method {n}"} for n in range(9)}
    many = replace(design, methods=methods).with_gaps([record | {"method": name} for name in methods])
    (failure,) = many.failures()
    assert failure["lacks"].endswith("Method 3 (all); and 5 more methods")


def test_a_missing_floor_leaves_no_normalised_scores_and_says_so(planted):
    parts, design = planted
    failed = design.with_gaps([record | {"method": "floor"} for record in lacking((NAN, ["first"]))])
    note = leaderboard.scale_note(without(parts, "floor").board.assign(normalised=float("nan")), failed)
    assert "lack scores" in note


def test_a_claim_that_needs_what_is_missing_is_not_tested(planted):
    _, design = planted
    claim = {"kind": "check", "source": "", "note": "Broken.", "metrics": ["identification_*"]}
    asked = [
        claim | {"claim": "Beats the floor", "test": "beats", "methods": "first", "than": "floor"},
        claim | {"claim": "Beats the second", "test": "beats", "methods": "first", "than": "second"},
    ]
    scores = planted_scores(design).loc[lambda table: table["method"] != "floor"]
    scores = scores, estimates(scores, design)
    records = [record | {"method": "floor"} for record in lacking((NAN, ["first"]))]
    judged = claims.judge_claims(asked, *scores, design.with_gaps(records))
    found = claims.verdicts(judged).set_index("claim")
    assert found.loc["Beats the floor", ["word", "n_rows"]].tolist() == ["not tested", 0]
    assert found.loc["Beats the second", "word"] in ("holds", "FAILS")
    assert "not tested: Floor is missing" in set(judged["finding"])
    assert "could not be tested" in claim_headings(judged, design)["check"]
    assert "Broken" not in " ".join(
        line.plain for line in check_lines(judged[judged["claim"] == "Beats the floor"], design)
    )
    # Scores that are missing without a failure are the study's own fault.
    unexplained = claims.verdicts(claims.judge_claims(asked, *scores, design)).set_index("claim")
    assert unexplained.loc["Beats the floor", "word"] == "FAILS"
