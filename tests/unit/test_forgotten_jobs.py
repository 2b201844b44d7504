"""Jobs that Slurm has forgotten, because they ended while Snakemake could not look, are judged by their files."""

import asyncio
from types import SimpleNamespace

import pytest
from snakemake.io import AnnotatedString

from fmri2img.cluster import forgotten


class Executor:
    """As Snakemake's plugin: waits for all jobs, as it does for those that squeue does not list."""

    def __init__(self):
        self.done, self.failed = [], {}

    async def check_active_jobs(self, active_jobs):
        for job in active_jobs:
            yield job

    def report_job_success(self, found):
        self.done.append(found.external_jobid)

    def report_job_error(self, found, msg):
        self.failed[found.external_jobid] = msg

    def looks(self, jobs, times):
        """The jobs that are still waited for."""

        async def look(active):
            return [job async for job in self.check_active_jobs(active)]

        for _ in range(times):
            jobs = asyncio.run(look(jobs))
        return [job.external_jobid for job in jobs]


@pytest.fixture
def executor():
    own = type("Own", (Executor,), {})
    forgotten.watch(own)
    return own()


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Have squeue list these jobs, or fail."""

    def lists(*numbers, status=0):
        command = tmp_path / "squeue"
        command.write_text("#!/bin/sh\n" + "".join(f"echo {number}\n" for number in numbers) + f"exit {status}\n")
        command.chmod(0o755)
        monkeypatch.setattr(forgotten, "SQUEUE", (str(command),))

    return lists


def job(number, *output):
    one = SimpleNamespace(output=[str(file) for file in output], is_group=lambda: False)
    return SimpleNamespace(external_jobid=number, job=one)


def test_jobs_that_slurm_knows_are_waited_for(executor, squeue, tmp_path):
    squeue(" 71 ", "72_1")
    assert executor.looks([job("71", tmp_path / "a"), job("72_1", tmp_path / "b")], 5) == ["71", "72_1"]


def test_a_forgotten_job_is_done_if_its_files_are_there_and_has_failed_if_not(executor, squeue, tmp_path):
    squeue("70")
    (tmp_path / "a").touch()
    assert executor.looks([job("71", tmp_path / "a"), job("72", tmp_path / "a", tmp_path / "b")], 2) == []
    assert executor.done == ["71"] and list(executor.failed) == ["72"] and "did not look" in executor.failed["72"]


def test_a_job_that_is_not_listed_once_is_waited_for(executor, squeue, tmp_path):
    jobs = [job("71", tmp_path / "a")]
    squeue("70")
    assert executor.looks(jobs, 1) == ["71"]
    squeue("71")
    assert executor.looks(jobs, 1) == ["71"]
    squeue("70")
    assert executor.looks(jobs, 1) == ["71"]


def test_where_slurm_does_not_answer_nothing_is_forgotten(executor, squeue, tmp_path):
    squeue(status=1)
    assert executor.looks([job("71", tmp_path / "a")], 5) == ["71"]


def test_a_group_is_done_with_all_its_members_but_for_what_it_removes_itself(executor, squeue, tmp_path):
    squeue()
    (tmp_path / "a").touch()
    removed = AnnotatedString(str(tmp_path / "shard"))
    removed.flags["temp"] = True
    members = [SimpleNamespace(output=[removed]), SimpleNamespace(output=[str(tmp_path / "a")])]
    group = SimpleNamespace(jobs=members, is_group=lambda: True)
    assert executor.looks([SimpleNamespace(external_jobid="71", job=group)], 2) == [] and executor.done == ["71"]
