"""A submission of which one job failed: the others' outputs stay, and the next try leaves them out."""

import asyncio
import json
import time
from types import SimpleNamespace

import pytest
from snakemake.jobs import GroupJob

from fmri2img import finished_members
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.finished_members import is_done, keep
from fmri2img.job_record import began, record_of, succeeded


class Member:
    """What a group asks of a job."""

    def __init__(self, folder, name) -> None:
        self.name, self.log, self.output = name, [str(folder / f"{name}.log")], [str(folder / name)]
        self.treated_as_failed = None
        (folder / f"{name}.log").touch()

    def make(self, ends=True):
        began(self.log[0])
        with atomic_directory(self.output[0]) as folder:
            (folder / "values.npy").write_bytes(bytes(1000))
        if ends:
            succeeded(self.log[0])

    async def postprocess(self, error, check_output_mtime):
        self.treated_as_failed = error

    def get_target_spec(self):
        return [self.name]


@pytest.fixture
def members(tmp_path, monkeypatch):
    monkeypatch.setattr(GroupJob, "postprocess", None)
    monkeypatch.setattr(GroupJob, "get_target_spec", None)
    monkeypatch.setattr(finished_members, "APART", 0)
    monkeypatch.setattr(finished_members, "_targets", lambda group: [job.name for job in group.jobs])
    keep()
    return [Member(tmp_path, name) for name in ("decode", "draw", "caption")]


def fail(members):
    """The group fails. Returns the jobs that the next try asks for."""
    group = SimpleNamespace(jobs=members, toposorted=[members[:1], members[1:]])
    asyncio.run(GroupJob.postprocess(group, error=True))
    return GroupJob.get_target_spec(group)


def test_what_was_finished_is_kept_and_not_sent_again(members):
    decode, draw, caption = members
    decode.make()
    caption.make()
    draw.make(ends=False)  # whole, but the job may have had more to do
    assert fail(members) == ["draw"]
    assert [job.treated_as_failed for job in members] == [False, True, False]
    draw.make()
    assert fail(members) == ["decode", "draw", "caption"]  # all are done, so something else is wrong


@pytest.mark.parametrize("spoil", ["file", "record", "output", "earlier"])
def test_what_may_be_damaged_or_of_an_earlier_run_is_made_again(members, spoil, tmp_path):
    decode = members[0]
    decode.make()
    assert is_done(decode.log, decode.output, time.time() - 60)
    if spoil == "file":
        (tmp_path / "decode/values.npy").unlink()
    elif spoil == "output":
        (tmp_path / "decode/values.npy").write_bytes(bytes(999))
    elif spoil == "record":
        record = json.loads(record_of(decode.log[0]).read_text())
        record_of(decode.log[0]).write_text(json.dumps(record | {"ended": None}))
    assert not is_done(decode.log, decode.output, time.time() + (60 if spoil == "earlier" else -60))
