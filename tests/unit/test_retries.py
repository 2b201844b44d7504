"""Which failures are tried again, from what logs and Slurm say."""

import logging
import os
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from fmri2img import retries
from fmri2img.retries import Retries, Terminal, verdict

STOPPED = "stopped by SIGTERM after step {} of 300; rerun to resume"


@pytest.mark.parametrize(
    ("state", "words", "again", "counts"),
    [
        ("FAILED", "begun\nError: no such file\n", False, True),
        ("FAILED", "Error (process 1): no such file\n", False, True),
        ("FAILED", "Traceback (...)\nFailed: the GPU failed (CUDA error)\n", True, True),
        ("CANCELLED", "training from step 3 of 300\nInterrupted: " + STOPPED.format(5), False, True),
        ("CANCELLED", "", False, True),
        ("FAILED", "training from step 3 of 300\nInterrupted: " + STOPPED.format(5), True, False),
        ("TIMEOUT", "training from step 3 of 300\nInterrupted: " + STOPPED.format(5), True, False),
        ("FAILED", "training from step 5 of 300\nInterrupted: " + STOPPED.format(5), True, True),
        ("FAILED", "Interrupted: waited for the trainer on h02", True, False),
        ("TIMEOUT", "step 4/300", True, True),
        ("FAILED", "Traceback (...)\nKeyError: 'trials'\n", True, True),
        ("", "", True, True),
    ],
)
def test_reasons_decide(state, words, again, counts):
    assert verdict(state, words) == (again, counts)


class Job:
    """What the filter uses of a job of Snakemake."""

    def __init__(self, log, attempt=1, restart_times=2) -> None:
        self.log, self.attempt, self.restart_times, self.jobid = [str(log)], attempt, restart_times, 4
        self.rule, self.wildcards_dict = SimpleNamespace(name="finetune"), {"subject": "subj01"}

    def is_group(self):
        return False

    def fails(self, words, message="SLURM-job '71' failed, SLURM status is: 'FAILED'."):
        """Fail as Snakemake reports it. Returns whether Snakemake would restart it, and the terminal's lines."""
        with open(self.log[0], "w") as file:
            file.write(words)
        record = logging.LogRecord("snakemake", logging.ERROR, "", 0, "Error in rule finetune", (), None)
        vars(record).update(event=LogEvent.JOB_ERROR, jobid=4, rule_msg=message, log=[*self.log, "/logs/71.log"])
        vars(record).update(aux={"external_jobid": "71"}, indent=False)
        workflow = SimpleNamespace(scheduler=SimpleNamespace(running={self}), non_local_exec=True, dryrun=False)
        watching = Retries(workflow)
        os.utime(self.log[0], (watching._began, watching._began))
        assert watching.filter(record)
        again = self.restart_times > self.attempt - 1  # as Snakemake's scheduler decides
        self.attempt += again
        return again, Terminal(workflow, None).format(record)


def test_bad_input_is_final_and_told_in_four_lines(tmp_path):
    again, lines = Job(tmp_path / "seed0.log").fails("Error: no such file\n")
    assert not again and "finetune subj01 failed (try 1 of 3): no such file" in lines
    assert "It is not tried again." in lines and "Slurm job 71: " in lines and len(lines.splitlines()) == 4


def test_slices_of_a_training_are_no_tries_and_crashes_are(tmp_path):
    job = Job(tmp_path / "seed0.log")
    for step in range(1, 8):
        again, lines = job.fails(f"training from step {step - 1} of 9\nInterrupted: {STOPPED.format(step)}\n")
        assert again and job.attempt == 1 and "It goes on in a new job." in lines
    tries = [job.fails("crashed") for _ in range(3)]
    assert [again for again, _ in tries] == [True, True, False] and job.attempt == 3
    assert "(try 3 of 3)" in tries[-1][1] and "It is not tried again." in tries[-1][1]


def test_a_log_of_an_earlier_run_decides_nothing(tmp_path):
    log = tmp_path / "seed0.log"
    log.write_text("Error: of yesterday\n")
    os.utime(log, (1, 1))
    assert Retries(SimpleNamespace())._ends([str(log)]) == ""


def test_a_refused_request_is_one_line_without_the_command(tmp_path):
    message = (
        "SLURM sbatch failed. The error message was 'sbatch: error: Invalid account'.\n    sbatch call:\n  base64//abc"
    )
    job = Job(tmp_path / "seed0.log")
    record = logging.LogRecord("snakemake", logging.ERROR, "", 0, "Error", (), None)
    vars(record).update(event=LogEvent.JOB_ERROR, jobid=4, rule_msg=message, log=job.log, aux={}, indent=False)
    Retries(SimpleNamespace(scheduler=SimpleNamespace(running={job}))).filter(record)
    assert "sbatch refused it: sbatch: error: Invalid account" in record.failure and "base64" not in record.failure


def test_a_group_is_judged_by_the_logs_of_its_members(tmp_path, monkeypatch):
    members = [Job(tmp_path / name) for name in ("decode.log", "draw.log")]
    (tmp_path / "decode.log").write_text("done\n")
    group = Job(tmp_path / "none")
    group.is_group, group.groupid, group.jobs = lambda: True, "cell", members
    monkeypatch.setattr(retries, "_state", lambda message, number: "FAILED")
    record = logging.LogRecord("snakemake", logging.ERROR, "", 0, "Error in group cell", (), None)
    vars(record).update(event=LogEvent.GROUP_ERROR, groupid="cell", aux_logs=["/logs/72.log"], external_jobid="72")
    watching = Retries(SimpleNamespace(scheduler=SimpleNamespace(running={group, *members})))
    (tmp_path / "draw.log").write_text("Error: the disk is full\n")
    watching.filter(record)
    assert group.attempt == 3 and "finetune subj01 and 1 more failed (try 1 of 3): the disk is full" in record.failure


def shown(event, message="", **more):
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, message, (), None)
    vars(record).update(event=event, **more)
    terminal = Terminal(SimpleNamespace(non_local_exec=True, dryrun=False), None)
    return terminal.shows(record)


def test_the_terminal_leaves_out_what_is_in_snakemakes_log():
    assert not shown(LogEvent.JOB_INFO) and not shown(LogEvent.PROGRESS, done=1, total=9)
    assert shown(LogEvent.PROGRESS, done=9, total=9) and shown(None, "Exiting because a job execution failed.")
    assert not shown(None, "Job 9 has been submitted with SLURM jobid 1 (log: /logs/1.log).")
    assert not shown(LogEvent.ERROR, 'RuleException:\nCalledProcessError in file "cards.smk", line 44:\nCommand ...')
    assert not shown(LogEvent.JOB_ERROR)  # of a member, which its group's record tells
