"""A network that has been trained is not trained again.

A training ends by writing its artifact into `<work>/finished`, and the artifact's files are linked from there to where
it belongs. Snakemake deletes the output of a job that it takes for failed or unfinished: after it was lost itself while
the training went on, or when a node or a file system failed in the last seconds. The next training of the same
configuration, artifacts and code then finds what was finished. The links take no space on the disk as long as the
output is there; they are removed when the study is complete.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.training import checkpoint
from fmri2img.training.claim import FILE

FINISHED = "finished"
RECORD = "training.json"


def kept(work: Path) -> Path:
    """Where the artifact of a finished training is kept."""
    return work / FINISHED


def publish(work: Path, output: Path) -> None:
    """Link the kept artifact's files to `output`; move them where the file system has no links."""
    try:
        with atomic_directory(output) as folder:
            shutil.copytree(kept(work), folder, copy_function=os.link, dirs_exist_ok=True)
    except (OSError, shutil.Error):
        shutil.rmtree(output, ignore_errors=True)
        os.rename(kept(work), output)


def found(config: dict[str, Any], output: Path, work: Path) -> bool:
    """Whether the artifact of `config` (the whole one, with sources and code) is there; publishes it if it was kept.

    Snakemake removes an output before it starts the job that makes it, so one that is there has been made since.
    """
    if _is_of(output, config):
        print(f"{output} has been made by another trainer of the same configuration and code", flush=True)
        return True
    if config["code"] and _is_of(kept(work), config):
        print(
            f"{output} was finished before, with the same configuration and code; it is taken from {work}", flush=True
        )
        publish(work, output)
        return True
    shutil.rmtree(kept(work), ignore_errors=True)
    return False


def clear(trainings: Path) -> None:
    """Remove the work folders of finished trainings below a folder, except where a trainer is at work."""
    for work in [path.parent.parent for path in trainings.rglob(f"{FINISHED}/{RECORD}")]:
        if not (work / FILE).exists():
            shutil.rmtree(work)


def _is_of(folder: Path, config: dict[str, Any]) -> bool:
    try:
        made = json.loads((folder / RECORD).read_text())["config"]
    except (OSError, ValueError, KeyError):
        return False
    return made.get("code") == config["code"] and not checkpoint.changed_keys(made, config)
