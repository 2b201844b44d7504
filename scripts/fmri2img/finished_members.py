"""Jobs that share a submission keep what they have made when another one of it fails.

Snakemake takes the jobs of a submission for one: where one fails, it deletes the outputs of all, and sends all of them
again. Here a job is done if its own record says so (fmri2img.job_record), in this run, and its outputs are as their
checksums say. It is then recorded as finished, and the next try, or the next run, begins with the others.
"""

import asyncio
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from snakemake.jobs import GroupJob

from fmri2img import integrity, job_record
from fmri2img.errors import UserError

_postprocess, _targets = GroupJob.postprocess, GroupJob.get_target_spec
APART = 0.1  # seconds between levels, so that later outputs are newer, as in Snakemake


def keep() -> None:
    """Have this run of Snakemake keep what was finished. Called once, when the workflow is read."""
    began, done = time.time(), set[Any]()

    async def postprocess(group: GroupJob, error: bool = False, **options: Any) -> None:
        if not error:
            return await _postprocess(group, error=error, **options)
        for level in group.toposorted:
            for job in level:
                (done.add if is_done(job.log, job.output, began) else done.discard)(job)
                await job.postprocess(error=job not in done, check_output_mtime=False)
            await asyncio.sleep(APART)

    def targets(group: GroupJob) -> list:
        left = [job for job in group.jobs if job not in done]
        return [target for job in left for target in job.get_target_spec()] or _targets(group)

    GroupJob.postprocess, GroupJob.get_target_spec = postprocess, targets


def is_done(logs: list[str], outputs: list[str], began: float) -> bool:
    """Whether a job has ended well since a time (seconds since 1970), and its outputs are whole."""
    try:
        ended = [json.loads(job_record.record_of(log).read_text(encoding="utf-8"))["ended"] for log in logs]
        in_this_run = ended and all(datetime.fromisoformat(one).timestamp() >= int(began) for one in ended)
        return bool(in_this_run) and all(integrity.is_whole(Path(output)) for output in outputs)
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return False
