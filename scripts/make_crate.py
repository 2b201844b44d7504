"""An RO-Crate of the run: its metadata, and a copy of the workflow that made it."""

import shutil
from pathlib import Path

import pandas as pd
import yaml

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.artifacts.tables import write_json
from fmri2img.paths import REPOSITORY
from fmri2img.reporting.crate import run_crate
from fmri2img.reporting.design import Design
from fmri2img.study import Study

MAIN = Path("Snakefile")


def main(snakemake) -> None:
    study = Study(snakemake.config)
    given = snakemake.input
    root, copy = Path(snakemake.output.metadata).parent, Path(snakemake.output.workflow)
    placed = {_place(Path(path).resolve(), study): path for path in given.workflow}
    with atomic_directory(copy) as directory:
        for file, path in placed.items():
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, directory / file)
    facts = pd.read_csv(given.provenance, dtype=str, keep_default_na=False)
    gaps = Design.of(study).with_gaps(snakemake.params.lacking)
    files = [MAIN, *sorted(file for file in placed if file != MAIN)]
    crate = run_crate(
        root,
        workflow=[(copy / file).relative_to(root).as_posix() for file in files],
        made=[Path(path).relative_to(root).as_posix() for path in (given.page, *given.tables, *given.made)],
        sources=Stimuli.open(given.stimuli).metadata.get("sources_sha256", {}),
        config=study.config,
        citation=yaml.safe_load(Path(given.citation).read_text(encoding="utf-8")),
        snakemake=snakemake.params.snakemake,
        simulated=study.dataset.simulated,
        licence=study.dataset.licence,
        versions=facts.loc[facts["section"] == "versions"].set_index("item")["value"].to_dict(),
        started=next(iter(facts.loc[facts["item"] == "first started", "value"]), None),
        failed="; ".join(f"{failure['lacks']}: {failure['reason']}" for failure in gaps.failures()),
    )
    write_json(snakemake.output.metadata, crate)


def _place(path: Path, study: Study) -> Path:
    """Path of a workflow file in the copy; files of the dataset's folder have their own folder."""
    workflow, dataset = REPOSITORY / "workflow", study.dataset.folder.resolve()
    if path.is_relative_to(workflow):
        return path.relative_to(workflow)
    return Path("datasets", study.dataset.name, path.relative_to(dataset))


if __name__ == "__main__":
    job.run(main)
